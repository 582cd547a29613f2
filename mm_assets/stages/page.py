"""A stage's page: its report, and the rows that it is about, looked up where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mm_assets.validation.page import QuarantineGroup, render_page, show_quarantine, show_samples
from mm_assets.validation.previews import embed_picture

if TYPE_CHECKING:
    from mm_assets.contracts.report import StageReport
    from mm_assets.stages.project import Project
    from mm_assets.validation.page import Cell


def make_page(project: Project, report: StageReport) -> str:
    """Make the page of a stage that has just run; equal runs give equal text.

    Args:
        project: Whose workspace holds the stage's outs and, for `validate`, the raw table.
        report: The stage's.
    """
    root = project.workspace.root
    plots = {plot.path: root / plot.path for plot in report.plots}
    return render_page(
        report,
        samples=_find_samples(project, report),
        pictures={name: embed_picture(file) for name, file in plots.items() if file.is_file()},
        quarantine=_find_quarantine(project) if report.stage == "validate" else None,
    )


def _find_samples(project: Project, report: StageReport) -> dict[str, list[Cell]]:
    """Look up the samples that failed expectations name."""
    import pandas as pd

    from mm_assets.data.table import COPY, ID

    ids = {id for suite in report.suites for result in suite.failed for id in result.samples}
    if not ids:
        return {}
    workspace = project.workspace
    stage = workspace.validated if report.stage == "validate" else workspace.augmented
    rows = pd.read_parquet(
        stage / "samples.parquet",
        columns=[ID, *project.modalities],
        filters=[(ID, "in", sorted(ids))]
        + ([] if report.stage == "validate" else [(COPY, "==", 0)]),
    )
    return show_samples(rows, project.modalities, workspace.data)


def _find_quarantine(project: Project) -> list[QuarantineGroup]:
    """Look up the quarantined rows in the raw table."""
    import pandas as pd

    from mm_assets.validation.rows import name_samples, read_ids

    workspace = project.workspace
    findings = pd.read_parquet(workspace.validated / "quarantine.parquet")
    if findings.empty:
        return []
    raw = project.read_raw()
    quarantined = raw.loc[findings["row"].unique() - 1]
    rows = name_samples(quarantined, project.config, read_ids(raw, project.config), {})
    return show_quarantine(findings, rows, project.modalities, workspace.data)
