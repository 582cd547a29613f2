"""The worktree as git and DVC know it: made, mended, cleaned, and opened as a project."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import psutil

from mm_assets.contracts.errors import MMAssetsError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.lock import hold_lock
from mm_assets.registry.git import ask_git, commit_staged, run_git
from mm_assets.registry.merging import merge_registries
from mm_assets.registry.record import Registry, read_registry, write_registry
from orchestration.dvc_project import DvcProject
from orchestration.dvc_runner import Log

BRANCH = "retraining"
PATIENCE_S = 600.0  # with whoever holds a lock
GIT_PATIENCE_S = 10.0  # with a git that may hold one of its own


class RetrainingError(MMAssetsError):
    """Retraining cannot begin, or has nothing that it could commit to."""


def find_trees(root: Path) -> tuple[Workspace, Workspace]:
    """Give the person's tree, and that of retraining."""
    main = Workspace(root)
    return main, Workspace(main.retraining)


@contextmanager
def hold_worktree(main: Workspace) -> Iterator[None]:
    """Keep other runs' preparing and committing out, after waiting for the one that is at it."""
    with hold_lock(main.lock(BRANCH), what="work in the worktree", wait_s=PATIENCE_S):
        _remove_locks(main)
        yield


def _remove_locks(main: Workspace) -> None:
    """Remove what a power cut or a kill left of git's locks on the worktree and on its branch."""
    tree = main.retraining
    if not _is_whole(tree):
        return
    names = ("index.lock", "HEAD.lock", f"refs/heads/{BRANCH}.lock")
    paths = [tree / run_git(tree, "rev-parse", "--git-path", name) for name in names]
    if not any(path.exists() for path in paths):
        return
    # No run's git can hold one while we hold the worktree, except one that outlived its run. That
    # one, as a person's, works somewhere below the project's root; it is waited for. If it stays,
    # its locks do, too: git then says so.
    if not psutil.wait_procs(_find_git(main.root), timeout=GIT_PATIENCE_S)[1]:
        for path in paths:
            path.unlink(missing_ok=True)


def _find_git(root: Path) -> list[psutil.Process]:
    """List git's processes that work in a project; other users' do not say where, nor may they."""
    found = [one for one in psutil.process_iter(["name", "cwd"]) if one.info["name"] == "git"]
    return [
        one
        for one in found
        if one.info["cwd"] and Path(one.info["cwd"]).is_relative_to(root.resolve())
    ]


@lru_cache(maxsize=1)
def open_worktree(root: Path, run: str) -> DvcProject:
    """Open the worktree once a run, for parsing it takes most of the time of a skipped stage.

    Args:
        root: The person's tree.
        run: Its id; another one's files may be others.
    """
    main, tree = find_trees(root)
    path = os.pathsep.join(filter(None, [str(tree.root), os.environ.get("PYTHONPATH")]))
    return DvcProject(
        tree.root,
        environment={
            "MM_PROJECT": str(tree.root),
            "MM_STORE": str(main.store.absolute()),
            "MM_WEIGHTS": str(main.weights.absolute()),
            "PYTHONPATH": path,  # the code that is committed, before the person's, half edited
        },
    )


def require_git(root: Path) -> None:
    """Require what a worktree needs.

    Raises:
        RetrainingError: The project is not the root of a git repository with a commit, or its
            current branch is the one that retraining writes to.
    """
    top = ask_git(root, "rev-parse", "--show-toplevel")
    aside = "; `make run` and job `pipeline` need none of this"
    if top is None or Path(top).resolve() != root.resolve():
        found = "there is none" if top is None else f"its repository is that of {top}"
        raise RetrainingError(
            f"retraining works in a git worktree and so needs {root} to be the root of a git "
            f"repository, but {found}; run `git init && dvc init -f && git add . && git commit` "
            f"there{aside}"
        )
    if ask_git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None:
        raise RetrainingError(
            f"retraining starts from what is committed, and {root} has no commit yet; run "
            f"`git add . && git commit`{aside}"
        )
    if _find_branch(root) == BRANCH:
        raise RetrainingError(
            f"branch {BRANCH!r} is what retraining commits to, and is checked out in {root}; "
            "switch to your own branch: `git switch -`"
        )


