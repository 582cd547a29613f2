"""The two jobs, and what starts retraining by itself: the clock, and new raw data.

`pipeline` runs in the person's own tree. `retrain` runs what is committed in a worktree of its own,
promotes, and ends with one commit there: see `orchestration/retraining`.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg

from mm_assets.contracts.config import ScheduleConfig, read_section
from mm_assets.contracts.errors import ConfigError, MMAssetsError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.mirror import sign_folder
from orchestration.asked import Asked, ask, find_last
from orchestration.defs.promotion import ACTIONS, CHAMPION, JUDGED
from orchestration.dvc_stages import project_root, read_stages
from orchestration.retraining.commit import commit_run
from orchestration.retraining.run import TAG, enter, is_retraining
from orchestration.retraining.worktree import BRANCH

COMMIT = "retraining_commit"
RETRAIN = "retrain"
PIPELINE = dg.AssetSelection.all() - dg.AssetSelection.groups(ACTIONS)  # stages, and their sources

pipeline = dg.define_asset_job(
    "pipeline",
    selection=PIPELINE,
    description="Every stage that is stale, in order, on your files as they lie there. DVC skips "
    "the rest in milliseconds.",
)


def build_commit(deps: Iterable[str]) -> dg.AssetsDefinition:
    """Make the asset that stands for a retraining run's commit.

    Args:
        deps: The last of all that the commit records.
    """

    @dg.asset(
        key=COMMIT,
        deps=list(deps),
        group_name=ACTIONS,
        kinds={"git"},
        owners=["team:ml"],
        description="One commit a run of job `retrain` on branch `retraining`: the versions of data "
        "and outs, parameters, registry. `git merge retraining` brings it to your branch, and "
        "`dvc checkout` its files.",
        output_required=False,
    )
    def run(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        if not is_retraining(context.run):
            context.log.info("this run works on your own files, whose commits are yours to make")
            return
        yield record(context)

    return run


def record(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """Commit, and tell what.

    Raises:
        dagster.Failure: Git refused, or the worktree is another run's.
    """
    root = project_root()
    try:
        enter(root, context)
        commit, message = commit_run(root, context.run, context.instance)
    except MMAssetsError as error:
        raise dg.Failure(str(error)) from None
    said = f"{commit} on branch {BRANCH}" if commit else "nothing new, so no commit"
    subject = message.partition("\n")[0]
    context.log.info(f"{said}: {subject}" if commit else said)
    return dg.MaterializeResult(
        metadata={
            "commit": dg.MetadataValue.text(said),
            "message": dg.MetadataValue.md(f"```\n{message}\n```"),
            "take it over": dg.MetadataValue.md(
                "`git merge retraining && dvc checkout`, with your own `dvc.lock` committed"
            ),
            "worktree": dg.MetadataValue.path(Workspace(root).retraining),
        },
        data_version=dg.DataVersion(commit) if commit else None,
    )


def build_schedule(root: Path) -> dg.ScheduleDefinition:
    """Make the schedule that `schedule` of `params.yaml` describes; stopped until switched on.

    Raises:
        ConfigError: A key is unknown, or cron or timezone are not valid.
    """
    config = read_section(Workspace(root).params, ScheduleConfig, "schedule")
    try:
        return dg.ScheduleDefinition(
            name="retraining",
            job_name=RETRAIN,
            cron_schedule=config.cron,
            execution_timezone=config.timezone,
            description="As schedule of params.yaml says. A run with nothing new takes seconds.",
        )
    except dg.DagsterInvalidDefinitionError as error:
        raise ConfigError(
            "params.yaml: `schedule.cron` must be five fields as in crontab and "
            "`schedule.timezone` an IANA name such as Europe/Berlin, got "
            f"{config.cron!r} and {config.timezone!r}"
        ) from error


@dg.sensor(
    job_name=RETRAIN,
    minimum_interval_seconds=30,
    description="Retrains when data/ has changed and then kept still for one tick.",
)
def new_raw_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for a run once for each state of the folder, and again where the last one failed."""
    cursor = json.loads(context.cursor or "{}")
    before = Asked.model_validate(cursor["asked"]) if "asked" in cursor else None
    now = sign_folder(Workspace(project_root()).data)
    if now is None:
        return dg.SkipReason("there is no data/ folder")
    last = None
    if now == cursor.get("handled"):
        # Whichever was the last one, it took data/ as they lie there.
        last = find_last(context.instance, dg.RunsFilter(job_name=RETRAIN))
        if last is None or last.status != dg.DagsterRunStatus.FAILURE:
            return dg.SkipReason("data/ is as it was")
    if now != cursor.get("seen"):
        context.update_cursor(json.dumps({**cursor, "seen": now}))
        return dg.SkipReason("data/ is changing; waiting until it keeps still for one tick")
    request = ask(now, before, last)
    if isinstance(request, str):
        return dg.SkipReason(f"data/ is as it was; {request}")
    return dg.SensorResult(
        run_requests=[dg.RunRequest()],  # no run_key: data may come back to an earlier state
        cursor=json.dumps({"seen": now, "handled": now, "asked": request.model_dump()}),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Gather jobs, schedule, sensor and the commit."""
    root = project_root()
    stages = read_stages(root)
    last = [one.asset for one in stages if not any(one.feeds(other) for other in stages)]
    promoted = [CHAMPION] if set(JUDGED) <= {one.target for one in stages} else []
    retrain = dg.define_asset_job(
        RETRAIN,
        selection=PIPELINE | dg.AssetSelection.assets(*promoted, COMMIT),
        # It sends every stage to the worktree, whoever launches the job.
        tags={TAG: BRANCH},
        description="What is committed, from raw data to promotion, in a git worktree of its own: "
        "your files stay as they are. Ends with one commit on branch `retraining`; a candidate that "
        "is refused is kept, and the run succeeds.",
    )
    return dg.Definitions(
        assets=[build_commit([*last, *promoted])],
        jobs=[pipeline, retrain],
        schedules=[build_schedule(root)],
        sensors=[new_raw_data],
    )
