"""`mm`: all its commands. It prints an error's message alone and exits with 1."""

from __future__ import annotations

import sys

import click

from mm_assets.cli.data import use
from mm_assets.cli.model import predict, weights
from mm_assets.cli.pipeline import stage, summary
from mm_assets.contracts.errors import MMAssetsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mm-assets")
def mm() -> None:
    """Multimodal models as a pipeline: raw data to validated, fused, proven and exported."""


for command in (use, stage, summary, predict, weights):
    mm.add_command(command)


def main() -> None:
    """Run `mm`, turning an error raised on purpose into its message and exit code 1."""
    try:
        mm()
    except MMAssetsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
