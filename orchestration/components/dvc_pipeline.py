"""The component that makes one asset of every stage of a DVC project."""

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import dagster as dg
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from dagster_shared.check import CheckError

from mm_assets.contracts.errors import ConfigError, StageError
from mm_assets.contracts.report import StageReport, read_report, summarize_failures
from orchestration.components.events import check_results, describe
from orchestration.components.shell_runs import build_shell_runs
from orchestration.dvc_project import DvcProject, Record
from orchestration.dvc_runner import run_stage
from orchestration.dvc_stages import Stage, project_root, read_stages, refuse_shared_assets

Told = dg.AssetObservation | dg.AssetCheckResult | dg.MaterializeResult[None]  # by one run

FROZEN_TAG = "dvc/frozen"


@dataclass
class DvcPipeline(dg.Component, dg.Resolvable):
    """One asset per stage instance of `dvc.yaml`, and one per `.dvc` file that a stage reads.

    `desc` becomes the description; `meta.dagster` may give `asset`, `group`, `kinds`, `owners` and
    `checks` (the suites in the stage's report). Assets depend on each other as outs and deps do.
    `docs/component.md` shows how to use it with a `dvc.yaml` of your own.

    Args:
        project: The folder that DVC was initialised in; relative to this defs.yaml.
        translation: Attributes of every asset, as templates over `stage` and `spec`.
        pages: The address under which HTML outs are served; without it their paths are shown.
        sensor: The name of the sensor that tells what ran at the shell; two components need two.
    """

    project: Annotated[
        Path,
        dg.Resolver(
            lambda context, path: context.resolve_source_relative_path(path).resolve(),
            model_field_type=str,
        ),
    ] = field(default_factory=project_root)
    translation: (
        Annotated[
            TranslationFn[Stage], TranslationFnResolver[Stage](lambda stage: {"stage": stage})
        ]
        | None
    ) = None
    pages: str | None = None
    sensor: str = "shell_runs"

    def get_asset_spec(self, stage: Stage) -> dg.AssetSpec:
        """Say how a stage's asset is called and shown; override it for what YAML cannot say.

        Dependencies come on top: those of DVC, whatever the keys.
        """
        spec = dg.AssetSpec(
            dg.AssetKey.from_user_string(stage.asset),
            description=_describe(stage),
            group_name=stage.meta.group,
            kinds=set(stage.meta.kinds or ["dvc"]),
            owners=stage.meta.owners,
            tags={FROZEN_TAG: "true"} if stage.frozen else {},
            code_version=stage.definition,
            metadata={"dvc/target": stage.target},
        )
        return self.translation(spec, stage) if self.translation else spec

    def name_assets(self, stages: list[Stage]) -> list[tuple[Stage, dg.AssetSpec]]:
        """Give every stage the key that its asset has in the end.

        Raises:
            ConfigError: Two stages have the same key, or one has partitions.
        """
        specs = []
        for stage in stages:
            with _naming(stage):
                spec = self.get_asset_spec(stage)
            if spec.partitions_def:
                raise ConfigError(
                    f"the asset of stage {stage.target!r} has partitions, but DVC runs a stage as "
                    "a whole; use `foreach` or `matrix` in dvc.yaml, and take `partitions_def` "
                    "out of `translation`"
                )
            specs.append(spec)
        stages = [
            replace(
                stage,
                asset=spec.key.to_user_string(),
                definition=spec.code_version or stage.definition,
            )
            for stage, spec in zip(stages, specs, strict=True)
        ]
        refuse_shared_assets(stages)
        return [
            (stage, spec.replace_attributes(deps=[*spec.deps, *_list_deps(stage, stages)]))
            for stage, spec in zip(stages, specs, strict=True)
        ]

    def read_stages(self, project: DvcProject) -> list[Stage]:
        """Read the project's stages anew, under the keys of their assets."""
        return [stage for stage, _ in self.name_assets(project.read_stages())]

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Make the assets, and the sensor that tells Dagster of `dvc repro` at the shell."""
        project, assets = DvcProject(self.project), self.name_assets(read_stages(self.project))
        stages = [stage for stage, _ in assets]
        return dg.Definitions(
            assets=[build_asset(project, stage, spec, self.pages) for stage, spec in assets],
            sensors=[
                build_shell_runs(self.sensor, self.project, stages, self.read_stages, self.pages)
            ],
        )


def build_asset(
    project: DvcProject, stage: Stage, spec: dg.AssetSpec, pages: str | None = None
) -> dg.AssetsDefinition:
    """Make the asset whose materialization runs `stage` through DVC.

    Raises:
        ConfigError: Dagster refuses its key or a check's name.
    """

    def run(context: dg.AssetExecutionContext) -> Iterator[Told]:
        yield from materialize(
            choose_project(context, project), stage, context.log.info, pages=pages
        )

    with _naming(stage):
        checks = [
            dg.AssetCheckSpec(name, asset=spec.key, blocking=True) for name in stage.meta.checks
        ]
        name = re.sub(r"\W", "_", "__".join(spec.key.path), flags=re.ASCII)
        return dg.multi_asset(name=name, specs=[spec], check_specs=checks)(run)


@contextmanager
def _naming(stage: Stage) -> Iterator[None]:
    """Say which stage it is whose asset Dagster refuses.

    Raises:
        ConfigError: It does.
    """
    try:
        yield
    except (dg.DagsterInvalidDefinitionError, CheckError) as error:
        raise ConfigError(
            f"stage {stage.target!r} cannot be the asset that `translation` in defs.yaml or "
            f"`meta.dagster` in dvc.yaml asks for: {error}"
        ) from None


def choose_project(context: dg.AssetExecutionContext, project: DvcProject) -> DvcProject:
    """Choose the project that a run's stages work in: of ours, retraining has a tree of its own."""
    if project.root != project_root():
        return project
    # It brings what promotion needs, which other projects do not.
    from orchestration.retraining.run import choose

    return choose(project, context)


