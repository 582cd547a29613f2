"""Commands about quarantined rows: listing them, looking at one, taking rows back."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pandas as pd


@click.group()
def quarantine() -> None:
    """Rows that validation set aside: list them, look at one, take rows back after mending them.

    They are those of the last `dvc repro` or, if that was later, of the last `mm check`. A row is
    named by its id or by its number in the table (from 1, without the header).
    """


@quarantine.command("ls")
@click.option("--reason", help="Only rows with this reason, such as image_truncated.")
@click.option("--modality", help="Only rows of which this modality is to blame.")
def list_rows(reason: str | None, modality: str | None) -> None:
    """List the rows in quarantine, one line per finding: row, id, modality, reason, detail."""
    from mm_assets.stages.quarantine import read_quarantine

    findings = read_quarantine(Path.cwd()).findings
    for column, wanted in (("reason", reason), ("modality", modality)):
        findings = _choose(findings, column, wanted)
    shown = findings.fillna({"id": "(none)", "modality": "-"})
    columns = ["row", "id", "modality", "reason", "detail"]
    lines = [columns, *shown[columns].astype("str").to_numpy().tolist()]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns) - 1)]
    for line in lines if len(findings) else []:
        cells = [cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)]
        click.echo("  ".join(cells))
    rows = findings["row"].nunique()
    click.echo(f"{rows} row{'' if rows == 1 else 's'} in quarantine")


@quarantine.command()
@click.argument("row", metavar="ID|ROW")
def show(row: str) -> None:
    """Show everything about one row: its cells, its files, what is wrong, and what to do."""
    from mm_assets.stages.quarantine import find_rows, look_at_row, read_quarantine
    from mm_assets.validation.previews import shorten

    found = read_quarantine(Path.cwd())
    (number,) = find_rows(found, [row])
    view = look_at_row(found, number)
    click.secho(f"row {view.row}, id {view.id or '(none)'}", bold=True)
    width = max(len(name) for name in view.cells)
    for name, text in view.cells.items():
        click.echo(f"  {name:<{width}}  {shorten(text)}")
    for key, path in view.files.items():
        click.echo(f"{key}: {path}" + ("" if path.is_file() else "  (is not there)"))
    for modality, reason, detail, advice in view.findings:
        click.secho(f"{reason}", fg="red", nl=False)
        click.echo(f"{f' of {modality}' if modality else ''}: {detail}")
        click.echo(f"  what to do: {advice}")


# A backspace tells click to leave the lines as they are.
EXAMPLES = """\b
mm quarantine restore s17                           # its file was replaced by hand
mm quarantine restore s17 --file photo=better.jpg
mm quarantine restore s17 --set photo=              # good without its photo
mm quarantine restore 12 40 --set mood=glad
"""


@quarantine.command(epilog=EXAMPLES)
@click.argument("rows", nargs=-1, required=True, metavar="ID|ROW...")
@click.option(
    "--set",
    "cells",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Write VALUE into the rows' cell of that column; COLUMN= clears it.",
)
@click.option(
    "--file",
    "media",
    multiple=True,
    metavar="MODALITY=PATH",
    help="Put a copy of PATH in the place of the file that the row names.",
)
def restore(rows: tuple[str, ...], cells: tuple[str, ...], media: tuple[str, ...]) -> None:
    """Take rows back, after mending them here or by hand.

    Every rule is applied to them again. If one is still bad, that is said and nothing is changed;
    else the table and the files in data/ are changed, no other cell with them, and the new version
    of data/ is recorded with `dvc add data`.
    """
    from mm_assets.stages.quarantine import find_rows, read_quarantine, restore_rows

    found = read_quarantine(Path.cwd())
    lines = restore_rows(
        found,
        find_rows(found, rows),
        changes={name: value or None for name, value in _split(cells, "--set").items()},
        files={key: Path(path) for key, path in _split(media, "--file").items()},
    )
    for line in lines:
        click.echo(line)
    folder = found.project.workspace.data
    step = "dvc repro" if found.is_versioned else f"mm check {shlex.quote(str(folder))}"
    click.echo(f"next: {step}; until then `mm quarantine` lists what it found before")


def _choose(findings: pd.DataFrame, column: str, wanted: str | None) -> pd.DataFrame:
    """Keep the findings that have a value, or all of them where none is wanted.

    Raises:
        click.BadParameter: No finding has it.
    """
    if wanted is None:
        return findings
    there = sorted(findings[column].dropna().unique())
    if wanted not in there:
        raise click.BadParameter(
            f"no row has {wanted!r}; there are {', '.join(there) or 'none'}",
            param_hint=f"--{column}",
        )
    return findings[findings[column] == wanted]


def _split(pairs: tuple[str, ...], option: str) -> dict[str, str]:
    """Split ``NAME=VALUE`` at the first equals sign.

    Raises:
        click.BadParameter: There is none.
    """
    for pair in pairs:
        if "=" not in pair:
            raise click.BadParameter(f"must be NAME=VALUE, got {pair!r}", param_hint=option)
    return dict(pair.split("=", 1) for pair in pairs)
