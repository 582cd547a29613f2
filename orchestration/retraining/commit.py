"""The one commit that a run makes on the branch."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from mm_assets.contracts.workspace import Workspace
from mm_assets.registry.folders import read_data_version
from mm_assets.registry.git import commit_staged, run_git
from mm_assets.registry.record import read_registry
from orchestration.retraining.committed import LOCK, show_data, show_registry
from orchestration.retraining.state import State, read_state, write_state
from orchestration.retraining.turns import find_base, require_own
from orchestration.retraining.worktree import BRANCH, find_trees, hold_worktree


def commit_run(
    root: Path, run: dg.DagsterRun, instance: dg.DagsterInstance
) -> tuple[str | None, str]:
    """Commit what a run came to: versions of data and outs, parameters, registry.

    Args:
        root: The person's tree.
        run: For which the worktree was prepared.
        instance: Knows the runs before it.

    Returns:
        The commit's short id, none where there is nothing new; and its message.

    Raises:
        RetrainingError: The worktree is another run's.
        RegistryError: Git refused.
    """
    main, tree = find_trees(root)
    with hold_worktree(main):
        state = read_state(root)
        base = find_base(run, instance)
        require_own(state, base)
        _stage_changes(tree.root)
        message = _describe(tree, state, run)
        done = commit_staged(tree.root, message)
        if done is None and base in run_git(tree.root, "log", "-1", "--format=%B"):
            done = run_git(tree.root, "rev-parse", "--short", "HEAD")  # made before it was killed
        _remember(main, state, run.run_id, read_data_version(tree))
        return done, message


def complete_killed(main: Workspace, state: State) -> State:
    """Remember what the last run has committed, where a kill came before it did so itself.

    Args:
        main: The person's tree.
        state: As that run left it.

    Returns:
        What is remembered now.
    """
    if not state.ready or state.done:
        return state
    # Not the last commit alone: `mm gc` makes some on that branch, too.
    made = run_git(
        main.root, "log", "-1", "--fixed-strings", f"--grep={state.run}", "--format=%H", BRANCH
    )
    return _remember(main, state, state.run, show_data(main.root, made)) if made else state


def _remember(main: Workspace, state: State, run_id: str, data: str | None) -> State:
    """Remember what of the person's data, and which batches, are on the branch now."""
    if state.batches:
        from mm_assets.drift.incoming import mark_ingested

        mark_ingested(main, state.batches, run_id)
    finished = state.finish(data)
    write_state(main.root, finished)
    return finished


def _stage_changes(tree: Path) -> None:
    """Stage what has changed, and of new files what DVC and the registry have written."""
    run_git(tree, "add", "--update")
    names = [LOCK, *(path.name for path in tree.glob("*.dvc")), "registry"]
    run_git(tree, "add", "--", *(name for name in names if (tree / name).exists()))


def _describe(tree: Workspace, state: State, run: dg.DagsterRun) -> str:
    """Write the commit's message: what came of it and by which run."""
    known = show_registry(tree, "HEAD").history
    after = read_registry(tree.registry)
    events = [event for event in after.history if event not in known]
    told = [f"{event.what} {event.model}" for event in events] or ["nothing promoted"]
    lines = [f"retrain: {', '.join(told)}", "", f"Dagster run: {run.run_id}"]
    if state.run != run.run_id:
        lines.append(f"which went on from: {state.run}")
    lines += [
        f"champion: {after.champion or 'none'}",
        f"data: {read_data_version(tree) or 'not tracked by DVC'}",
    ]
    if state.batches:
        lines.append(f"batches: {', '.join(state.batches)}")
    lines += [f"left out: {reason}" for reason in state.left_out.values()]
    for event in events:
        verdict = after.models[event.model].verdict if event.model in after.models else None
        if verdict and event.what == "refused":
            lines += [f"refused: {refusal}" for refusal in verdict.refusals]
        elif verdict and verdict.gates:
            lines += [claim.explain() for claim in verdict.gates[0].claims]
    return "\n".join(lines)
