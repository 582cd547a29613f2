"""A stage's page: what was expected, what was found, the rows it is about, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from mm_assets.data.table import ID
from mm_assets.validation.advice import advise
from mm_assets.validation.previews import is_missing, preview, shorten

if TYPE_CHECKING:
    from jinja2 import Template

    from mm_assets.contracts.report import ExpectationResult, StageReport, SuiteResult
    from mm_assets.modalities.base import Modality

SHOWN_ROWS = 20  # of each reason
DECODER = "decoder_"  # what the reasons begin with that a decoding process was lost for
UNOPENED = Markup('<span class="none">no preview: its decoder broke on it</span>')


@dataclass(frozen=True)
class Cell:
    """One cell of a row, as the page shows it: `path` where it names a file."""

    name: str
    path: str
    shown: Markup


@dataclass(frozen=True)
class QuarantinedRow:
    """One finding: `row` counts from 1, `modality` is null where none is to blame."""

    row: int
    id: str | None
    modality: str | None
    detail: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class QuarantineGroup:
    """All rows that are quarantined for one reason; the first of them are shown."""

    reason: str
    advice: str
    rows: int
    shown: Sequence[QuarantinedRow]

    @property
    def more(self) -> int:
        """How many rows are not shown."""
        return self.rows - len(self.shown)


def render_page(
    report: StageReport,
    *,
    samples: Mapping[str, Sequence[Cell]],
    pictures: Mapping[str, str],
    quarantine: Sequence[QuarantineGroup] | None = None,
) -> str:
    """Render a stage's page; equal contents give equal text, and all data is escaped.

    Args:
        report: What the stage did.
        samples: By id, the cells of rows that its results name; an id may be absent.
        pictures: By the path that the report gives a plot, the plot as a data URI.
        quarantine: Of `show_quarantine`; null for a stage that has none.

    Returns:
        HTML that loads nothing from elsewhere.
    """
    template = open_template(Path(__file__).with_name("page.html.j2"), code=_mark_code)
    failed = [(suite, result) for suite in report.suites for result in suite.failed]
    errors = [pair for pair in failed if pair[1].severity == "error"]
    warnings = [pair for pair in failed if pair[1].severity == "warning"]
    page = template.render(
        report=report,
        samples=samples,
        pictures=pictures,
        quarantine=quarantine,
        verdict=_judge(errors, warnings),
        errors=errors,
        warnings=warnings,
        expected=sum(len(suite.results) for suite in report.suites),
    )
    # JSON can hold half a character, which no file can.
    return page.encode("utf-8", errors="replace").decode() + "\n"


def open_template(path: Path, **filters: Callable[..., str]) -> Template:
    """Open the template of a page: what it is given is escaped, and what it lacks is an error.

    Args:
        path: The file.
        filters: Its own, beside `plain`, which writes a table's cell.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plain": _plain, **filters}
    environment.tests["number"] = lambda value: isinstance(value, (int, float))
    return environment.get_template(path.name)


def show_samples(
    rows: pd.DataFrame, modalities: Mapping[str, Modality[Any]], folder: Path
) -> dict[str, list[Cell]]:
    """Show every modality of rows.

    Args:
        rows: Column ``id`` and one per modality; a missing modality is null.
        modalities: By key.
        folder: The data folder.

    Returns:
        By id, the cells that are not missing.
    """
    return {
        str(row[ID]): _show_cells(row, modalities, folder)
        for row in rows.to_dict("records")  # an id that is there twice is shown once
    }


def show_quarantine(
    findings: pd.DataFrame,
    rows: pd.DataFrame,
    modalities: Mapping[str, Modality[Any]],
    folder: Path,
) -> list[QuarantineGroup]:
    """Show the quarantine by reason, the most frequent first.

    Args:
        findings: As in `validated/quarantine.parquet`.
        rows: The rows that `findings` name, indexed by row - 1, one column per modality.
        modalities: By key.
        folder: The data folder.

    Returns:
        One group per reason, with the cell that is to blame, or else all cells of the row.
    """
    # What has broken its decoder once, in a process of its own, is not decoded again in this one.
    broke = findings[findings["reason"].str.startswith(DECODER)]
    broken = set(zip(broke["row"], broke["modality"], strict=True))
    counts = findings.groupby("reason")["row"].nunique()
    counts = counts.sort_values(ascending=False, kind="stable")
    groups = []
    for reason, count in counts.items():
        found = findings[findings["reason"] == reason].drop_duplicates("row").head(SHOWN_ROWS)
        shown = [
            QuarantinedRow(
                row=one["row"],
                id=None if is_missing(one[ID]) else one[ID],
                modality=None if is_missing(one["modality"]) else one["modality"],
                detail=one["detail"],
                cells=_show_cells(
                    rows.loc[one["row"] - 1].to_dict(),
                    {one["modality"]: modalities[one["modality"]]}
                    if one["modality"] in modalities
                    else modalities,
                    folder,
                    unopened={key for key in modalities if (one["row"], key) in broken},
                ),
            )
            for one in found.to_dict("records")
        ]
        groups.append(QuarantineGroup(str(reason), advise(str(reason)), int(count), shown))
    return groups


def _show_cells(
    row: Mapping[Any, Any],
    modalities: Mapping[str, Modality[Any]],
    folder: Path,
    *,
    unopened: Collection[str] = (),
) -> list[Cell]:
    """Show a row's cells; those of modalities in `unopened` by their path alone."""
    return [
        Cell(
            name=key,
            path=shorten(str(row[key])) if modality.is_file else "",
            shown=UNOPENED if key in unopened else preview(modality, row[key], folder),
        )
        for key, modality in modalities.items()
        if not is_missing(row[key])
    ]


def _judge(
    errors: Sequence[tuple[SuiteResult, ExpectationResult]],
    warnings: Sequence[tuple[SuiteResult, ExpectationResult]],
) -> str:
    """Say in one line how it went."""
    if errors:
        count = f"{len(errors)} check{'s' if len(errors) > 1 else ''} failed"
        return f"Stopped: {count}"
    if warnings:
        return f"Passed, with {len(warnings)} warning{'s' if len(warnings) > 1 else ''}"
    return "Passed"


def _mark_code(text: str) -> Markup:
    """Show as code what stands between backticks."""
    parts = enumerate(text.split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in parts
    )


def _plain(value: object) -> str:
    """Write a table's cell: numbers shortly, null as a dash."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
