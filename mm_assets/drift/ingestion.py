"""Taking a batch into `data/`: its rows below the table's, its media in a folder of its own."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import pandas as pd

from mm_assets.contracts.errors import SourceError
from mm_assets.data.disk import name_disk_errors, require_space
from mm_assets.data.lock import hold_lock
from mm_assets.data.progress import show_progress
from mm_assets.data.table import read_table
from mm_assets.drift.appending import append_rows, is_equal
from mm_assets.drift.incoming import sign_batch
from mm_assets.modalities.base import load_modality
from mm_assets.validation.rows import read_ids
from mm_assets.validation.table import name_columns

if TYPE_CHECKING:
    from mm_assets.contracts.config import Config
    from mm_assets.contracts.workspace import Workspace

FOLDER = "batches"  # in data/: below it each batch has a folder of its own
SHOWN_IDS = 10


@dataclass(frozen=True)
class Ingested:
    """What became of a batch's rows.

    Attributes:
        batch: Its name.
        signature: The state of it that was taken, as `sign_batch` gives it.
        rows: That were appended.
        skipped: That were there already, with equal content.
        files: That were copied.
    """

    batch: str
    signature: str
    rows: int
    skipped: int
    files: int

    def explain(self) -> str:
        """Say it in a line."""
        skipped = f", {self.skipped} were there already" if self.skipped else ""
        return f"{self.batch}: {self.rows} rows and {self.files} files are in data/ now{skipped}"


@dataclass(frozen=True)
class Plan:
    """What ingesting a batch will do.

    Attributes:
        rows: Of its table, counted from 0, that `data/` does not have.
        skipped: How many it has, with equal content.
        clashing: Ids that it has, with another content.
        paths: By row and column, what a cell says that names a medium of the batch.
        files: By their path in `data/`, the media.
    """

    rows: tuple[int, ...]
    skipped: int
    clashing: tuple[str, ...]
    paths: dict[int, dict[str, str]]
    files: dict[str, Path]


def ingest_batch(
    batch: Path, workspace: Workspace, config: Config, *, compared: str | None = None
) -> Ingested:
    """Append a batch's rows to the sample table, and copy its media.

    All rows are taken, bad ones too: stage `validate` quarantines those with their reasons, and
    nothing is lost. Files are copied beside `data/` first, then moved in, and the table is replaced
    last, in one step: whoever reads it, and whenever this is killed, sees either no row of the batch
    or all of them with their media. Doing it again completes what was begun, and else changes nothing.

    Args:
        batch: Its folder, as `find_batch` gives it; it stays as it is.
        workspace: Whose `data/` takes it, such as that of a run's worktree.
        config: Its `params.yaml`.
        compared: The only state that may be taken, where the batch was compared before.

    Returns:
        What was taken.

    Raises:
        SourceError: A table cannot be read, has other columns, or has an id that `data/` has with
            another content; or the batch changed meanwhile, or since it was compared. `data/` is as
            it was.
        DiskError: The disk has too little room, or must not be written to.
        StageError: Another batch is being ingested.
    """
    with hold_lock(workspace.lock("ingest"), what="mm ingest"), _stage(workspace) as staged:
        before = sign_batch(batch)
        if compared not in (None, before):
            raise SourceError(
                f"batch {batch.name!r} must be in the state in which it was compared, and has changed "
                f"since; compare it again: `mm drift {batch.name}`; nothing was changed"
            )
        plan = plan_ingestion(batch, workspace, config)
        if plan.clashing:
            shown = ", ".join(plan.clashing[:SHOWN_IDS])
            more = len(plan.clashing) - SHOWN_IDS
            raise SourceError(
                f"batch {batch.name!r} needs ids that data/ does not have, or has with equal "
                f"content, but {len(plan.clashing)} stand there with another: {shown}"
                + (f" and {more} more" if more > 0 else "")
                + "; give those rows other ids, or mend data/; nothing was changed"
            )
        if plan.rows:
            _carry_out(plan, batch, workspace, config, staged, before)
        else:
            _require_still(batch, before)
        return Ingested(batch.name, before, len(plan.rows), plan.skipped, len(plan.files))


def _carry_out(
    plan: Plan, batch: Path, workspace: Workspace, config: Config, staged: Path, signature: str
) -> None:
    """Copy, move in, and replace the table.

    Raises:
        SourceError: The batch changed meanwhile.
    """
    data = workspace.data.resolve()
    table = data / config.data.table
    files = [*plan.files.values(), table, batch / config.data.table]
    size = sum(file.stat().st_size for file in files)
    require_space(staged, size, what=f"ingesting batch {batch.name} ({len(plan.files)} files)")
    with name_disk_errors(data):
        for place, source in show_progress(
            plan.files.items(), title=f"copy {batch.name}", total=len(plan.files), unit="file"
        ):
            copy = staged / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
        new = staged / f"table{table.suffix}"
        append_rows(
            table,
            batch / config.data.table,
            new,
            rows=plan.rows,
            paths=plan.paths,
            encoding=config.data.encoding,
            delimiter=config.data.delimiter,
            sheet=config.data.sheet,
        )
        _require_still(batch, signature)
        _move_in(staged / FOLDER, data / FOLDER, batch.name)
        new.replace(table)


def _require_still(batch: Path, signature: str) -> None:
    """Require that a batch is as it was before it was read.

    Raises:
        SourceError: It is not.
    """
    if sign_batch(batch) != signature:
        raise SourceError(
            f"batch {batch.name!r} changed while it was copied; wait until it is complete and run "
            "again; nothing was changed"
        )


def _move_in(staged: Path, folder: Path, name: str) -> None:
    """Move a batch's media in: in one step, unless there are some of it already."""
    if not (staged / name).is_dir():
        return
    folder.mkdir(exist_ok=True)
    if not (folder / name).exists():
        (staged / name).replace(folder / name)
        return
    for file in sorted(path for path in (staged / name).rglob("*") if path.is_file()):
        place = folder / file.relative_to(staged)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)


