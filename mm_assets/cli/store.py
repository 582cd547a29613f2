"""Commands about the embedding store: what it holds, filling and sharing it, what nobody needs."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

UNUSED_DAYS = 30.0  # a store may be shared, and a colleague be on holiday


@click.group()
def store() -> None:
    """The embedding store (.mm/store, or MM_STORE): list, fill, share, verify, prune.

    Vectors are kept by content, rendering, encoder and state, so that each is computed once.
    Whatever is deleted here is computed anew when it is needed.
    """


@store.command("ls")
def list_store() -> None:
    """List encoders, their vectors and fitted states: MB, last use; * marks what artifacts/ uses."""
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.data.store_upkeep import list_holdings

    holdings = list_holdings(Workspace(Path.cwd()))
    width = max((len(one.name) for one in holdings), default=0)
    for one in holdings:
        mark = "*" if one.is_current else " "
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used))
        click.echo(
            f"{mark} {one.path.stem[:12]}  {one.name:<{width}}  {one.vectors:>9} vectors"
            f"  {one.size_bytes / 1e6:>9.1f} MB  used {used}"
        )
    total = sum(one.size_bytes for one in holdings) / 1e6
    click.echo(f"{total:.1f} MB in {Workspace(Path.cwd()).store}")


@store.command()
@click.argument("modality")
@click.option(
    "--shard",
    default="1/1",
    show_default=True,
    metavar="I/N",
    help="Which part of the rows, from 1 to N.",
)
@click.option("--url", help="Where the vectors go from here, and are looked for, too.")
def fill(modality: str, shard: str, url: str | None) -> None:
    """Compute vectors of a MODALITY into the store, for stage embed to find: all, or one shard.

    A shard is the unit of work of a cluster: any number of them at once, in any order, each again
    after it was killed. Needs what stage augment makes.
    """
    from mm_assets.data.store_remote import RemoteStore
    from mm_assets.stages.project import load_project
    from mm_assets.stages.shards import fill_shard, plan_shards

    place, count = _read_part(shard)
    project = load_project(Path.cwd())
    remote = RemoteStore(project.workspace.store, url) if url else None
    shards = plan_shards(project, modality, count=count)
    if place > len(shards):
        click.echo(f"{modality} has fewer rows than shards; nothing to do")
        return
    if remote is not None:
        remote.push()  # a fitted state, above all
    found = fill_shard(project, shards[place - 1], remote)
    click.echo(
        f"shard {place} of {count}: {found.computed} vectors computed, {found.stored} were there"
    )


def _read_part(text: str) -> tuple[int, int]:
    """Read `I/N`.

    Raises:
        click.BadParameter: It is none.
    """
    place, _, count = text.partition("/")
    if not (place.isdecimal() and count.isdecimal() and 1 <= int(place) <= int(count)):
        raise click.BadParameter(f"--shard needs I/N with 1 <= I <= N, such as 3/30, got {text!r}")
    return int(place), int(count)


@store.command()
@click.argument("url")
def push(url: str) -> None:
    """Copy what only this store has to one at a URL, such as s3://bucket/store."""
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.data.store_remote import RemoteStore

    click.echo(f"{RemoteStore(Workspace(Path.cwd()).store, url).push()} files copied to {url}")


@store.command()
@click.argument("url")
def pull(url: str) -> None:
    """Copy what only the store at a URL has to this one."""
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.data.store_remote import RemoteStore

    click.echo(f"{RemoteStore(Workspace(Path.cwd()).store, url).pull()} files copied from {url}")


@store.command()
@click.option(
    "--set-aside", "aside", is_flag=True, help="Rename bad shards: they are read no more."
)
def verify(aside: bool) -> None:
    """Read every shard whole: schema, checksums, lengths, finite numbers. Exits with 1 if one is bad."""
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.data.progress import show_progress
    from mm_assets.data.store_upkeep import find_fault, list_all_shards, set_aside

    shards = list_all_shards(Workspace(Path.cwd()).store)
    bad = 0
    for shard in show_progress(shards, title="verify", total=len(shards), unit="shard"):
        fault = find_fault(shard)
        if fault is None:
            continue
        bad += 1
        click.echo(f"{shard}: {fault}")
        if aside:
            set_aside(shard)
    click.echo(
        f"{len(shards)} shards, {bad} of them bad" + (", set aside" if bad and aside else "")
    )
    if bad and not aside:
        click.echo(
            "set them aside with `mm store verify --set-aside`; their vectors are computed anew"
        )
    sys.exit(bad > 0)


@store.command()
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    default=UNUSED_DAYS,
    show_default=True,
    metavar="DAYS",
    help="Delete what nobody asked for within so many days.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
def prune(days: float, dry_run: bool, yes: bool) -> None:
    """Delete vectors and states that no artifacts/ here use and nobody asked for, and merge shards.

    A store may serve several checkouts, and each use by any of them counts. Small shards of what
    stays are merged, and what killed runs left half written is deleted. Other runs may go on
    meanwhile.
    """
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.data.store_upkeep import (
        choose_unused,
        list_holdings,
        list_leftovers,
        merge_shards,
        remove_holding,
    )

    workspace = Workspace(Path.cwd())
    holdings = list_holdings(workspace)
    unused, leftovers = choose_unused(holdings, days=days), list_leftovers(workspace.store)
    for one in unused:
        idle = (time.time() - one.used) / 86400
        click.echo(
            f"{one.path}: {one.name}, {one.vectors} vectors, {one.size_bytes / 1e6:.1f} MB, unused "
            f"for {idle:.0f} days"
        )
    for path in leftovers:
        click.echo(f"{path}: left behind")
    freed = sum(one.size_bytes for one in unused) / 1e6
    if dry_run:
        click.echo(f"would delete {len(unused)} of {len(holdings)}, {freed:.1f} MB")
        return
    if unused and not yes:
        click.confirm(f"delete {len(unused)} of {len(holdings)}, {freed:.1f} MB?", abort=True)
    for one in unused:
        remove_holding(one)
    for path in leftovers:
        path.unlink(missing_ok=True)
    merged = sum(merge_shards(one.path) for one in holdings if one not in unused and one.vectors)
    click.echo(f"deleted {len(unused)} of {len(holdings)}, {freed:.1f} MB; merged {merged} shards")
