"""The person's branch, merged into that of retraining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mm_assets.contracts.workspace import Workspace
from mm_assets.registry.git import ask_git, run_git
from mm_assets.registry.merging import merge_registries
from mm_assets.registry.record import write_registry
from orchestration.dvc_runner import Log
from orchestration.retraining.committed import DATA, LOCK, REGISTRY, show_data, show_registry
from orchestration.retraining.data import explain_growth
from orchestration.retraining.state import State
from orchestration.retraining.worktree import BRANCH, RetrainingError


def merge(main: Workspace, tree: Workspace, state: State, log: Log) -> None:
    """Merge the person's branch, uncommitted: it becomes part of the run's one commit.

    Which one is the branch's upstream, as `git branch -u` sets it: at first the one that was checked
    out when retraining first ran.

    Raises:
        RetrainingError: The upstream is gone, or something conflicts that only a person can settle.
    """
    theirs = _find_upstream(main.root, tree.root)
    base = run_git(tree.root, "merge-base", "HEAD", theirs)
    before, ours, persons = (show_registry(tree, commit) for commit in (base, "HEAD", theirs))
    if ask_git(tree.root, "merge", "--no-commit", "--quiet", theirs) is None:
        _settle(tree, state)
    if before not in (ours, persons):  # both have decided something
        write_registry(tree.registry, merge_registries(ours, persons, before))
        run_git(tree.root, "add", "--", REGISTRY)
    log(f"works on {run_git(tree.root, 'rev-parse', '--short', theirs)}, as committed")


def _find_upstream(root: Path, tree: Path) -> str:
    """Give the commit that is to be merged.

    Raises:
        RetrainingError: The branch that the worktree follows is gone.
    """
    if ask_git(root, "config", f"branch.{BRANCH}.merge") is None:  # made from no branch
        return run_git(root, "rev-parse", "HEAD")
    commit = ask_git(tree, "rev-parse", "--verify", "--quiet", f"{BRANCH}@{{upstream}}")
    if commit is None:
        raise RetrainingError(
            f"branch {BRANCH!r} follows one that is gone; name the one to retrain from: "
            f"`git branch --set-upstream-to=BRANCH {BRANCH}`"
        )
    return commit


def _settle(tree: Workspace, state: State) -> None:
    """Take the person's side of conflicts in what a run makes anew; the registries become one.

    Raises:
        RetrainingError: Something else conflicts. The worktree is as it was.
    """
    in_conflict = run_git(tree.root, "diff", "--name-only", "--diff-filter=U").splitlines()
    settled = {LOCK, REGISTRY}
    if show_data(tree.root, "HEAD") == state.persons_data:
        settled.add(DATA)  # on the branch a copy of the person's, which a later one replaces
    if not in_conflict or set(in_conflict) - settled:
        run_git(tree.root, "reset", "--hard", "--quiet")
        raise RetrainingError(_explain_conflict(tree, in_conflict))
    for name in {LOCK, DATA} & set(in_conflict):
        run_git(tree.root, "checkout", "--theirs", "--", name)
        run_git(tree.root, "add", "--", name)


def _explain_conflict(tree: Workspace, names: Sequence[str]) -> str:
    if DATA in names:
        return explain_growth(tree)
    what = ", ".join(names) or "untracked files"
    return (
        f"branch {BRANCH!r} and yours conflict in {what}, which only a person can settle; run "
        f"`git merge {BRANCH}` in your own tree, settle and commit it, and launch `retrain` again"
    )
