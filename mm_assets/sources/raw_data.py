"""Filling `data/` without losing what is there, and recording its version with DVC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ruamel.yaml import YAML

from mm_assets.contracts.errors import SourceError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import atomic_file, atomic_folder
from mm_assets.data.disk import require_space
from mm_assets.data.progress import show_progress

SAMPLE_REMOTE = "sample"  # in .dvc/config: a folder of the repository
# What version control and desktops leave in folders.
LEFT_OUT = {".git", ".dvc", ".DS_Store", "__MACOSX", "Thumbs.db", "desktop.ini"}


def replace_data(workspace: Workspace, fill: Callable[[Path], None], *, force: bool) -> None:
    """Fill a new folder and put it in the place of `data/`, which stays as it is until then.

    Args:
        workspace: The project.
        fill: Fills the empty folder that it is given.
        force: Replace `data/` even where DVC has no copy of it.

    Raises:
        SourceError: `data/` holds what would be lost.
    """
    if not force:
        _require_saved(workspace)
    with atomic_folder(workspace.data) as folder:
        fill(folder)


def record_data(root: Path) -> bool:
    """Record the version of `data/` with `dvc add`.

    Returns:
        Whether `data.dvc` named the sample's remote and no longer does; see `bind_remote`.

    Raises:
        SourceError: DVC failed.
    """
    _run_dvc(root, "add", "data")
    return bind_remote(root)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder's files, with progress; links are followed, and what no data is is left out.

    Args:
        source: The folder to copy.
        target: An empty folder.

    Raises:
        SourceError: A file cannot be read, or a link leads back to a folder above it.
        DiskError: The disk has too little room; nothing was copied.
    """
    files = list(_list_files(source))
    try:
        size_bytes = sum(path.stat().st_size for path in files)
        require_space(target, size_bytes, what=f"copying {len(files)} files of {source}")
        for path in show_progress(files, title="copy", total=len(files), unit="file"):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
    except (FileNotFoundError, PermissionError, shutil.SpecialFileError) as error:
        raise SourceError(
            f"a file of {source} cannot be copied ({error}); mend or remove it, and try again"
        ) from None


def bind_remote(root: Path) -> bool:
    """Make `data.dvc` name the sample's remote if that holds this version of the data, else none.

    So a clone pulls the sample from the repository itself, and a push of other data goes to the
    user's own remote.

    Returns:
        Whether the name was taken out.
    """
    path = root / "data.dvc"
    yaml = YAML()
    pointer = yaml.load(path.read_text(encoding="utf-8"))
    (out,) = pointer["outs"]
    stored = root / ".dvc" / SAMPLE_REMOTE / "files" / "md5" / out["md5"][:2] / out["md5"][2:]
    if stored.is_file() == (out.get("remote") == SAMPLE_REMOTE):
        return False
    if stored.is_file():
        out["remote"] = SAMPLE_REMOTE
    else:
        out.pop("remote")
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(pointer, file)
    return not stored.is_file()


def _list_files(source: Path) -> Iterator[Path]:
    """Yield files below a folder, linked folders too.

    Raises:
        SourceError: A link leads back to a folder above it.
    """
    for folder, below, files in os.walk(source, followlinks=True):
        below[:] = sorted(set(below) - LEFT_OUT)
        here = Path(folder)
        for name in below:
            if (here / name).is_symlink() and here.resolve().is_relative_to(
                (here / name).resolve()
            ):
                raise SourceError(
                    f"{here / name} is a link to a folder that holds it, and would be copied for "
                    "ever; remove the link"
                )
        yield from (here / name for name in sorted(set(files) - LEFT_OUT))


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
