"""`mm`: all its commands.

It prints an error's message alone and exits with 1; stopped with Ctrl-C it says so and exits with
130, as a shell expects.
"""

from __future__ import annotations

import sys

import click

from mm_assets.cli.check import check
from mm_assets.cli.data import import_, init, use
from mm_assets.cli.drift import drift, ingest
from mm_assets.cli.encoders import encoders
from mm_assets.cli.gc import gc
from mm_assets.cli.model import predict, weights
from mm_assets.cli.pipeline import stage, summary, upgrade
from mm_assets.cli.process import tune_process
from mm_assets.cli.quarantine import quarantine
from mm_assets.cli.registry import promote, registry, rollback
from mm_assets.cli.search import search
from mm_assets.cli.store import store
from mm_assets.contracts.errors import MMAssetsError


class Stoppable(click.Group):
    """A group whose commands, stopped by hand, end with one line."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo(
                f"\nstopped: `mm {ctx.invoked_subcommand}` left nothing half-written", err=True
            )
            ctx.exit(130)


@click.group(cls=Stoppable, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mm-assets")
def mm() -> None:
    """Multimodal models as a pipeline: raw data to validated, fused, proven and exported."""


for command in (
    init,
    import_,
    use,
    check,
    quarantine,
    upgrade,
    stage,
    summary,
    search,
    drift,
    ingest,
    predict,
    promote,
    rollback,
    registry,
    encoders,
    weights,
    store,
    gc,
):
    mm.add_command(command)


def main() -> None:
    """Run `mm`, turning an error raised on purpose into its message and exit code 1."""
    tune_process()
    try:
        mm()
    except MMAssetsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
