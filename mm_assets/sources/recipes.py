"""Putting data in place: a recipe with what it describes, or a folder of one's own."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mm_assets.contracts.config import read_config
from mm_assets.contracts.errors import SourceError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import atomic_file, find_free_name, write_text
from mm_assets.data.progress import announce
from mm_assets.sources.cmu_mosi import read_cmu_mosi
from mm_assets.sources.crane import generate_crane
from mm_assets.sources.ecg import generate_ecg
from mm_assets.sources.raw_data import copy_folder, record_data, replace_data
from mm_assets.sources.sample import generate_sample

# Recipes whose data is made up, and what writes it into a folder.
GENERATED: dict[str, Callable[[Path], None]] = {
    "crane": generate_crane,
    "ecg": generate_ecg,
    "sample": generate_sample,
    "sample_zh": partial(generate_sample, language="zh"),
}


def list_recipes(root: Path) -> dict[str, str]:
    """List the recipes of a project by name, each with its first line, which says what it is."""
    return {
        path.stem: path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        for path in sorted((root / "recipes").glob("*.yaml"))
    }


def use_recipe(root: Path, name: str, *, data: Path | None = None, force: bool = False) -> None:
    """Fill `data/`, write `params.yaml` from a recipe, and record the data's version with DVC.

    The recipes of `GENERATED` and `cmu_mosi` know how their data is made or read; for any
    other the folder is taken as it is: a sample table and its media.

    Args:
        root: The project's root.
        name: A file of `recipes/`, without its ending.
        data: The folder to fill `data/` from. Generated data needs none; with any other recipe but
            `cmu_mosi` it may be left out to go on with what `data/` holds.
        force: Replace `data/` even where DVC has no copy of it.

    Raises:
        SourceError: No such recipe or folder, `data/` holds what would be lost, or DVC failed.
        ConfigError: The recipe is not a valid `params.yaml`.
    """
    recipes = list_recipes(root)
    if name not in recipes:
        raise SourceError(
            f"no recipe {name!r} in {root / 'recipes'}; there are {', '.join(recipes) or 'none'}"
        )
    recipe = root / "recipes" / f"{name}.yaml"
    read_config(recipe)
    workspace = Workspace(root)
    _require_source(name, data, workspace.data)
    if name in GENERATED or data is not None:
        replace_data(workspace, lambda folder: _fill(name, data, folder), force=force)
    replace_params(root, recipe.read_text(encoding="utf-8"))
    record_data(root)


def import_folder(root: Path, folder: Path, *, force: bool = False) -> None:
    """Copy a folder into `data/`, and record the data's version with DVC.

    Args:
        root: The project's root; its `params.yaml` names a table of the folder.
        folder: A sample table and its media.
        force: Replace `data/` even where DVC has no copy of it.

    Raises:
        SourceError: No such folder, it has no such table, it is `data/` itself or holds the
            project, `data/` holds what would be lost, or DVC failed.
        ConfigError: `params.yaml` is absent or wrong.
        DiskError: The disk has too little room.
    """
    workspace = Workspace(root)
    table = read_config(workspace.params).data.table
    if not folder.is_dir():
        raise SourceError(f"FOLDER must be a folder that exists, got {folder}")
    if not (folder / table).is_file():
        raise SourceError(
            f"`data.table` in params.yaml is {table}, and {folder} has no such file; run `mm init "
            f"{shlex.quote(str(folder))}` first, or set `data.table`"
        )
    inside = folder.resolve()
    if inside.is_relative_to(workspace.data.resolve()):
        raise SourceError(f"{folder} lies in data/ already; record its version with `dvc add data`")
    if workspace.data.resolve().is_relative_to(inside):
        raise SourceError(
            f"{folder} holds this project, which cannot be copied into its own data/; move the "
            "table and its media into a folder of their own"
        )
    replace_data(workspace, lambda target: copy_folder(folder, target), force=force)
    record_data(root)


def replace_params(root: Path, text: str) -> None:
    """Write `params.yaml`; one that is neither this nor a recipe as it came is kept beside it.

    It is kept as `params.yaml.bak`, or with a number where there is one already.
    """
    params = Workspace(root).params
    if params.is_file():
        recipes = (root / "recipes").glob("*.yaml")
        known = {text, *(recipe.read_text(encoding="utf-8") for recipe in recipes)}
        before = params.read_bytes()
        if before not in {one.encode() for one in known}:
            kept = find_free_name(params.with_suffix(".yaml.bak"))
            with atomic_file(kept) as temporary:
                temporary.write_bytes(before)
            announce(f"your params.yaml is kept as {kept.name}")
    write_text(params, text)


def _require_source(name: str, data: Path | None, present: Path) -> None:
    """Stop before any work where it is unclear what to fill `data/` from.

    Raises:
        SourceError: A folder was given and is not needed, or is needed and not there.
    """
    if name in GENERATED:
        if data is not None:
            raise SourceError(f"recipe {name} makes its own data; leave out --data {data}")
    elif data is None:
        if name == "cmu_mosi" or not present.is_dir():
            raise SourceError(f"recipe {name} needs a folder to read; give it with --data FOLDER")
    elif not data.is_dir():
        raise SourceError(f"--data must be a folder that exists, got {data}")


def _fill(name: str, data: Path | None, folder: Path) -> None:
    """Fill an empty data folder from the recipe's source."""
    if data is None:
        GENERATED[name](folder)
    elif name == "cmu_mosi":
        read_cmu_mosi(data, folder)
    else:
        copy_folder(data, folder)
