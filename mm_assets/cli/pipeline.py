"""Commands about the pipeline: one stage, and what the last run came to."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("name")
@click.argument("modality", required=False)
def stage(name: str, modality: str | None) -> None:
    """Run one stage of dvc.yaml, as `dvc repro` and Dagster do.

    NAME is validate, augment, embed, train, evaluate, export or card; embed takes a MODALITY of
    params.yaml. DVC's locks and skipping are not involved: use `dvc repro` for everyday work.
    """
    from mm_assets.stages.run import run_stage

    run_stage(Path.cwd(), name, modality)


@click.command()
def summary() -> None:
    """Print what the last run came to: rows, accuracy beside its baselines, parity, the card."""
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.stages.summary import write_summary

    click.echo(write_summary(Workspace(Path.cwd())))
