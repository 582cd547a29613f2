"""`mm gc`: disk space back, without a champion, its data or its roll-back in danger."""

from __future__ import annotations

from pathlib import Path

import click

from mm_assets.cli.store import UNUSED_DAYS

CHAMPIONS, CANDIDATES = 3, 5


@click.command()
@click.option(
    "--champions",
    type=click.IntRange(min=1),
    default=CHAMPIONS,
    show_default=True,
    help="Earlier champions to keep, for roll-backs.",
)
@click.option(
    "--candidates",
    type=click.IntRange(min=0),
    default=CANDIDATES,
    show_default=True,
    help="Refused candidates to keep, the latest.",
)
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    default=UNUSED_DAYS,
    show_default=True,
    metavar="DAYS",
    help="Of vectors, unfinished training runs and runs' printed output: since when nobody needs them.",
)
@click.option(
    "--project",
    "others",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another project that has the same DVC cache; may be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted, and how much it is.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
def gc(
    *,
    champions: int,
    candidates: int,
    days: float,
    others: tuple[Path, ...],
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete what nobody needs any more: models, DVC's cache, vectors, leftovers.

    What always stays: the champion, what `mm rollback` puts back, and the data that each model of
    the registry was trained on; what your files name now, in every git worktree, and the head of
    every branch, the tags and the experiments; and a model that you rolled back, lest it be
    promoted again.

    What goes: refused candidates and earlier champions beyond the numbers below. Of DVC's cache
    what none of those names, older versions of data and outs: `dvc pull` brings back what you have
    pushed to a remote, and a git tag keeps a version from going. Vectors that no artifacts here
    use, unfinished training runs, and the printed output of runs.

    Retraining and others may go on meanwhile.
    """
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.data.disk import format_bytes
    from mm_assets.data.store_upkeep import choose_unused, list_holdings, remove_holding
    from mm_assets.registry import upkeep
    from mm_assets.registry.folders import is_under_dvc

    root = Path.cwd()
    workspace, trees = Workspace(root), upkeep.list_trees(root)
    registry = upkeep.read_all(root)
    models = upkeep.choose_models(registry, champions=champions, candidates=candidates)
    kept = {name: model for name, model in registry.models.items() if name not in models}
    versions = upkeep.list_versions(registry.model_copy(update={"models": kept}))
    unused = choose_unused(list_holdings(workspace, *trees[1:]), days=days)
    leftovers = [
        *upkeep.list_unfinished(trees, days=days),
        *upkeep.list_run_logs(upkeep.dagster_home(root), days=days),
    ]
    found = [*upkeep.list_model_waste(root, models), *leftovers]
    found += [upkeep.Waste(f"vectors of {one.name}", (one.path,)) for one in unused]
    if is_under_dvc(workspace):
        upkeep.require_own_cache(workspace, others)
        found.append(upkeep.list_cache_waste(trees, versions, others))
    found = [one for one in found if one.paths]
    sizes = [one.size_bytes for one in found]
    for one, size in zip(found, sizes, strict=True):
        click.echo(f"{format_bytes(size):>10}  {one.about}")
    if dry_run or not found:
        click.echo(f"would free {format_bytes(sum(sizes))}")
        return
    if not yes:
        click.confirm(f"delete them, {format_bytes(sum(sizes))}?", abort=True)
    notes = upkeep.prune_models(root, registry, models)
    for one in leftovers:
        upkeep.remove(one)
    for holding in unused:
        remove_holding(holding)
    if is_under_dvc(workspace):  # what stayed after all, and trees that came meanwhile, count too
        versions = upkeep.list_versions(upkeep.read_all(root))
        freed = upkeep.collect_cache(upkeep.list_trees(root), versions, others)
    else:
        freed = 0
    freed += sum(
        size - one.size_bytes
        for one, size in zip(found, sizes, strict=True)
        if one.about != upkeep.CACHE
    )
    click.echo("\n".join([f"freed {format_bytes(freed)}", *notes]))
