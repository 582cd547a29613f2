"""Commands about batches in the drop folder: comparing one, and taking one into the data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mm_assets.drift.report import DriftReport

EXAMPLES = """\b
incoming/2026-07/samples.csv   # a table with the columns of data/samples.csv; labels may be left out
incoming/2026-07/photo/...     # its media
mm drift 2026-07               # how it compares with what the model was trained on
mm ingest 2026-07              # puts its rows and media into data/
"""


@click.command(epilog=EXAMPLES)
@click.argument("batch")
@click.option(
    "--open/--no-open",
    "show",
    default=None,
    help="Open the page in the browser; by default when a person is at the terminal.",
)
def drift(batch: str, show: bool | None) -> None:
    """Compare an incoming BATCH with the rows that the current model was trained on.

    BATCH is a folder in incoming/ (`drift.folder` of params.yaml). Its rows are validated as the
    pipeline would, embedded by the same encoders, and compared: vectors by a kernel two-sample test,
    labels, columns and what the model answers by how shares have moved. Nothing is changed; report
    and page go to .mm/drift/BATCH/.
    """
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.drift.comparison import compare_batch
    from mm_assets.drift.report import PAGE_FILE

    root = Path.cwd()
    report = compare_batch(root, batch)
    _show(report)
    click.echo(f"compared with {report.explain_reference()}")
    page = Workspace(root).drift / batch / PAGE_FILE
    click.echo(f"page: {page}")
    if show if show is not None else sys.stdout.isatty():
        click.launch(page.as_uri())


def _show(report: DriftReport) -> None:
    """Print what was compared, and the verdict."""
    click.echo(f"{'':<28} {'moved by':>9} {'p':>8}")
    for one in report.compared:
        moved, p_value = (
            "-" if value is None else f"{value:.2g}" for value in (one.statistic, one.adjusted)
        )
        unseen = f"never seen before: {', '.join(one.unseen[:3])}" if one.unseen else ""
        said = "; ".join(part for part in (one.note, unseen) if part)
        click.echo(f"{one.title:<28} {moved:>9} {p_value:>8}", nl=False)
        click.secho("  drift" if one.drifted else "", fg="red", nl=False)
        click.echo(f"  {said}" if said else "")
    click.secho(report.explain(), bold=True)
    for refusal in report.refusals:
        click.secho(f"not ingested by itself: {refusal}", fg="yellow")


@click.command()
@click.argument("batch")
def ingest(batch: str) -> None:
    """Put the rows and media of an incoming BATCH into data/.

    Rows that are there already, with equal content, are skipped; an id that is there with another
    content stops it before anything is changed. Bad rows are taken too: the pipeline quarantines
    them and says why. The batch itself stays where it is.
    """
    from mm_assets.contracts.config import read_config
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.drift.incoming import find_batch, mark_ingested
    from mm_assets.drift.ingestion import ingest_batch
    from mm_assets.sources.raw_data import record_data

    workspace = Workspace(Path.cwd())
    config = read_config(workspace.params)
    folder = find_batch(workspace, config, batch)
    taken = ingest_batch(folder, workspace, config)
    click.echo(taken.explain())
    mark_ingested(workspace, {batch: taken.signature}, "by hand")
    if (workspace.root / ".dvc").is_dir() and record_data(workspace.root):
        click.echo(
            "data.dvc no longer names the remote `sample`, which does not hold this version of "
            "data/: `dvc push` needs a remote of your own (`dvc remote add --default NAME URL`)"
        )
    click.echo("now run `dvc repro` or `make run`")
