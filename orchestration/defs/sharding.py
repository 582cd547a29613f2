"""Embedding by shards on Ray, where one machine is not enough: an action that fills the store.

It is offered where `compute.shards` of params.yaml asks for it. The stages stay as they are: stage
`embed` finds in the store what shards have put there.
"""

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from mm_assets.contracts.config import ComputeConfig, ShardsConfig, read_section
from mm_assets.contracts.errors import ConfigError, MMAssetsError
from mm_assets.contracts.workspace import Workspace
from orchestration.components.events import make_table
from orchestration.defs.promotion import ACTIONS
from orchestration.dvc_stages import project_root, read_stages

FILLED = "filled_store"
LOG_EVERY_S = 10.0
# What workers print is in Ray's own logs; a line a shard would drown ours.
OPTIONS = {"include_dashboard": False, "log_to_driver": False}


class Chosen(dg.Config):
    """Which modalities; all of them where none is named."""

    modalities: list[str] = Field(default_factory=list)


def build_filled_store(deps: list[str]) -> dg.AssetSpec:
    """Make the asset that shows what was last filled in; job `fill_store` makes it, and no other run.

    Args:
        deps: The asset that holds the rows.
    """
    return dg.AssetSpec(
        FILLED,
        deps=deps,
        group_name=ACTIONS,
        kinds={"ray", "pytorch"},
        owners=["team:ml"],
        description="Every modality's vectors, computed by shards on Ray and kept in the embedding "
        "store, where the embed stages find them. To compute them, launch job `fill_store`.",
    )


@dg.op(name=FILLED, required_resource_keys={"ray"})
def fill(context: dg.OpExecutionContext, config: Chosen) -> None:
    """Fill the store, and show what that took.

    Raises:
        dagster.Failure: A modality is unknown, or a shard failed.
    """
    from mm_assets.stages.project import load_project

    root = project_root()
    try:
        project = load_project(root)
        asked = project.config.compute.shards or ShardsConfig()
        rows = [
            [key, *_fill(root, key, asked, context.log.info)]
            for key in config.modalities or list(project.modalities)
        ]
    except MMAssetsError as error:
        raise dg.Failure(str(error)) from None
    columns = ["modality", "shards", "computed", "stored", "seconds"]
    metadata = {
        "computed": sum(row[2] for row in rows),
        "stored": sum(row[3] for row in rows),
        "modalities": make_table(columns, rows),
    }
    context.log_event(dg.AssetMaterialization(FILLED, metadata=metadata))


@dg.job(
    description="Computes vectors by shards on Ray and keeps them in the embedding store. Shards that "
    "are there already cost little. `modalities` in the launchpad names which; else all.",
)
def fill_store() -> None:
    """Run the one op."""
    fill()


def _fill(root: Path, key: str, asked: ShardsConfig, log: Callable[[str], None]) -> list[Any]:
    """Fill the store with one modality's vectors.

    Returns:
        Shards, vectors computed and found, and seconds.
    """
    from mm_assets.data.store_remote import RemoteStore
    from mm_assets.stages.project import load_project
    from mm_assets.stages.shards import plan_shards
    from orchestration.ray_shards import fill_by_ray

    started = said = time.monotonic()
    project = load_project(root)
    remote = RemoteStore(project.workspace.store, asked.url) if asked.url else None
    shards = plan_shards(project, key, rows=asked.rows)
    if remote is not None:
        remote.push()  # a fitted state, above all
    computed = stored = 0
    filled = fill_by_ray(root, shards, threads=asked.threads, url=asked.url)
    for done, found in enumerate(filled, start=1):
        computed, stored = computed + found.computed, stored + found.stored
        # Each line is an event in Dagster's database, so not one a shard.
        if done == len(shards) or time.monotonic() - said >= LOG_EVERY_S:
            log(f"{key}: {done} of {len(shards)} shards, {computed} vectors computed")
            said = time.monotonic()
    if remote is not None:
        remote.pull()
    return [len(shards), computed, stored, round(time.monotonic() - started, 1)]


@dg.definitions
def defs() -> dg.Definitions:
    """Offer the action where `compute.shards` asks for it.

    Raises:
        ConfigError: It does, and dagster-ray is not installed.
    """
    root = project_root()
    asked = read_section(Workspace(root).params, ComputeConfig, "compute").shards
    stages = {stage.target: stage.asset for stage in read_stages(root)} if asked else {}
    if asked is None or "augment" not in stages:
        return dg.Definitions()
    if find_spec("dagster_ray") is None:
        raise ConfigError(
            "params.yaml: `compute.shards` needs Ray, which is not installed; "
            "`pip install mm-assets[ray]`, or take it out"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of each run
    # Without it Ray would look for a cluster that somebody once started on this machine, and wait for
    # it, even where it is gone.
    os.environ.setdefault("RAY_ADDRESS", "local")
    from dagster_ray import LocalRay

    return dg.Definitions(
        assets=[build_filled_store([stages["augment"]])],
        jobs=[fill_store],
        # Ray of this machine, or of the cluster that the variable RAY_ADDRESS names.
        resources={"ray": LocalRay(ray_init_options=OPTIONS)},
    )
