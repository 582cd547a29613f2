"""A model's files: copied out of the pipeline, tracked by DVC, published by swapping one link."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from mm_assets.contracts.errors import RegistryError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import UNFINISHED, atomic_folder, write_text
from mm_assets.data.disk import require_space
from mm_assets.data.table import COPY, ID, SPLIT, read_augmented

if TYPE_CHECKING:
    import pandas as pd

    from mm_assets.registry.record import Registry

MODELS, CHAMPION, EVIDENCE = "models", "champion", "evidence"
ROWS_FILE = "rows.parquet"
UNPUBLISHED = f".{CHAMPION}."  # how the link is called until it takes its place


def model_folder(workspace: Workspace, name: str) -> Path:
    """Say where a model's files lie: those of the exported model, and below it `evidence/`."""
    return workspace.registry / MODELS / name


def copy_candidate(workspace: Workspace, name: str) -> Path:
    """Copy what the pipeline made into a model's folder, whole or not at all.

    Args:
        workspace: Whose `artifacts/` hold the candidate.
        name: Its id.

    Returns:
        The folder. It holds the exported model and, in `evidence/`, the card, the metrics,
        `params.yaml`, and `rows.parquet`: ids and contents of the rows that it was trained on.

    Raises:
        RegistryError: A file that the pipeline makes is not there.
        DiskError: The disk has too little room.
    """
    evidence = {
        "model_card.html": workspace.card / "model_card.html",
        "metrics.json": workspace.evaluation / "metrics.json",
        "params.yaml": workspace.params,
    }
    for path in evidence.values():
        if not path.is_file():
            raise RegistryError(
                f"a candidate needs {path.relative_to(workspace.root)}, which is not there; run "
                "the whole pipeline first: `dvc repro`"
            )
    exported = sum(path.stat().st_size for path in workspace.onnx.iterdir())
    require_space(workspace.registry, exported, what=f"registering model {name}")
    folder = model_folder(workspace, name)
    ignore_files(workspace)
    with atomic_folder(folder) as copy:
        shutil.copytree(workspace.onnx, copy, dirs_exist_ok=True)
        (copy / EVIDENCE).mkdir()
        for name_, path in evidence.items():
            shutil.copyfile(path, copy / EVIDENCE / name_)
        rows = read_augmented(workspace.augmented, splits=["train", "validation"], columns=[])
        rows = rows.loc[rows[COPY] == 0, [ID, SPLIT]]
        contents = read_contents(workspace).reindex(rows[ID]).reset_index(drop=True)
        rows.reset_index(drop=True).join(contents).to_parquet(copy / EVIDENCE / ROWS_FILE)
    return folder


def read_contents(workspace: Workspace) -> pd.DataFrame:
    """Read what `validate` took of every cell: a digest of its content.

    Returns:
        One row per id, its index; one column per modality; null where it is missing.
    """
    import pandas as pd

    probes = pd.read_parquet(
        workspace.validated / "probes.parquet", columns=[ID, "modality", "content"]
    )
    return probes.pivot(index=ID, columns="modality", values="content")


def read_rows(folder: Path) -> pd.DataFrame:
    """Read which rows a registered model was trained on: id, split, and content by modality."""
    import pandas as pd

    return pd.read_parquet(folder / EVIDENCE / ROWS_FILE)


def digest_files(folder: Path) -> dict[str, str]:
    """Take the SHA-256 of every file below a folder, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {}
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        found[path.relative_to(folder).as_posix()] = digest.hexdigest()
    return found


def digest_values(value: object) -> str:
    """Take the SHA-256 of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_data_version(workspace: Workspace) -> str | None:
    """Read the raw data's version from `data.dvc`; none where DVC does not track it."""
    path = workspace.root / "data.dvc"
    return parse_data_version(path.read_text(encoding="utf-8")) if path.is_file() else None


def parse_data_version(text: str) -> str:
    """Read a version from what a `.dvc` file holds."""
    return str(YAML(typ="safe").load(text)["outs"][0]["md5"])


def remove_unfinished(workspace: Workspace, registry: Registry) -> None:
    """Delete folders of models that were never registered, nor handed to DVC.

    Registering stopped between copying and recording; what was copied is still in `artifacts/`, or
    has been replaced there. A folder that DVC tracks is of another branch, and stays.
    """
    models = workspace.registry / MODELS
    for folder in models.glob("*/"):
        if folder.name.startswith(UNFINISHED):
            continue  # `atomic_folder` sees to those
        if folder.name not in registry.models and not pointer(folder).is_file():
            shutil.rmtree(folder)


