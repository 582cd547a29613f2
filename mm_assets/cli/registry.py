"""Commands about which model is in use: promoting, rolling back, looking at the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from mm_assets.contracts.errors import RegistryError

if TYPE_CHECKING:
    from mm_assets.registry.record import Model


@click.command()
@click.option(
    "--force",
    metavar="REASON",
    help="Make it champion whatever the gates say; the reason is recorded.",
)
@click.option(
    "--id", "id_only", is_flag=True, help="Print the model's id alone; a refusal exits with 0."
)
def promote(force: str | None, id_only: bool) -> None:
    """Make the model in artifacts/ the champion, if every gate holds.

    It is registered in registry/, asked the test rows that neither it nor the champion was trained
    on, and compared: not worse, not worse in its worst subset of modalities, calibrated, equal to the
    trained model, fast enough (`promotion` in params.yaml). A refused one is kept, and exits with 1.
    """
    from mm_assets.registry.promotion import promote as promote_candidate

    outcome = promote_candidate(Path.cwd(), force=force)
    if id_only:
        click.echo(outcome.name)
        return
    _show_verdict(outcome.model)
    if outcome.what in ("refused", "taken back"):
        _refuse(outcome.explain())
    click.echo(outcome.explain())
    if outcome.what in ("promoted", "forced"):
        click.echo("commit registry/ with git and `dvc push`, and others have it too")


@click.command()
@click.argument("name", metavar="[ID]", required=False)
@click.option("--reason", default="", help="For the history.")
def rollback(name: str | None, reason: str) -> None:
    """Put the previous champion, or the earlier one with this ID, back in its place.

    The one it replaces is not promoted again by itself.
    """
    from mm_assets.registry.promotion import roll_back

    click.echo(roll_back(Path.cwd(), name, reason=reason).explain())


@click.group()
def registry() -> None:
    """The registry of models (registry/): the champion, candidates, and what happened when."""


@registry.command("ls")
def list_models() -> None:
    """List the models, the oldest first, and the history; * marks the champion."""
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.registry.record import read_registry

    found = read_registry(Workspace(Path.cwd()).registry)
    if not found.models:
        click.echo("no model yet; `mm promote` registers what the pipeline made")
    for name, model in sorted(found.models.items(), key=lambda item: item[1].made):
        mark = "*" if name == found.champion else " "
        click.echo(f"{mark} {name}  {model.state:<10}  made {model.made}  data {model.data or '-'}")
    for event in found.history:
        place = f" instead of {event.instead_of}" if event.instead_of else ""
        reason = f": {event.reason}" if event.reason else ""
        click.echo(f"{event.at}  {event.what:<11}  {event.model}{place}{reason}")


@registry.command()
@click.argument("name", metavar="[ID]", required=False)
def show(name: str | None) -> None:
    """Show all about the champion, or the model with this ID: metrics, and what its gates said."""
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.registry.folders import model_folder
    from mm_assets.registry.record import read_registry

    workspace = Workspace(Path.cwd())
    found = read_registry(workspace.registry)
    if (name := name or found.champion) is None:
        _refuse("there is no champion yet; make one with `mm promote`, or give an ID")
    model = found.find(name)
    facts = {
        "state": model.state,
        "made": model.made,
        "data": model.data or "not tracked by DVC",
        "params": model.params[:12],
        "model": model.digest[:12],
        "files": model_folder(workspace, name).relative_to(workspace.root).as_posix(),
    }
    click.secho(name, bold=True)
    for key, value in (facts | model.metrics).items():
        click.echo(f"  {key}: {value}")
    _show_verdict(model)


@registry.command()
def publish() -> None:
    """Make registry/champion anew, which serving reads; after a clone, say."""
    from mm_assets.registry.promotion import publish_champion

    click.echo(f"registry/champion is {publish_champion(Path.cwd())}")


def _refuse(text: str) -> NoReturn:
    """End the command with an error.

    Raises:
        RegistryError: Always.
    """
    raise RegistryError(text)


def _show_verdict(model: Model) -> None:
    """Print each gate with its claims, and on how many rows."""
    verdict = model.verdict
    if verdict is None:
        return
    against = f"against {verdict.champion}" if verdict.champion else "without a champion"
    left = "".join(f"; {count} {reason}, left out" for reason, count in verdict.left_out.items())
    click.echo(f"judged {against} on {verdict.rows} test rows{left}")
    for gate in verdict.gates:
        click.secho(f"  {'holds ' if gate.passed else 'FAILS '} {gate.name}", bold=True)
        for claim in gate.claims:
            click.echo(f"    {'' if claim.passed else '! '}{claim.explain()}")