@contextlib.contextmanager
def _stage(workspace: Workspace) -> Iterator[Path]:
    """Give an empty folder in which files wait to be moved in: on the disk that `data/` is on.

    What a killed process left there is removed.
    """
    data = workspace.data.resolve()
    alike = workspace.root.stat().st_dev == data.stat().st_dev
    staged = workspace.root / ".mm" / "ingesting" if alike else data.parent / ".mm-ingesting"
    shutil.rmtree(staged, ignore_errors=True)
    with name_disk_errors(staged):
        staged.mkdir(parents=True)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def read_batch(batch: Path, config: Config) -> pd.DataFrame:
    """Read a batch's table; a column that it may lack, such as a target's, is null then.

    Raises:
        SourceError: As `_read_given`.
    """
    raw = _read_given(batch, config)
    absent = sorted(_list_optional(config) - set(raw.columns))
    return raw.assign(**{name: pd.Series(None, index=raw.index, dtype="str") for name in absent})


def _read_given(batch: Path, config: Config) -> pd.DataFrame:
    """Read a batch's table as it stands.

    Raises:
        SourceError: It cannot be read, has no row, or lacks a column that `params.yaml` names.
    """
    raw = read_table(
        batch / config.data.table,
        encoding=config.data.encoding,
        delimiter=config.data.delimiter,
        sheet=config.data.sheet,
    )
    if raw.empty:
        raise SourceError(f"batch {batch.name!r} has no row in {config.data.table}; fill it")
    needed = set(name_columns(config).values()) - _list_optional(config)
    if lacking := sorted(needed - set(raw.columns)):
        raise SourceError(
            f"batch {batch.name!r} needs the columns of data/{config.data.table}, and lacks "
            f"{', '.join(lacking)}; it has {', '.join(map(str, raw.columns))}; only targets may be "
            "left out"
        )
    return raw


def _list_optional(config: Config) -> set[str]:
    """List the columns that a batch may lack: what is to be predicted, and what is only looked at."""
    return {target.column for target in config.targets.values()} | set(config.evaluation.slices)


def plan_ingestion(batch: Path, workspace: Workspace, config: Config) -> Plan:
    """Find out what ingesting a batch would do; nothing is written.

    Raises:
        SourceError: A table cannot be read, or has other columns.
    """
    known = read_table(
        workspace.data / config.data.table,
        encoding=config.data.encoding,
        delimiter=config.data.delimiter,
        sheet=config.data.sheet,
    )
    raw = _read_given(batch, config)
    if strange := sorted(set(map(str, raw.columns)) - set(map(str, known.columns))):
        raise SourceError(
            f"batch {batch.name!r} has columns that data/{config.data.table} has not: "
            f"{', '.join(strange)}; take them out, or put them into data/ first"
        )
    paths, sources = _find_media(batch, raw, config)
    renamed = raw.copy()
    for row, cells in paths.items():
        for name, cell in cells.items():
            renamed.loc[row, name] = cell
    return _compare(known, raw, renamed, paths, sources, workspace, config)


