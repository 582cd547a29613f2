"""A run of job `retrain`: its tags, and how its steps come to work in the worktree."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from mm_assets.contracts.errors import MMAssetsError
from orchestration.dvc_project import DvcProject
from orchestration.dvc_runner import Log
from orchestration.dvc_stages import read_stages
from orchestration.reconcile import UNFINISHED
from orchestration.retraining.commit import complete_killed
from orchestration.retraining.data import bring_data, ingest
from orchestration.retraining.merging import merge
from orchestration.retraining.promotion import mend_link
from orchestration.retraining.state import read_state, write_state
from orchestration.retraining.turns import find_base, require_turn
from orchestration.retraining.worktree import (
    BRANCH,
    RetrainingError,
    clean_worktree,
    ensure_worktree,
    find_trees,
    hold_worktree,
    open_worktree,
    require_git,
    share_cache,
)

TAG = "mm/worktree"  # of every run that retrains
BATCHES, OUTCOME = "mm/batches", "mm/outcome"  # what it takes in, and what came of it


def is_retraining(run: dg.DagsterRun) -> bool:
    """Tell whether a run is to work in the worktree."""
    return TAG in run.tags


def is_at_work(instance: dg.DagsterInstance) -> bool:
    """Tell whether a run works in the worktree now, and materializes the assets from there."""
    filters = dg.RunsFilter(tags={TAG: BRANCH}, statuses=UNFINISHED)
    return bool(instance.get_runs(filters, limit=1))


def choose(project: DvcProject, context: dg.AssetExecutionContext) -> DvcProject:
    """Say where a step runs its stage: in the person's own tree, or in the worktree of retraining.

    Args:
        project: As the definitions have it.
        context: Of the step.

    Raises:
        dagster.Failure: The worktree cannot be prepared.
    """
    return enter(project.root, context) if is_retraining(context.run) else project


def enter(root: Path, context: dg.AssetExecutionContext) -> DvcProject:
    """Prepare the worktree, unless that has been done for this run, and give it.

    Args:
        root: The person's tree.
        context: Of a step of a run with the tag.

    Raises:
        dagster.Failure: It cannot be prepared; says what to do.
    """
    try:
        prepare(root, context.run, context.instance, context.log.info)
    except MMAssetsError as error:
        raise dg.Failure(str(error)) from None
    return open_worktree(root, context.run.run_id)


def prepare(root: Path, run: dg.DagsterRun, instance: dg.DagsterInstance, log: Log) -> None:
    """Bring the worktree to where a run starts: the person's commits, their data, the batches.

    Args:
        root: The person's tree.
        run: Has the tag; `mm/batches` may name batches.
        instance: Knows whether another run still works there.
        log: Is told what was done.

    Raises:
        RetrainingError: Git cannot be used, the branches conflict, both data have grown, or another
            run is at work.
        MMAssetsError: The disk refuses.
    """
    main, tree = find_trees(root)
    require_git(root)
    with hold_worktree(main):
        state, mine = read_state(root), find_base(run, instance)
        if state.run == mine and state.ready:
            return
        require_turn(state, run, instance)
        state = complete_killed(main, state).begin(mine)
        write_state(root, state)
        ensure_worktree(root, tree.root, log)
        clean_worktree(tree)
        merge(main, tree, state, log)
        share_cache(root, tree.root)
        mend_link(main, tree)
        _require_same_stages(root, tree.root)
        copied = bring_data(main, tree, state, log)
        batches = tuple(filter(None, run.tags.get(BATCHES, "").split(",")))
        taken, left_out = ingest(main, tree, batches, log)
        found = {"ready": True, "batches": taken, "left_out": left_out, "copied": copied}
        write_state(root, state.model_copy(update=found))


def _require_same_stages(root: Path, tree: Path) -> None:
    """Require that Dagster's assets, made from the person's files, are those that are committed.

    Raises:
        RetrainingError: Only one of the two has some stage.
    """
    theirs, ours = ({stage.target for stage in read_stages(at)} for at in (root, tree))
    if differing := theirs ^ ours:
        raise RetrainingError(
            "retraining runs what is committed, and only one of that and the dvc.yaml and "
            f"params.yaml that lie here has {', '.join(sorted(differing))}; commit the change or "
            "take it back, and launch `retrain` again"
        )
