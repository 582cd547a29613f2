"""Putting a recipe in place: `params.yaml`, the data it describes, and the data's version."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from mm_assets.contracts.config import read_config
from mm_assets.contracts.errors import SourceError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import atomic_file, atomic_folder, write_text
from mm_assets.data.progress import announce
from mm_assets.sources.cmu_mosi import read_cmu_mosi
from mm_assets.sources.sample import generate_sample

SAMPLE_REMOTE = "sample"  # in .dvc/config: a folder of the repository


def list_recipes(root: Path) -> dict[str, str]:
    """List the recipes of a project by name, each with its first line, which says what it is."""
    return {
        path.stem: path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        for path in sorted((root / "recipes").glob("*.yaml"))
    }


def use_recipe(root: Path, name: str, *, data: Path | None = None, force: bool = False) -> None:
    """Fill `data/`, write `params.yaml` from a recipe, and record the data's version with DVC.

    The recipes `sample` and `cmu_mosi` know how their data is read; for any other the folder is
    taken as it is: a sample table and its media.

    Args:
        root: The project's root.
        name: A file of `recipes/`, without its ending.
        data: The folder to fill `data/` from. `sample` needs none; with any other recipe but
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
    if name == "sample" or data is not None:
        if not force:
            _require_saved(workspace)
        with atomic_folder(workspace.data) as folder:
            _fill(name, data, folder)
    _keep_params(workspace.params, recipe.parent)
    write_text(workspace.params, recipe.read_text(encoding="utf-8"))
    _run_dvc(root, "add", "data")
    bind_remote(root)


def bind_remote(root: Path) -> None:
    """Make `data.dvc` name the sample's remote if that holds this version of the data, else none.

    So a clone pulls the sample from the repository itself, and a push of other data goes to the
    user's own remote.
    """
    path = root / "data.dvc"
    yaml = YAML()
    pointer = yaml.load(path.read_text(encoding="utf-8"))
    (out,) = pointer["outs"]
    stored = root / ".dvc" / SAMPLE_REMOTE / "files" / "md5" / out["md5"][:2] / out["md5"][2:]
    if stored.is_file() == (out.get("remote") == SAMPLE_REMOTE):
        return
    if stored.is_file():
        out["remote"] = SAMPLE_REMOTE
    else:
        out.pop("remote")
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(pointer, file)


def _keep_params(params: Path, recipes: Path) -> None:
    """Keep the `params.yaml` that is about to be replaced, unless it is a recipe as it came."""
    if not params.is_file():
        return
    text = params.read_text(encoding="utf-8")
    if all(text != recipe.read_text(encoding="utf-8") for recipe in recipes.glob("*.yaml")):
        kept = params.with_suffix(".yaml.bak")
        write_text(kept, text)
        announce(f"your params.yaml is kept as {kept.name}")


def _require_source(name: str, data: Path | None, present: Path) -> None:
    """Stop before any work where it is unclear what to fill `data/` from.

    Raises:
        SourceError: A folder was given and is not needed, or is needed and not there.
    """
    if name == "sample":
        if data is not None:
            raise SourceError(f"recipe sample makes its own data; leave out --data {data}")
    elif data is None:
        if name == "cmu_mosi" or not present.is_dir():
            raise SourceError(f"recipe {name} needs a folder to read; give it with --data FOLDER")
    elif not data.is_dir():
        raise SourceError(f"--data must be a folder that exists, got {data}")


def _require_saved(workspace: Workspace) -> None:
    """Refuse to replace data that nobody could bring back.

    Raises:
        SourceError: `data/` holds something that DVC's cache does not have.
    """
    if not workspace.data.is_dir() or not any(workspace.data.iterdir()):
        return
    pointer = workspace.root / "data.dvc"
    if not pointer.is_file() or _run_dvc(workspace.root, "status", "--json", "data.dvc") != "{}":
        raise SourceError(
            f"{workspace.data} holds files that DVC has no copy of, and they would be replaced; "
            "keep them with `dvc add data`, move them away, or give --force to lose them"
        )


def _fill(name: str, data: Path | None, folder: Path) -> None:
    """Fill an empty data folder from the recipe's source."""
    if data is None:
        generate_sample(folder)
    elif name == "cmu_mosi":
        read_cmu_mosi(data, folder)
    else:
        shutil.copytree(data, folder, dirs_exist_ok=True)


def _run_dvc(root: Path, *arguments: str) -> str:
    """Run `dvc` as a person would, and give what it printed.

    Raises:
        SourceError: It failed; says what it said.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SourceError(f"`dvc {' '.join(arguments)}` failed in {root}: {done.stderr.strip()}")
    return done.stdout.strip()
