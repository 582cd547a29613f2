"""The command that looks for better parameters, and the one that takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mm_assets.search.proposal import Proposal

SHOWN = 10  # of the trials, the best ones


@click.command()
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="How many in all, those of an earlier search among them. [default: `search.trials`]",
)
@click.option("--show", is_flag=True, help="Show what the last search came to, and run nothing.")
@click.option("--apply", is_flag=True, help="Edit params.yaml as the last search proposed.")
def search(trials: int | None, show: bool, apply: bool) -> None:
    """Look for better parameters on validation rows, and propose them.

    Which keys are tried stands in `search` of params.yaml. A search that was stopped goes on where
    it was; the test rows are never read. The proposal is kept in .mm/search/, and params.yaml stays
    as it is until you take it with --apply.
    """
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.search.proposal import HISTORY_FILE, apply_proposal, read_proposal

    _require_one(show, apply, trials is not None)
    root = Path.cwd()
    if apply:
        proposal, kept = apply_proposal(root)
        click.echo("\n  ".join(["params.yaml has changed:", *proposal.list_changes()]))
        click.echo(f"as it was, it is kept as {kept.name}; now run `dvc repro` or `make run`")
        return
    if show:
        proposal = read_proposal(Workspace(root))
    else:
        from mm_assets.search.trials import search as run_search

        proposal = run_search(root, trials)
    _show(proposal)
    history = Workspace(root).search / HISTORY_FILE
    click.echo(f"every trial drawn: {history.relative_to(root).as_posix()}")


def _require_one(*given: bool) -> None:
    """Require that the options do not contradict each other.

    Raises:
        click.UsageError: They do.
    """
    if sum(given) > 1:
        raise click.UsageError("take one of --trials, --show and --apply")


def _show(proposal: Proposal) -> None:
    """Print the best trials, what counted, and the proposal."""
    scored = [trial for trial in proposal.trials if trial.loss is not None]
    best = sorted(scored, key=lambda trial: trial.loss or 0.0)[:SHOWN]
    click.echo(f"{'trial':>5}  {'loss, nats':>10}")
    click.echo(f"{'-':>5}  {proposal.current_loss:>10.4f}  params.yaml as it is")
    for trial in best:
        values = "  ".join(f"{key}={value}" for key, value in trial.values.items())
        click.echo(f"{trial.number:>5}  {trial.loss:>10.4f}  {values}")
    if proposal.importance:
        shares = ", ".join(f"{key} {share:.0%}" for key, share in proposal.importance.items())
        click.echo(f"what the loss depends on: {shares}")
    click.echo(proposal.explain())
    if proposal.changes:
        click.echo("\n  ".join(["proposed:", *proposal.list_changes()]))
        click.echo("`mm search --apply` puts that into params.yaml")
