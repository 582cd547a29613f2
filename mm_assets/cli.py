"""`mm`: the command line. It prints an error's message alone and exits with 1."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mm_assets.contracts.errors import MMAssetsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mm-assets")
def mm() -> None:
    """Multimodal models as a pipeline: raw data to validated, fused, proven and exported."""


@mm.command()
@click.argument("name")
@click.argument("modality", required=False)
def stage(name: str, modality: str | None) -> None:
    """Run one stage of dvc.yaml, as `dvc repro` and Dagster do.

    NAME is validate, augment, embed, train, evaluate, export or card; embed takes a MODALITY of
    params.yaml. DVC's locks and skipping are not involved: use `dvc repro` for everyday work.
    """
    from mm_assets.stages.run import run_stage

    run_stage(Path.cwd(), name, modality)


def main() -> None:
    """Run `mm`, turning an error raised on purpose into its message and exit code 1."""
    try:
        mm()
    except MMAssetsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