def is_untracked(workspace: Workspace, name: str) -> bool:
    """Tell whether a model's files are here and DVC, which is to keep them, has not been told."""
    folder = model_folder(workspace, name)
    return is_under_dvc(workspace) and folder.is_dir() and not pointer(folder).is_file()


def track(workspace: Workspace, name: str) -> None:
    """Hand a model's files to DVC, unless it has them; a project without DVC keeps them here alone.

    Raises:
        RegistryError: DVC failed.
    """
    if is_untracked(workspace, name):
        run_dvc(workspace, "add", "--quiet", _relative(model_folder(workspace, name), workspace))


def restore(workspace: Workspace, name: str, files: dict[str, str]) -> Path:
    """Bring a model's files back where they are gone, from DVC's cache or else its remote.

    Args:
        workspace: The project.
        name: The model's id.
        files: SHA-256 by path, as recorded.

    Returns:
        Its folder, which holds what was recorded and nothing else.

    Raises:
        RegistryError: They cannot be had, or are not what was recorded.
    """
    folder = model_folder(workspace, name)
    held_by = pointer(folder)
    if not folder.is_dir() and held_by.is_file() and is_under_dvc(workspace):
        try:
            run_dvc(workspace, "checkout", "--quiet", _relative(held_by, workspace))
        except RegistryError:  # the cache has not all of it
            run_dvc(workspace, "pull", "--quiet", _relative(held_by, workspace))
    found = digest_files(folder) if folder.is_dir() else {}
    wrong = sorted(key for key in files.keys() | found.keys() if files.get(key) != found.get(key))
    if wrong:
        raise RegistryError(
            f"model {name} must be as it was registered, but {', '.join(wrong[:3])} in "
            f"{_relative(folder, workspace)} {'differ' if len(wrong) > 1 else 'differs'}, or is not "
            f"there; delete that folder and run `dvc pull {_relative(held_by, workspace)}`"
        )
    return folder


def ignore_files(workspace: Workspace) -> None:
    """Keep models' files out of git for good, so that no command changes an ignore file later."""
    path = workspace.registry / ".gitignore"
    if not path.exists():
        write_text(path, f"/{CHAMPION}\n/{UNPUBLISHED}*\n/{MODELS}/*/\n")


def publish(workspace: Workspace, name: str, *, source: Workspace | None = None) -> None:
    """Make `registry/champion` lead to a model, in one step that no reader can see half of.

    The registry's lock is held by the caller.

    Args:
        workspace: The project that serving reads.
        name: The model's id.
        source: The checkout that has its files; by default the project itself.

    Raises:
        RegistryError: A folder or file of one's own is in the way.
    """
    link = workspace.registry / CHAMPION
    if link.exists() and not link.is_symlink():
        raise RegistryError(
            f"{_relative(link, workspace)} must be the link to the champion, and is a "
            f"{'folder' if link.is_dir() else 'file'}; move it away and try again"
        )
    for left in workspace.registry.glob(f"{UNPUBLISHED}*"):  # by a kill
        left.unlink()
    temporary = link.with_name(f"{UNPUBLISHED}{os.getpid()}")
    leads_to = os.path.relpath(model_folder(source or workspace, name), workspace.registry)
    temporary.symlink_to(leads_to, target_is_directory=True)
    temporary.replace(link)


def published(workspace: Workspace) -> str | None:
    """Name the model that `registry/champion` leads to; null where it leads nowhere."""
    link = workspace.registry / CHAMPION
    return link.readlink().name if link.is_symlink() and link.is_dir() else None


def is_under_dvc(workspace: Workspace) -> bool:
    """Tell whether DVC keeps this project's versions."""
    return (workspace.root / ".dvc").is_dir()


def run_dvc(workspace: Workspace, *arguments: str) -> str:
    """Run `dvc` as a person would, and give what it printed.

    Raises:
        RegistryError: It failed; says what it said.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    done = subprocess.run(command, cwd=workspace.root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RegistryError(
            f"`dvc {' '.join(arguments)}` failed in {workspace.root}: {done.stderr.strip()}"
        )
    return done.stdout.strip()


def pointer(folder: Path) -> Path:
    """Say where DVC writes down which files a model's folder holds."""
    return folder.with_name(f"{folder.name}.dvc")


def _relative(path: Path, workspace: Workspace) -> str:
    return path.relative_to(workspace.root).as_posix()
