"""The drop folder: which batches lie there, and what is remembered of them.

A batch is a folder `incoming/BATCH/` that holds a table of the name of `data.table`, and its media.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from mm_assets.contracts.config import (
    Config,
    DriftConfig,
    Section,
    explain_validation,
)
from mm_assets.contracts.errors import SourceError, StageError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import write_json, write_text
from mm_assets.drift.report import DriftReport, read_drift_report

MEMORY_FILE = "ingested.json"
SIGNATURE_FILE = "compared"  # the state in which a batch was compared, beside its report
LEFT_OUT_FILE = "left_out"  # why a retraining could not take it, until it is compared again
# Names become folders, parts of paths in a table, and parts of a tag that commas separate.
LEGAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Ingestion(Section):
    """That a batch has been taken into the data: in which state, and by which run."""

    signature: str
    run: str


class Memory(Section):
    """`.mm/drift/ingested.json`."""

    schema_version: int = 1
    ingested: dict[str, Ingestion] = Field(default_factory=dict)


def drop_folder(workspace: Workspace, config: DriftConfig) -> Path:
    """Say where batches arrive: `drift.folder` of `params.yaml`, from the project's root."""
    return workspace.root / config.folder


def list_batches(folder: Path) -> dict[str, str]:
    """List the batches of a drop folder with their states, unread.

    Args:
        folder: Of `drop_folder`; it may be absent.

    Returns:
        Signature by name, sorted; hidden folders and such of illegal names are passed over.
    """
    if not folder.is_dir():
        return {}
    names = sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and is_legal(entry.name)
    )
    return {name: sign_batch(folder / name) for name in names}


def is_legal(name: str) -> bool:
    """Tell whether a batch may be so called."""
    return LEGAL_NAME.fullmatch(name) is not None


def find_batch(workspace: Workspace, config: Config, name: str) -> Path:
    """Give a batch's folder.

    Raises:
        SourceError: There is none of that name, or it must not be called so.
    """
    folder = drop_folder(workspace, config.drift)
    if not is_legal(name):
        raise SourceError(
            f"a batch's name must be letters, digits, '.', '_' and '-', got {name!r}; rename its "
            f"folder in {folder}"
        )
    if not (folder / name).is_dir():
        present = ", ".join(list_batches(folder)) or "none"
        raise SourceError(
            f"there is no batch {name!r} in {folder}, which has {present}; put a folder there that "
            f"holds {config.data.table} and its media"
        )
    return folder / name


def sign_batch(folder: Path) -> str:
    """Tell a folder's state from the path, size and time of every file in it, unread."""
    found = []
    for at, _, names in os.walk(folder):
        for name in names:
            path = f"{at}/{name}"
            try:
                stat = os.lstat(path)
            except FileNotFoundError:  # gone this moment: the folder is changing
                continue
            found.append(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}")
    # Without the folder's own place: a batch that is moved is the same.
    start = len(str(folder))
    lines = sorted(line[start:] for line in found)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def write_compared(folder: Path, signature: str) -> None:
    """Remember in which state a batch was compared.

    Args:
        folder: `.mm/drift/BATCH`.
        signature: Of `sign_batch`.
    """
    write_text(folder / SIGNATURE_FILE, signature)


def read_compared(workspace: Workspace, name: str) -> str | None:
    """Give the state in which a batch was compared; null where it never was."""
    file = workspace.drift / name / SIGNATURE_FILE
    return file.read_text(encoding="utf-8") if file.is_file() else None


def mark_left_out(workspace: Workspace, name: str, reason: str) -> None:
    """Remember that a batch could not be taken; comparing it again forgets that.

    Args:
        workspace: The project whose drop folder it lies in.
        name: Of the batch; of one that was never compared nothing is remembered.
        reason: Why.
    """
    if is_legal(name) and (workspace.drift / name).is_dir():
        write_text(workspace.drift / name / LEFT_OUT_FILE, reason)


def read_left_out(workspace: Workspace, name: str) -> str | None:
    """Say why a batch, as it was compared last, could not be taken; null where nobody tried."""
    file = workspace.drift / name / LEFT_OUT_FILE
    return file.read_text(encoding="utf-8") if file.is_file() else None


def mark_ingested(workspace: Workspace, taken: Mapping[str, str], run_id: str) -> None:
    """Remember that batches have been taken into the data.

    A batch that has changed since then counts as a new one; what was ingested of it is skipped.

    Args:
        workspace: The project whose drop folder they lie in, not a worktree of a run.
        taken: By name, the state that was taken: `Ingested.signature`.
        run_id: Of the run that took them; a person at a shell is ``by hand``.

    Raises:
        StageError: The memory is damaged.
    """
    new = {name: Ingestion(signature=state, run=run_id) for name, state in taken.items()}
    after = Memory(ingested=read_memory(workspace).ingested | new)
    write_json(workspace.drift / MEMORY_FILE, after.model_dump(mode="json"))


def read_memory(workspace: Workspace) -> Memory:
    """Read which batches have been ingested.

    Raises:
        StageError: The file is damaged or of another release.
    """
    file = workspace.drift / MEMORY_FILE
    if not file.is_file():
        return Memory()
    try:
        return Memory.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        problems = explain_validation(error, name=str(file), model=Memory)
        raise StageError(
            f"{problems}\nmend it or delete it: batches are then asked for again, and their rows "
            "that are in data/ already are skipped"
        ) from None


def find_waiting(
    workspace: Workspace, batches: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, DriftReport]]:
    """Sort batches that have not been ingested by whether they were compared.

    Args:
        workspace: The project.
        batches: Of `list_batches`.

    Returns:
        Signatures of those that are still to be compared, and the reports of those that have been,
        as they are now.
    """
    done = read_memory(workspace).ingested
    waiting = {
        name: signature
        for name, signature in batches.items()
        if name not in done or done[name].signature != signature
    }
    compared = {
        name: read_drift_report(workspace.drift / name)
        for name, signature in waiting.items()
        if read_compared(workspace, name) == signature
    }
    return {name: waiting[name] for name in waiting if name not in compared}, compared