def ensure_worktree(root: Path, tree: Path, log: Log) -> None:
    """Make branch and worktree, or make them anew where a kill left half of one.

    Raises:
        RetrainingError: Somebody has switched the worktree to another branch.
    """
    _ignore_ours(root)
    if ask_git(root, "rev-parse", "--verify", "--quiet", f"refs/heads/{BRANCH}") is None:
        start = _find_branch(root)
        run_git(root, "branch", *(["--track", BRANCH, start] if start else [BRANCH]))
        log(f"made branch {BRANCH!r} from {start or 'HEAD'}")
    if not _is_whole(tree):
        ask_git(root, "worktree", "remove", "--force", "--force", str(tree))
        shutil.rmtree(tree, ignore_errors=True)
        run_git(root, "worktree", "prune")
        run_git(root, "worktree", "add", "--quiet", "--no-checkout", str(tree), BRANCH)
        log(f"made a worktree in {tree}")
    elif (branch := _find_branch(tree)) != BRANCH:
        raise RetrainingError(
            f"{tree} must have branch {BRANCH!r} checked out, and has {branch or 'no branch'}; run "
            f"`git switch {BRANCH}` there"
        )


def _find_branch(tree: Path) -> str | None:
    """Name the branch that is checked out; none where a commit is by itself."""
    return ask_git(tree, "symbolic-ref", "--quiet", "--short", "HEAD")


def _is_whole(tree: Path) -> bool:
    """Tell whether git finished making the worktree: until then it is locked as `initializing`."""
    top = ask_git(tree, "rev-parse", "--show-toplevel") if tree.is_dir() else None
    if top is None or Path(top).resolve() != tree.resolve():
        return False
    lock = tree / run_git(tree, "rev-parse", "--git-path", "locked")
    return not lock.exists() or lock.read_text(encoding="utf-8").strip() != "initializing"


def _ignore_ours(root: Path) -> None:
    """Keep the person's `git status` as it is, whatever their `.gitignore` says."""
    ours = [".mm/", "registry/champion", "registry/.champion.*"]
    lacking = [name for name in ours if ask_git(root, "check-ignore", "--quiet", name) is None]
    if lacking:
        path = root / run_git(root, "rev-parse", "--git-path", "info/exclude")
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"\n/{name}" for name in lacking) + "\n")


def clean_worktree(tree: Workspace) -> None:
    """Put back what a run that was cut short changed, except what it decided, which is committed."""
    merging = ask_git(tree.root, "diff", "--name-only", "--diff-filter=U")
    decided = Registry() if merging else read_registry(tree.registry)
    if decided.models:  # git would delete files of theirs that it knows and no commit has
        ask_git(tree.root, "reset", "--quiet", "--", "registry")
    run_git(tree.root, "reset", "--hard", "--quiet")
    if not decided.models:
        return
    if decided != (kept := read_registry(tree.registry)):
        write_registry(tree.registry, merge_registries(kept, decided))
    run_git(tree.root, "add", "--", "registry")  # its files may not be git's yet
    commit_staged(tree.root, "retrain: what a run decided that was cut short")


def share_cache(root: Path, tree: Path) -> None:
    """Give the worktree the main tree's DVC cache, and what is set for this machine alone."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        local = repo.config.load_one("local")
        remotes = repo.config.load_one("repo")["remote"]
        cache = repo.cache.local_cache_dir
    with Repo(str(tree)) as there, there.config.edit("local") as config:
        config.update(local)
        config["cache"]["dir"] = cache
        for name, remote in remotes.items():
            if str(remote.get("url")).startswith("/"):
                # One that is given from the main tree's place; `str` forgets that it was.
                config["remote"].setdefault(name, {}).setdefault("url", str(remote["url"]))
