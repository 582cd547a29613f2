"""The data that a run trains on: a copy of the person's, or the branch's where it has batches."""

from __future__ import annotations

import time
from collections.abc import Sequence

from dvc.lock import LockError

from mm_assets.contracts.config import read_config
from mm_assets.contracts.errors import RegistryError, SourceError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.mirror import mirror_folder, sign_folder
from mm_assets.registry import folders
from orchestration.dvc_project import DvcProject
from orchestration.dvc_runner import Log
from orchestration.retraining.committed import DATA, show_data
from orchestration.retraining.state import State
from orchestration.retraining.worktree import BRANCH, PATIENCE_S, RetrainingError

POLL_S = 0.5


def bring_data(main: Workspace, tree: Workspace, state: State, log: Log) -> str | None:
    """Give the worktree the person's data as they lie there, or the branch's where it has batches.

    Returns:
        The state of what was copied; none where it was not.

    Raises:
        RetrainingError: Both have grown.
    """
    branch, committed = folders.read_data_version(tree), show_data(main.root, "HEAD")
    now = sign_folder(main.data)
    if branch in (None, committed, state.persons_data) and now is not None:
        if branch == committed and _is_committed(main, committed):
            _check_out(tree)  # whose links into the cache need no room
        else:
            changed = mirror_folder(main.data, tree.data)
            log(f"took data/ as it lies there; {changed} files differ from before")
        return now
    if now not in (None, state.persons_state) and not _is_committed(main, committed):
        raise RetrainingError(explain_growth(tree))
    if branch is not None:
        _check_out(tree)
    return None


def explain_growth(tree: Workspace) -> str:
    """Say what a person can do where their data and the branch's have both grown."""
    return (
        f"your data/ and that of branch {BRANCH!r}, which has batches in it, have both grown, and "
        "only a person can make one of them; keep a copy of what you added, run `git merge "
        f"{BRANCH} && dvc checkout`, add it again, best as a batch in the drop folder, and launch "
        f"`retrain` again; the branch's data are in {tree.data}"
    )


def _is_committed(main: Workspace, version: str | None) -> bool:
    """Tell whether the person's `data/` is the version that they have committed."""
    return version is not None and folders.read_data_version(main) == version and _is_whole(main)


def _is_whole(tree: Workspace) -> bool:
    """Tell whether a tree's `data/` is what its `data.dvc` says.

    Raises:
        LockError: DVC was writing it all the time.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return bool(DvcProject(tree.root).read_records(DATA)[DATA].up_to_date)
        except LockError:  # DVC is writing it this moment
            if time.monotonic() > until:
                raise
            time.sleep(POLL_S)


def _check_out(tree: Workspace) -> None:
    """Put the branch's data in place, from the cache or else a remote."""
    if _is_whole(tree):
        return
    try:
        folders.run_dvc(tree, "checkout", "--quiet", "--force", DATA)
    except RegistryError:
        folders.run_dvc(tree, "pull", "--quiet", "--force", DATA)


def ingest(
    main: Workspace, tree: Workspace, batches: Sequence[str], log: Log
) -> tuple[dict[str, str], dict[str, str]]:
    """Take batches of the person's drop folder into the worktree's data.

    One that cannot be taken, or has changed since it was compared, is left out, and is not asked for
    again by itself before it has been compared anew.

    Returns:
        Of those that were taken, the state that was; of the others, why not; both by name.

    Raises:
        MMAssetsError: The disk refuses.
    """
    taken: dict[str, str] = {}
    left_out: dict[str, str] = {}
    if not batches:
        return taken, left_out
    from mm_assets.drift.incoming import find_batch, mark_left_out, read_compared
    from mm_assets.drift.ingestion import ingest_batch

    config = read_config(tree.params)
    for name in batches:
        try:
            folder = find_batch(main, config, name)
            compared = read_compared(main, name)
            done = ingest_batch(folder, tree, config, compared=compared)
        except SourceError as error:
            left_out[name] = str(error)
            mark_left_out(main, name, str(error))
            log(f"left out: {error}")
        else:
            taken[name] = done.signature
            log(done.explain())
    return taken, left_out