def _list_deps(stage: Stage, stages: list[Stage]) -> list[dg.AssetKey]:
    """List the assets before this one, by the keys that they have in the end."""
    return [
        dg.AssetKey.from_user_string(other.asset)
        for other in stages
        if other is not stage and other.feeds(stage)
    ]


def _describe(stage: Stage) -> str:
    """Say what the asset is, which command makes it and which page shows its checks."""
    frozen = [f"Frozen: {_explain_frozen(stage)}"] if stage.frozen else []
    pages = [f"Its page: `{out}`" for out in stage.outs if out.suffix == ".html"]
    return "\n\n".join([stage.description, f"`dvc repro {stage.target}`", *frozen, *pages])


def _explain_frozen(stage: Stage) -> str:
    if stage.is_source:
        return f"DVC keeps what it has; `dvc update {stage.target}` looks for newer data."
    return (
        "DVC keeps its outs as they are and does not run its command, whatever changes before "
        "it, until `frozen` is taken out of dvc.yaml."
    )


def materialize(
    project: DvcProject, stage: Stage, log: Callable[[str], None], *, pages: str | None = None
) -> Iterator[Told]:
    """Run a stage if it is stale; tell what it writes while it runs, then what its report says.

    Raises:
        dagster.Failure: The stage failed; named are the expectations, or its last output.
    """
    root = project.root
    if stage.frozen:
        log(f"{stage.target} is frozen: {_explain_frozen(stage)}")
    before = _stamp(root, stage)
    try:
        record = yield from _observe(project, stage, log)
    except StageError as error:
        report = _read_fresh_report(root, stage, before)
        if report is None or not report.blocks:
            raise dg.Failure(str(error)) from None
        yield from check_results(stage, report)
        metadata = describe(root, stage, None, report, pages=pages)
        raise dg.Failure(summarize_failures(report), metadata=metadata) from None
    report = read_report(record.report) if record.report else None
    yield dg.MaterializeResult(
        asset_key=dg.AssetKey.from_user_string(stage.asset),
        metadata=describe(root, stage, record, report, pages=pages),
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
        yield dg.AssetObservation(dg.AssetKey.from_user_string(stage.asset), metadata=row)


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
