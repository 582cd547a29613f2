"""Incoming batches: each is compared once it keeps still, and drift or enough rows start retraining.

A batch is a folder in the drop folder, `drift.folder` of `params.yaml`. `incoming_batches` only has it
compared; `waiting_batches` starts job `retrain`, and may be switched on or left off by itself.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import dagster as dg
from pydantic import ConfigDict, Field

from mm_assets.contracts.config import DriftConfig, Section, read_section
from mm_assets.contracts.errors import MMAssetsError
from mm_assets.contracts.workspace import Workspace
from mm_assets.drift.incoming import drop_folder, find_waiting, list_batches, read_left_out
from mm_assets.drift.report import PAGE_FILE, DriftReport, Moved
from orchestration.asked import Asked, ask, find_last, read_asked
from orchestration.components.events import make_table
from orchestration.components.evidence import IMAGE_TYPES, show_picture
from orchestration.defs.promotion import ACTIONS
from orchestration.defs.retraining import RETRAIN
from orchestration.dvc_stages import Stage, project_root, read_stages
from orchestration.pages import locate_page, pages_url
from orchestration.retraining.run import BATCHES, is_at_work

REPORT = "drift_report"
WAIT_S, TRIES = 60, 24 * 60  # for a retraining, which may take a day
BATCH = "mm/batch"  # a tag of runs
CHECKS = {
    "vectors_have_not_drifted": "Each modality's vectors are distributed as those that the model "
    "was trained on.",
    "shares_are_stable": "So are labels, table columns, answers, and which modalities rows have.",
    "batch_is_fit": "Its rows are mostly good, and none contradicts a row of data/.",
}
UNFINISHED = [
    status
    for status in dg.DagsterRunStatus
    if status
    not in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
]

drift = dg.define_asset_job(
    "drift",
    selection=dg.AssetSelection.checks_for_assets(REPORT),
    description="Compares one batch of the drop folder with what the current model was trained on: "
    "`batch` in the launchpad names its folder.\n\n`mm drift BATCH`",
)


class DriftRun(dg.Config):
    """What is said when it is launched."""

    batch: str


def build_report(deps: Iterable[str]) -> dg.AssetSpec:
    """Make the asset that shows the last batch's report; job `drift` makes it, and no other run.

    Args:
        deps: The assets that a batch is compared with.
    """
    return dg.AssetSpec(
        REPORT,
        deps=list(deps),
        group_name=ACTIONS,
        kinds={"scipy"},
        owners=["team:data"],
        description="How an incoming batch compares with the rows that the current model was "
        "trained on. To compare one, launch job `drift`, or switch on sensor `incoming_batches`.",
    )


@dg.multi_asset_check(
    name=REPORT,
    specs=[
        dg.AssetCheckSpec(name, asset=REPORT, description=text) for name, text in CHECKS.items()
    ],
)
def compare(
    context: dg.AssetCheckExecutionContext, config: DriftRun
) -> Iterator[dg.AssetCheckResult]:
    """Compare a batch, show the report, and judge it; drift fails no run.

    Raises:
        dagster.RetryRequested: A retraining is at work, or a stage has run meanwhile.
        dagster.Failure: There is no such batch, its table cannot be read, or the stages before it
            have not run.
    """
    # They bring pandas: not while definitions load.
    from mm_assets.drift.comparison import compare_batch
    from mm_assets.drift.reference import ReferenceChangedError

    root = project_root()
    if is_at_work(context.op_execution_context.instance):
        # Which writes what a batch is compared with.
        context.log.info("a retraining is at work; comparing once it has ended")
        raise dg.RetryRequested(max_retries=TRIES, seconds_to_wait=WAIT_S)
    try:
        report = compare_batch(root, config.batch)
    except ReferenceChangedError as error:
        context.log.info(str(error))
        raise dg.RetryRequested(max_retries=TRIES, seconds_to_wait=WAIT_S) from None
    except MMAssetsError as error:
        raise dg.Failure(str(error)) from None
    context.log.info(report.explain())
    metadata = describe(report, Workspace(root).drift / config.batch)
    context.op_execution_context.log_event(dg.AssetMaterialization(REPORT, metadata=metadata))
    yield from check(report)


def describe(report: DriftReport, folder: Path) -> dict[str, dg.MetadataValue[Any]]:
    """Make the metadata: every number, so that the UI plots it over batches; pictures, and the page."""
    page = locate_page(folder.parent, PurePosixPath(folder.name, PAGE_FILE))
    found: dict[str, dg.MetadataValue[Any]] = {
        "outcome": dg.MetadataValue.md(report.explain()),
        "batch": dg.MetadataValue.text(report.batch),
        "compared with": dg.MetadataValue.text(report.explain_reference()),
        "rows_in": dg.MetadataValue.int(report.rows_in),
        "dagster/row_count": dg.MetadataValue.int(report.rows_kept),
        "page": dg.MetadataValue.url(f"{pages_url()}/{page}"),
        "compared": make_table(
            ["what", "moved by", "p", "p of all", "drifted", "unseen", "note"],
            [
                [
                    one.title,
                    one.statistic,
                    one.p_value,
                    one.adjusted,
                    one.drifted,
                    ", ".join(one.unseen),
                    one.note,
                ]
                for one in report.compared
            ],
        ),
        "bad rows": make_table(
            ["reason", "rows", "such as"], [list(row) for row in report.reasons]
        ),
    }
    for one in report.compared:
        numbers = {"moved by": one.statistic, "p": one.adjusted}
        found |= {
            f"{one.title}: {what}": dg.MetadataValue.float(value)
            for what, value in numbers.items()
            if value is not None
        }
        if one.picture and (one.drifted or one.kind == "vectors"):
            content = (folder / one.picture).read_bytes()
            found[one.title] = show_picture(one.title, IMAGE_TYPES[".svg"], content)
    return found


def check(report: DriftReport) -> list[dg.AssetCheckResult]:
    """Make a check a gate; one that does not hold warns, for the model in use is what it was."""
    vectors = [one for one in report.compared if one.kind == "vectors"]
    shares = [one for one in report.compared if one.kind != "vectors"]
    drifted = {
        "vectors_have_not_drifted": [_explain(one, report) for one in vectors if one.drifted],
        "shares_are_stable": [_explain(one, report) for one in shares if one.drifted],
        "batch_is_fit": list(report.refusals),
    }
    return [
        dg.AssetCheckResult(
            check_name=name,
            passed=not broken,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{report.batch}: {'; '.join(broken)}" if broken else CHECKS[name],
        )
        for name, broken in drifted.items()
    ]


def _explain(one: Moved, report: DriftReport) -> str:
    unseen = f", never seen before: {', '.join(one.unseen)}" if one.unseen else ""
    least = "" if one.kind == "vectors" else f", limit {report.psi:g}"
    moved = f"{one.statistic:.3g}{least} (p = {one.adjusted:.2g}, limit {report.p_value:g})"
    return f"{one.title} moved by {moved}{unseen}"


class Compared(Section):
    """What sensor `incoming_batches` remembers: batches as they were, and what it asked for."""

    model_config = ConfigDict(extra="ignore")  # what an earlier release remembered

    seen: dict[str, str] = Field(default_factory=dict)
    requests: dict[str, Asked] = Field(default_factory=dict)


@dg.sensor(
    job=drift,
    minimum_interval_seconds=30,
    description="Has each new batch of the drop folder compared, once it has kept still for one tick.",
)
def incoming_batches(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for a drift report of each batch that is new or has changed, and again after failures."""
    if is_at_work(context.instance):
        return dg.SkipReason("a retraining is at work; comparing once it has ended")
    workspace = Workspace(project_root())
    batches = list_batches(drop_folder(workspace, read_gates(workspace)))
    cursor = Compared.model_validate_json(context.cursor or "{}")
    new, _ = find_waiting(workspace, batches)
    kept = {name: one for name, one in cursor.requests.items() if name in batches}
    moving, told, requests = [], [], []
    for name, state in new.items():
        before = kept.get(name)
        if cursor.seen.get(name) != state:
            moving.append(name)
            continue
        last = None
        if before is not None and before.state == state:
            last = find_last(context.instance, dg.RunsFilter(job_name="drift", tags={BATCH: name}))
        request = ask(state, before, last)
        if isinstance(request, str):
            told.append(f"{name}: {request}")
            continue
        kept[name] = request
        requests.append(
            dg.RunRequest(
                run_key=f"{name} {request.key}",
                run_config={"ops": {REPORT: {"config": {"batch": name}}}},
                tags={BATCH: name},
            )
        )
    now = Compared(seen=batches, requests=kept).model_dump_json()
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=now)
    context.update_cursor(now)
    if moving:
        return dg.SkipReason(f"waiting until {', '.join(moving)} keeps still for one tick")
    return dg.SkipReason("; ".join(told) or f"{len(batches)} batches, none of them new")


