"""What the worktree's pipeline made, judged; and the champion, served from there."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path

from mm_assets.contracts.workspace import Workspace
from mm_assets.data.lock import hold_lock
from mm_assets.registry import folders
from mm_assets.registry.merging import adopt
from mm_assets.registry.promotion import Outcome
from mm_assets.registry.record import read_registry
from orchestration.dvc_project import DvcProject
from orchestration.dvc_runner import Log, start
from orchestration.retraining.worktree import PATIENCE_S, RetrainingError, find_trees


def promote_retrained(root: Path, project: DvcProject, log: Log) -> Outcome:
    """Judge what the worktree's pipeline made against the champion; where it wins, it is served.

    What the person promoted or rolled back meanwhile counts: theirs and the branch's registry are
    one, told by both histories. The person's own stays as it is, and only the link
    `registry/champion`, which servers read, is led to the worktree's copy of the model.

    Args:
        root: The person's tree.
        project: The worktree, as `enter` gives it.
        log: Is given what `mm promote` says.

    Raises:
        MMAssetsError: There is no candidate, or nothing to compare it on.
    """
    main, tree = find_trees(root)
    _adopt(main, tree)
    before = read_registry(tree.registry)
    name = _run_promotion(project, log)
    _adopt(main, tree)
    after = read_registry(tree.registry)
    _publish(main, tree)
    told = [event for event in after.history if event not in before.history and event.model == name]
    model = after.find(name)
    what = told[-1].what if told else "taken back" if model.state == "taken_back" else "unchanged"
    return Outcome(what, name, model, after.champion)


def mend_link(main: Workspace, tree: Workspace) -> None:
    """Serve the champion again where the worktree that had its files was deleted."""
    link = main.registry / folders.CHAMPION
    if link.is_symlink() and not link.exists():
        _adopt(main, tree)
        _publish(main, tree)


def _adopt(main: Workspace, tree: Workspace) -> None:
    """Take the person's decisions over into the branch's registry."""
    with _hold_registry(tree):
        adopt(tree, main)


def _publish(main: Workspace, tree: Workspace) -> None:
    """Lead the person's `registry/champion` to the worktree's champion, in one step."""
    registry = read_registry(tree.registry)
    with _hold_registry(main):
        if registry.champion in (None, folders.published(main)):
            return
        folders.restore(tree, registry.champion, registry.find(registry.champion).files)
        main.registry.mkdir(exist_ok=True)
        folders.publish(main, registry.champion, source=tree)


def _hold_registry(workspace: Workspace) -> AbstractContextManager[None]:
    what = "a change of the registry"
    return hold_lock(workspace.lock("registry"), what=what, wait_s=PATIENCE_S)


def _run_promotion(project: DvcProject, log: Log) -> str:
    """Run `mm promote` with the worktree's code; give the model's id.

    Raises:
        RetrainingError: There is no verdict; says what it said.
    """
    script = "from mm_assets.cli.main import main; main()"
    lines: list[str] = []
    with start([sys.executable, "-c", script, "promote", "--id"], project) as process:
        for raw in process.stdout or ():
            if line := raw.strip():
                if lines:  # the last one is the model's id, for us
                    log(lines[-1])
                lines.append(line)
        code = process.wait()
    if code or not lines:
        raise RetrainingError(
            "\n".join(lines).rpartition("error: ")[2] or "`mm promote` was killed"
        )
    return lines[-1]
