"""Command `mm check`: is this data fit to learn from?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mm_assets.contracts.report import ExpectationResult, StageReport

SHOWN_REASONS = 10
LATER = "later, stage `augment` looks at the splits, and for columns that give the label away"


# A backspace tells click to leave the lines as they are.
EXAMPLES = """\b
mm check                       # data/, as `dvc repro` would validate it
mm check ~/Downloads/survey    # a folder, before it is put into data/
mm quarantine ls               # the rows that were set aside, and how to take them back
"""


@click.command(epilog=EXAMPLES)
@click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False
)
@click.option(
    "--open/--no-open",
    "show",
    default=None,
    help="Open the page in the browser; by default when a person is at the terminal.",
)
def check(folder: Path | None, show: bool | None) -> None:
    """Validate data alone, in seconds: which rows are good, which are not, and what to do.

    It looks at data/ or at FOLDER, which is read where it lies and left as it is, with the
    columns, kinds and expectations of params.yaml. Nothing is trained and no artifact of the
    pipeline is touched: report and page go to .mm/check/. It exits with 1 when an expectation of
    severity error fails. Splits, and columns that give the label away, are looked at later, by the
    stage `augment`.
    """
    from mm_assets.stages.run import check_data

    report, project = check_data(Path.cwd(), folder)
    _print_rows(report)
    failed = [result for suite in report.suites for result in suite.failed]
    for result in sorted(failed, key=lambda result: result.severity):
        print_failure(result)
    if not failed:
        click.secho("every expectation is met", fg="green")
    if not report.blocks:
        click.echo(LATER)
    page = project.workspace.page("validate")
    click.echo(f"page: {page}")
    if show if show is not None else sys.stdout.isatty():
        click.launch(page.as_uri())
    if report.blocks:
        sys.exit(1)


def _print_rows(report: StageReport) -> None:
    lost = report.rows_in - report.rows_out
    share = f" ({lost / report.rows_in:.1%})" if lost else ""
    reasons = report.find_table("reason")
    if lost and not reasons:
        click.echo(f"{report.rows_in} rows in, none looked at: the table itself is wrong")
        return
    click.echo(f"{report.rows_in} rows in, {report.rows_out} kept, {lost} in quarantine{share}")
    rows = reasons.rows if reasons else ()
    for reason, count, example, detail in rows[:SHOWN_REASONS]:
        click.echo(f"  {count:>6}  {reason}, such as {example or 'a row without id'}: {detail}")
    if rows[SHOWN_REASONS:]:
        click.echo(f"          and {len(rows) - SHOWN_REASONS} further reasons")
    if rows:
        click.echo("          `mm quarantine show ID` says what to do about a row")


def print_failure(result: ExpectationResult) -> None:
    """Print what was expected, what was found, some of the rows, and what to do."""
    error = result.severity == "error"
    where = f" ({result.column})" if result.column else ""
    click.secho("failed " if error else "warning ", fg="red" if error else "yellow", nl=False)
    click.echo(f"{result.expected}{where}: {result.observed}")
    if result.samples:
        click.echo(f"  rows: {', '.join(result.samples)}")
    if result.advice:
        click.echo(f"  what to do: {result.advice}")
