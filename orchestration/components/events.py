"""A stage's report as Dagster sees it: metadata, checks, versions."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import dagster as dg

from mm_assets.contracts.errors import StageError
from mm_assets.contracts.report import ExpectationResult, Plot, StageReport, SuiteResult, Table
from orchestration.components.evidence import (
    IMAGE_TYPES,
    MAX_PICTURE_BYTES,
    describe_metrics,
    describe_plots,
    show_picture,
)
from orchestration.dvc_project import Record
from orchestration.dvc_stages import Stage
from orchestration.pages import locate_page


def describe(
    root: Path,
    stage: Stage,
    record: Record | None,
    report: StageReport | None,
    *,
    pages: str | None = None,
) -> dict[str, Any]:
    """Make an asset's metadata: pages, metrics, plots, tables, rows, and where its files are.

    They are shown in this order. A report says what is worth showing of its stage; of a stage without one, everything is shown
    that DVC declares as metrics and plots.

    Args:
        root: The project's folder.
        stage: Whose asset it is.
        record: What DVC has recorded of it; none if it failed.
        report: What it wrote of itself.
        pages: The address at which `orchestration.pages` serves; without it pages are paths, which
            a browser cannot open.
    """
    found: dict[str, Any] = {
        f"page: {page.stem}": _link_page(root, page, record, pages)
        for page in _find_pages(root, stage)
    }
    if report is not None:
        found |= report.metrics
        found |= {plot.title: _show_plot(root, plot) for plot in report.plots}
        found |= {table.title: _show_table(table) for table in report.tables}
        found |= {"rows_in": report.rows_in, "dagster/row_count": report.rows_out}
    elif record is not None:
        found |= describe_metrics(stage, record) | describe_plots(root, stage, record)
    if record is not None:
        found |= record.size
    return found | {f"out: {out}": dg.MetadataValue.path(root / out) for out in stage.outs}


def _link_page(
    root: Path, page: PurePosixPath, record: Record | None, pages: str | None
) -> dg.MetadataValue[Any]:
    """Link to the page as it was recorded, so that each run's own one opens from its event."""
    if pages is None:
        return dg.MetadataValue.path(root / page)
    recorded = record.pages.get(page) if record else None
    address = quote(recorded) if recorded else locate_page(root, page)
    return dg.MetadataValue.url(f"{pages.rstrip('/')}/{address}")


def _find_pages(root: Path, stage: Stage) -> list[PurePosixPath]:
    """List the stage's pages: outs, or files in outs. A failed stage has written its own, too."""
    if stage.is_source:
        return []
    files = [out / page.name for out in stage.outs for page in sorted((root / out).glob("*.html"))]
    return files + [out for out in stage.outs if out.suffix == ".html"]


def check_results(stage: Stage, report: StageReport) -> list[dg.AssetCheckResult]:
    """Make one check result per suite, with its expectations as a table.

    Raises:
        StageError: The suites that ran are not the checks that `dvc.yaml` names. A stage that
            stopped at a suite may lack those after it.
    """
    declared, ran = set(stage.meta.checks), {suite.name for suite in report.suites}
    if ran - declared or (declared - ran and not report.blocks):
        raise StageError(
            f"dvc.yaml names the checks {sorted(declared)} for stage {stage.target!r}, but its "
            f"report has the suites {sorted(ran)}; make `meta.dagster.checks` equal to them"
        )
    return [
        dg.AssetCheckResult(
            asset_key=dg.AssetKey.from_user_string(stage.asset),
            check_name=suite.name,
            passed=suite.passed,
            severity=dg.AssetCheckSeverity.ERROR if suite.blocks else dg.AssetCheckSeverity.WARN,
            description=suite.description or None,
            metadata={
                "results": _show_suite(suite),
                "evaluated": len(suite.results),
                "failed": len(suite.failed),
            },
        )
        for suite in report.suites
    ]


def _show_suite(suite: SuiteResult) -> dg.TableMetadataValue:
    columns = list(ExpectationResult.model_fields)
    return make_table(
        columns,
        [
            list((result.model_dump() | {"samples": ", ".join(result.samples)}).values())
            for result in suite.results
        ],
    )


def _show_table(table: Table) -> dg.TableMetadataValue:
    return make_table(list(table.columns), [list(row) for row in table.rows])


def make_table(columns: list[str], rows: list[list[Any]]) -> dg.TableMetadataValue:
    """Make a table whose columns are known even when it has no rows."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(column, "any") for column in columns]),
    )


def _show_plot(root: Path, plot: Plot) -> dg.MetadataValue[Any]:
    """Show a picture inside the page; a path alone where that is impossible or too large."""
    file = root / plot.path
    kind = IMAGE_TYPES.get(file.suffix.lower())
    if kind is None or not file.is_file() or file.stat().st_size > MAX_PICTURE_BYTES:
        return dg.MetadataValue.path(file)
    return show_picture(plot.title, kind, file.read_bytes())
