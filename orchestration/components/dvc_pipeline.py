"""The component that makes one asset of every stage of `dvc.yaml`."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import dagster as dg

from mm_assets.contracts.errors import StageError
from mm_assets.contracts.report import StageReport, read_report, summarize_failures
from orchestration.components.events import check_results, describe
from orchestration.dvc_runner import run_stage
from orchestration.dvc_stages import DvcProject, Record, Stage, project_root, read_stages

Told = dg.AssetObservation | dg.AssetCheckResult | dg.MaterializeResult[None]  # by one run


class DvcPipeline(dg.Component):
    """One asset per stage instance of `dvc.yaml`, and one per `.dvc` file.

    `desc` becomes the description; `meta.dagster` may give `asset`, `group`, `kinds`, `owners` and
    `checks` (the suites in the stage's report). Assets depend on each other as outs and deps do.
    """

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Read the pipeline of `project_root()` anew."""
        root = project_root()
        project, stages = DvcProject(root), read_stages(root)
        return dg.Definitions(assets=[build_asset(project, stage, stages) for stage in stages])


def build_asset(project: DvcProject, stage: Stage, stages: list[Stage]) -> dg.AssetsDefinition:
    """Make the asset whose materialization runs `stage` through DVC."""

    @dg.asset(
        key=stage.asset,
        deps=[other.asset for other in stages if other is not stage and other.feeds(stage)],
        description=_describe(stage),
        group_name=stage.meta.group,
        kinds=set(stage.meta.kinds),
        owners=stage.meta.owners,
        code_version=stage.definition,
        check_specs=[
            dg.AssetCheckSpec(name, asset=stage.asset, blocking=True) for name in stage.meta.checks
        ],
    )
    def run(context: dg.AssetExecutionContext) -> Iterator[Told]:
        yield from materialize(project, stage, context.log.info)

    return run


def _describe(stage: Stage) -> str:
    """Say what the asset is, which command makes it and which page shows its checks."""
    pages = [f"Its page: `{out}`" for out in stage.outs if out.suffix == ".html"]
    return "\n\n".join([stage.description, f"`dvc repro {stage.target}`", *pages])


def materialize(project: DvcProject, stage: Stage, log: Callable[[str], None]) -> Iterator[Told]:
    """Run a stage if it is stale; tell what it writes while it runs, then what its report says.

    Raises:
        dagster.Failure: The stage failed; named are the expectations, or its last output.
    """
    root = project.root
    before = _stamp(root, stage)
    try:
        record = yield from _observe(project, stage, log)
    except StageError as error:
        report = _read_fresh_report(root, stage, before)
        if report is None or not report.blocks:
            raise dg.Failure(str(error)) from None
        yield from check_results(stage, report)
        metadata = describe(root, stage, None, report)
        raise dg.Failure(summarize_failures(report), metadata=metadata) from None
    report = read_report(record.report) if record.report else None
    yield dg.MaterializeResult(
        metadata=describe(root, stage, record, report),
        check_results=check_results(stage, report) if report else [],
        data_version=dg.DataVersion(record.version) if record.version else None,
    )


def _observe(
    project: DvcProject, stage: Stage, log: Callable[[str], None]
) -> Generator[dg.AssetObservation, None, Record]:
    """Run a stage; each row of its live table is a point of the asset's plots over time."""
    running = run_stage(project, stage, log)
    while True:
        try:
            row = next(running)
        except StopIteration as ended:
            record: Record = ended.value
            return record
        yield dg.AssetObservation(stage.asset, metadata=row)


def _stamp(root: Path, stage: Stage) -> tuple[int, int] | None:
    """Tell one version of a report's file from the next."""
    if stage.report is None or not (root / stage.report).exists():
        return None
    stat = (root / stage.report).stat()
    return stat.st_ino, stat.st_mtime_ns


def _read_fresh_report(
    root: Path, stage: Stage, before: tuple[int, int] | None
) -> StageReport | None:
    """Read the report that this run wrote, and none that an earlier one left."""
    if stage.report is None or _stamp(root, stage) in (None, before):
        return None
    return read_report(root / stage.report)