def _find_media(
    batch: Path, raw: pd.DataFrame, config: Config
) -> tuple[dict[int, dict[str, str]], dict[int, dict[str, Path]]]:
    """Say what each cell that names a medium will say in `data/`, and which file it means.

    A path that leaves the batch stays as it is, so that it leaves `data/` too and is quarantined for
    what it is; one that leads to nothing is rewritten, lest it meet another file there.
    """
    columns = {
        str(modality.column)
        for key, modality in config.modalities.items()
        if modality.columns is None
        and load_modality(
            modality.kind, modality.options, modality.augment, where=f"modalities.{key}"
        ).is_file
    }
    inside = os.path.realpath(batch)
    paths: dict[int, dict[str, str]] = {}
    sources: dict[int, dict[str, Path]] = {}
    for name in sorted(columns):
        for row, cell in enumerate(raw[name].tolist()):
            # A signal may be given as a list in the cell itself.
            if not isinstance(cell, str) or not cell.strip() or cell.lstrip().startswith("["):
                continue
            tidy = os.path.normpath(cell)
            leaves = PureWindowsPath(cell).anchor or PurePath(tidy).parts[:1] == (os.pardir,)
            if leaves or "\0" in cell:
                continue
            paths.setdefault(row, {})[name] = f"{FOLDER}/{batch.name}/{tidy}"
            real = os.path.realpath(f"{inside}/{cell}")
            if real.startswith(inside + os.sep) and Path(real).is_file():
                sources.setdefault(row, {})[name] = Path(real)
    return paths, sources


def _compare(
    known: pd.DataFrame,
    raw: pd.DataFrame,
    renamed: pd.DataFrame,
    paths: dict[int, dict[str, str]],
    sources: dict[int, dict[str, Path]],
    workspace: Workspace,
    config: Config,
) -> Plan:
    """Sort rows into new ones, such as are there already, and such as contradict what is there."""
    ids, present = read_ids(renamed, config), read_ids(known, config)
    there = present[present.isin(ids.dropna()) | present.isna()]
    by_id: dict[Any, list[int]] = {}
    for place, name in there.items():
        by_id.setdefault(None if pd.isna(name) else name, []).append(int(str(place)))
    targets = {target.column for target in config.targets.values()}
    rows, clashing, skipped = [], [], 0
    for row, name in enumerate(ids.tolist()):
        nameless = pd.isna(name)
        candidates = by_id.get(None if nameless else name, [])
        alike = any(
            _is_same(known, place, raw, renamed, row, sources.get(row, {}), targets, workspace.data)
            for place in candidates
        )
        if alike:
            skipped += 1
        elif candidates and not nameless:
            clashing.append(str(name))
        else:
            rows.append(row)
    files = {
        paths[row][name]: source for row in rows for name, source in sources.get(row, {}).items()
    }
    clashing += _find_overwritten(files, known, workspace.data)
    return Plan(
        tuple(rows),
        skipped,
        tuple(dict.fromkeys(clashing)),
        {row: paths[row] for row in rows if row in paths},
        files,
    )


def _is_same(
    known: pd.DataFrame,
    place: int,
    raw: pd.DataFrame,
    renamed: pd.DataFrame,
    row: int,
    sources: dict[str, Path],
    targets: set[str],
    data: Path,
) -> bool:
    """Compare a row of the batch with one of the table: media by their bytes, all else as it stands.

    A target that the batch leaves empty contradicts nothing.
    """
    for name in raw.columns:
        old = known[name].iat[place]
        if name in sources:
            same = isinstance(old, str) and _holds(data / old, sources[name])
        else:
            same = is_equal(old, renamed[name].iat[row])
        if not same and not (name in targets and is_equal(raw[name].iat[row], None)):
            return False
    return True


def _holds(place: Path, source: Path) -> bool:
    """Tell whether a file is there and has the bytes of another."""
    return place.is_file() and filecmp.cmp(place, source, shallow=False)


def _find_overwritten(files: dict[str, Path], known: pd.DataFrame, data: Path) -> Sequence[str]:
    """Name media of rows that are in the table and would be replaced by others of the same name."""
    changed = [
        place
        for place, source in files.items()
        if (data / place).is_file() and not _holds(data / place, source)
    ]
    if not changed:
        return ()
    used = {
        cell for name in known.columns for cell in known[name].tolist() if isinstance(cell, str)
    }
    return [f"file {place}" for place in changed if place in used]
