"""Commands about the pipeline: one stage, and what the last run came to."""

from __future__ import annotations

from pathlib import Path

import click

from mm_assets.cli.check import print_failure


@click.command()
@click.argument("name")
@click.argument("modality", required=False)
def stage(name: str, modality: str | None) -> None:
    """Run one stage of dvc.yaml, as `dvc repro` and Dagster do.

    NAME is validate, augment, embed, train, evaluate, export or card; embed takes a MODALITY of
    params.yaml. DVC's locks and skipping are not involved: use `dvc repro` for everyday work.
    """
    from mm_assets.stages.run import run_stage

    report = run_stage(Path.cwd(), name, modality)
    for suite in report.suites:
        for result in suite.failed:  # one of severity error has stopped the stage
            print_failure(result)


@click.command()
def summary() -> None:
    """Print what the last run came to: rows, accuracy beside its baselines, parity, the card."""
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.stages.summary import write_summary

    click.echo(write_summary(Workspace(Path.cwd())))


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("params.yaml"))
def upgrade(file: Path) -> None:
    """Rewrite FILE (by default params.yaml), made for an older release, to today's schema.

    Comments, order and values stay; the old file is kept beside it, with .bak (.bak2, ...) added to its name.
    """
    from mm_assets.contracts.config import read_text
    from mm_assets.contracts.migrations import upgrade_params
    from mm_assets.data.atomic import find_free_name, write_text

    old = read_text(file)
    new, changes = upgrade_params(old, name=file.name)
    if not changes:
        click.echo(f"{file} is of the current version already; nothing to do")
        return
    kept = find_free_name(file.with_name(f"{file.name}.bak"))
    write_text(kept, old)
    write_text(file, new)
    click.echo("\n  ".join([f"{file} upgraded (the old file is kept as {kept.name}):", *changes]))