@dg.sensor(
    job_name=RETRAIN,
    minimum_interval_seconds=30,
    description="Retrains with all waiting batches when one has drifted, or when they are many rows: "
    "`drift` of params.yaml.",
)
def waiting_batches(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for one retraining with all batches that wait and may be ingested, and again after failures."""
    workspace = Workspace(project_root())
    gates = read_gates(workspace)
    batches = list_batches(drop_folder(workspace, gates))
    _, reports = find_waiting(workspace, batches)
    fit = {
        name: report
        for name, report in reports.items()
        if not report.refusals and read_left_out(workspace, name) is None
    }
    reason = find_reason(fit, gates)
    if reason is None:
        rows = sum(report.rows_kept for report in fit.values())
        left = ", ".join(name for name in reports if read_left_out(workspace, name) is not None)
        return dg.SkipReason(
            f"{rows} rows wait in {len(fit)} batches without drift, {gates.enough_rows} start it"
            + (f"; left out of a retraining, until compared again: {left}" if left else "")
        )
    states = json.dumps({name: batches[name] for name in fit})
    names = ",".join(fit)
    last = find_last(context.instance, dg.RunsFilter(job_name=RETRAIN, tags={BATCHES: names}))
    request = ask(states, read_asked(context.cursor), last)
    if isinstance(request, str):
        return dg.SkipReason(f"{', '.join(fit)}: {request}")
    if context.instance.get_runs(dg.RunsFilter(job_name=RETRAIN, statuses=UNFINISHED), limit=1):
        return dg.SkipReason("a retraining is running; looking again once it has ended")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=request.key, tags={BATCHES: names, "mm/reason": reason})
        ],
        cursor=request.model_dump_json(),
    )


def find_reason(reports: Mapping[str, DriftReport], gates: DriftConfig) -> str | None:
    """Say why batches that wait start a retraining; null where they do not."""
    if drifted := [name for name, report in reports.items() if report.drifted]:
        return f"drift in {', '.join(drifted)}"
    rows = sum(report.rows_kept for report in reports.values())
    return f"{rows} new rows" if rows >= gates.enough_rows else None


def read_gates(workspace: Workspace) -> DriftConfig:
    """Read `drift` of params.yaml anew, so that an edit counts from the next tick on.

    Raises:
        ConfigError: A key is unknown or wrong.
    """
    return read_section(workspace.params, DriftConfig, "drift")


def list_deps(stages: Iterable[Stage]) -> list[str]:
    """List the assets that a batch is compared with: rows, their vectors, and the model."""
    named = ("augment", "train")
    return [
        stage.asset
        for stage in stages
        if stage.target in named or stage.target.startswith("embed@")
    ]


@dg.definitions
def defs() -> dg.Definitions:
    """Offer report, job and sensors where the pipeline trains a model on augmented samples."""
    stages = read_stages(project_root())
    if not {"augment", "train"} <= {stage.target for stage in stages}:
        return dg.Definitions()
    return dg.Definitions(
        assets=[build_report(list_deps(stages))],
        asset_checks=[compare],
        jobs=[drift],
        sensors=[incoming_batches, waiting_batches],
    )
