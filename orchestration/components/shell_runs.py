"""What `dvc repro` did at the shell, shown in Dagster."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dagster as dg

from mm_assets.contracts.report import read_report
from orchestration.components.events import check_results, describe
from orchestration.dvc_project import DvcProject, Record
from orchestration.dvc_stages import Stage, project_root

DATA_VERSION = "dagster/data_version"
CODE_VERSION = "dagster/code_version"
INPUT_VERSION = "dagster/input_data_version/"
INPUT_POINTER = "dagster/input_event_pointer/"


def build_shell_runs(
    name: str,
    root: Path,
    stages: list[Stage],
    read: Callable[[DvcProject], list[Stage]],
    pages: str | None,
) -> dg.SensorDefinition:
    """Make the sensor that records, without a run, every stage that DVC knows better.

    Args:
        name: Of the sensor.
        root: The project's folder.
        stages: Those that the definitions were made of, under the keys of their assets.
        read: Gives them as they are by then.
        pages: The address under which HTML outs are served.
    """
    folders = sorted({root / stage.folder for stage in stages})

    @dg.sensor(
        name=name,
        description="Tells Dagster of `dvc repro` and `dvc add` at the shell; it runs nothing.",
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,  # it only tells, and runs nothing
    )
    def tell(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = sign_locks(folders)
        if now == context.cursor:
            return dg.SkipReason("dvc.lock and *.dvc are as they were")
        from dvc.lock import LockError

        if root == project_root():
            # The graph shows the tree that ran last. Told in the middle of such a run, what happened
            # at the shell would leave half of the assets from here and half from there, all stale.
            from orchestration.retraining.run import is_at_work

            if is_at_work(context.instance):
                return dg.SkipReason(
                    "a retraining run is telling of these assets; looking again after it"
                )
        project = DvcProject(root)
        try:
            events = build_events(project, read(project), context.instance, pages=pages)
        except LockError:
            return dg.SkipReason("a stage is running; looking again at the next tick")
        return dg.SensorResult(asset_events=events, cursor=now)

    return tell


def sign_locks(folders: Iterable[Path]) -> str:
    """Tell the state of the files in which DVC records versions, unread."""
    files = [
        file
        for folder in folders
        for file in (folder / "dvc.lock", *sorted(folder.glob("*.dvc")))
        if file.is_file()
    ]
    stats = [(file, file.stat()) for file in files]
    return "; ".join(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats)


def build_events(
    project: DvcProject,
    stages: list[Stage],
    instance: dg.DagsterInstance,
    *,
    pages: str | None = None,
) -> list[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Make the events for stages whose record is not what Dagster last saw.

    A stage counts when its outs are other ones, or when it is up to date though Dagster would
    call it stale: DVC compares the files a stage depends on, Dagster all that an asset before it
    wrote. To ask that of every stage would take seconds where there are many files, and of one
    that waits for its turn in a run it would be in vain.

    Raises:
        dvc.lock.LockError: A running stage of another process has an input or out locked.
    """
    events: list[dg.AssetMaterialization | dg.AssetCheckEvaluation] = []
    records = project.read_records(*(stage.target for stage in stages), judge=False)
    for stage in stages:
        record = records[stage.target]
        tags = _version_tags(stage, stages, records)
        seen = _last_tags(stage, instance)
        if record.version is None or seen == tags:
            continue
        if seen.get(DATA_VERSION) != record.version or (
            not record.superseded and project.read_records(stage.target)[stage.target].up_to_date
        ):
            events += _tell(project.root, stage, record, tags, pages)
    return events


def _tell(
    root: Path, stage: Stage, record: Record, tags: dict[str, str], pages: str | None
) -> list[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Make one stage's materialization and the results of its checks."""
    report = read_report(record.report) if record.report else None
    pointers = {
        tag.replace(INPUT_VERSION, INPUT_POINTER): "NULL"
        for tag in tags
        if tag.startswith(INPUT_VERSION)
    }
    return [
        dg.AssetMaterialization(
            asset_key=dg.AssetKey.from_user_string(stage.asset),
            description="By `dvc repro` at the shell.",
            metadata=describe(root, stage, record, report, pages=pages),
            tags={**tags, **pointers},
        ),
        *(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey.from_user_string(stage.asset),
                check_name=str(result.check_name),
                passed=result.passed,
                metadata=result.metadata,
                severity=result.severity,
                description=result.description,
                blocking=True,
            )
            for result in (check_results(stage, report) if report else [])
        ),
    ]


def _version_tags(stage: Stage, stages: list[Stage], records: dict[str, Record]) -> dict[str, str]:
    """Make the tags from which Dagster tells whether an asset is stale."""
    inputs = {
        INPUT_VERSION + other.asset: str(records[other.target].version)
        for other in stages
        if other is not stage and other.feeds(stage)
    }
    return {
        DATA_VERSION: str(records[stage.target].version),
        CODE_VERSION: stage.definition,
        **inputs,
    }


def _last_tags(stage: Stage, instance: dg.DagsterInstance) -> dict[str, str]:
    """Read those tags from what Dagster last recorded of the asset."""
    event: Any = instance.get_latest_materialization_event(
        dg.AssetKey.from_user_string(stage.asset)
    )
    tags = event.asset_materialization.tags if event else {}
    return {
        tag: value
        for tag, value in (tags or {}).items()
        if tag in (DATA_VERSION, CODE_VERSION) or tag.startswith(INPUT_VERSION)
    }
