"""A batch's page: what has moved, as pictures; the rows least like any known; what is bad in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mm_assets.data.table import ID
from mm_assets.validation.page import Cell, open_template, show_samples
from mm_assets.validation.previews import embed_picture

if TYPE_CHECKING:
    from mm_assets.drift.batch import Batch
    from mm_assets.drift.report import DriftReport, Moved


def make_page(report: DriftReport, batch: Batch, folder: Path) -> str:
    """Make the page; equal batches give equal text.

    Args:
        report: What was found.
        batch: Whose rows are shown.
        folder: Where the pictures are that the report names.

    Returns:
        HTML that loads nothing from elsewhere.
    """
    template = open_template(Path(__file__).with_name("page.html.j2"))
    page = template.render(
        report=report,
        verdict=_judge(report),
        pictures={
            one.title: embed_picture(folder / one.picture) for one in report.compared if one.picture
        },
        foreign={
            one.name: _show_foreign(one, batch) for one in report.drifted if one.kind == "vectors"
        },
    )
    return page.encode("utf-8", errors="replace").decode() + "\n"


def _judge(report: DriftReport) -> str:
    if report.refusals:
        return "a person must look at it"
    return "it has drifted" if report.drifted else "no drift"


def _show_foreign(one: Moved, batch: Batch) -> list[tuple[str, Sequence[Cell]]]:
    """Show the rows that resemble the reference least, by id."""
    rows = batch.samples[batch.samples[ID].isin(one.foreign)]
    project = batch.project
    modalities = {one.name: project.modalities[one.name]}
    shown = show_samples(rows[[ID, one.name]], modalities, project.workspace.data)
    return [(name, shown[name]) for name in one.foreign]
