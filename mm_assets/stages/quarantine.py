"""After `validate`: looking at quarantined rows, mending them, taking them back."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mm_assets.contracts.config import read_config
from mm_assets.contracts.errors import ConfigError, SourceError, StageError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import atomic_file
from mm_assets.data.cells import write_values
from mm_assets.data.disk import name_disk_errors
from mm_assets.data.editing import edit_table
from mm_assets.data.table import ID, as_text
from mm_assets.sources.raw_data import record_data
from mm_assets.stages.project import Project, build_project
from mm_assets.stages.validate import judge_rows
from mm_assets.validation.advice import advise
from mm_assets.validation.previews import is_missing
from mm_assets.validation.rows import read_ids
from mm_assets.validation.table import name_columns

# Reasons that a row has because of other rows in quarantine.
OF_CONTENT = ("label_contradicted", "content_duplicated")


@dataclass(frozen=True)
class Quarantine:
    """What `validate` (or `mm check`) set aside.

    Attributes:
        project: Its workspace says where the data lies.
        findings: As in `validated/quarantine.parquet`.
        is_versioned: Whether the data is `data/`, which DVC versions, and no folder elsewhere.
    """

    project: Project
    findings: pd.DataFrame
    is_versioned: bool


@dataclass(frozen=True)
class RowView:
    """Everything about one quarantined row.

    Attributes:
        row: Counted from 1, without the header.
        id: Null where it has none.
        cells: By column of the raw table, as text.
        files: By modality, the file that its cell names; only those that lie in the data folder.
        findings: Modality (or null), reason, detail and what to do.
    """

    row: int
    id: str | None
    cells: Mapping[str, str]
    files: Mapping[str, Path]
    findings: Sequence[tuple[str | None, str, str, str]]


def read_quarantine(root: Path) -> Quarantine:
    """Read the quarantine of the last `validate` or, if that is newer, of the last `mm check`.

    Args:
        root: The project's root.

    Raises:
        ConfigError: `params.yaml` is wrong.
        StageError: Neither has run.
    """
    own = Workspace(root)
    checked = Workspace(root, artifacts_folder=own.check)
    files = [at.validated / "quarantine.parquet" for at in (own, checked)]
    present = [file for file in files if file.is_file()]
    if not present:
        raise StageError("nothing has been validated yet; run `mm check`, which takes seconds")
    newest = max(present, key=lambda file: file.stat().st_mtime_ns)
    workspace = own
    if newest == files[1]:
        source = json.loads((own.check / "source.json").read_text(encoding="utf-8"))["data"]
        workspace = Workspace(root, data_folder=Path(source), artifacts_folder=own.check)
    return Quarantine(
        project=build_project(read_config(own.params), workspace),
        findings=pd.read_parquet(newest),
        is_versioned=workspace.data.resolve() == own.data.resolve(),
    )


def find_rows(quarantine: Quarantine, names: Sequence[str]) -> list[int]:
    """Find quarantined rows by their id or, where no id is so named, by their number.

    Returns:
        Row numbers from 1, each once.

    Raises:
        SourceError: A name is of no quarantined row, or of several.
    """
    findings, found = quarantine.findings, []
    for name in names:
        rows = findings.loc[findings[ID] == name, "row"].unique().tolist()
        if not rows and name.isdecimal():
            rows = findings.loc[findings["row"] == int(name), "row"].unique().tolist()
        if len(rows) > 1:
            raise SourceError(
                f"{len(rows)} quarantined rows have the id {name!r}: rows "
                f"{', '.join(map(str, rows))}; name one by its number"
            )
        if not rows:
            raise SourceError(
                f"no row {name!r} is in quarantine; `mm quarantine ls` lists those that are, by row "
                "number and id"
            )
        found += [row for row in rows if row not in found]
    return found


def look_at_row(quarantine: Quarantine, row: int) -> RowView:
    """Gather everything about one quarantined row.

    Raises:
        StageError: The table changed since it was looked at.
    """
    project, folder = quarantine.project, quarantine.project.workspace.data
    raw = project.read_raw()
    _require_same_rows(quarantine, raw, [row])
    cells = raw.loc[row - 1]
    found = quarantine.findings[quarantine.findings["row"] == row].to_dict("records")
    named = {
        key: cells[str(project.config.modalities[key].column)]
        for key, modality in project.modalities.items()
        if modality.is_file
    }
    return RowView(
        row=row,
        id=None if is_missing(found[0][ID]) else found[0][ID],
        cells={str(name): write_values(value) for name, value in cells.items()},
        files={key: folder / cell for key, cell in named.items() if _names_place(cell, folder)},
        findings=[
            (
                None if is_missing(one["modality"]) else one["modality"],
                one["reason"],
                one["detail"],
                advise(one["reason"]),
            )
            for one in found
        ],
    )


def restore_rows(
    quarantine: Quarantine,
    rows: Sequence[int],
    *,
    changes: Mapping[str, str | None],
    files: Mapping[str, Path],
) -> list[str]:
    """Take rows back, after mending them: all of them, or nothing is changed.

    Args:
        quarantine: Of `read_quarantine`.
        rows: Row numbers from 1, that are in quarantine.
        changes: By column of the raw table, what the cell of each row is to hold; null clears it.
        files: By modality, a file that takes the place of the one that its cell names (for one row
            only). Where the cell names none inside the data folder, the file is copied into it
            under its own name, and the cell names it.

    Returns:
        One line for a person per row, and one if `data.dvc` lost the sample's remote by this.

    Raises:
        ConfigError: `files` names no modality of files.
        SourceError: A row is still bad, or would make another one bad; or the table or a file
            cannot be written.
        StageError: The table changed since it was looked at.
    """
    project = quarantine.project
    config, folder = project.config, project.workspace.data
    raw = project.read_raw()
    _require_same_rows(quarantine, raw, rows)
    _require_files(project, rows, files)
    edits: dict[int, dict[str, str | None]] = {row - 1: dict(changes) for row in rows}
    placed: dict[Path, Path] = {}
    for key, source in files.items():
        place, column = rows[0] - 1, str(config.modalities[key].column)
        cell = edits[place].get(column, raw.at[place, column])
        name = _choose_name(cell, source, folder)
        placed[folder / name] = source
        if cell != name:
            edits[place][column] = name
        _require_own_file(quarantine, raw, place, column, name)

    table = folder / config.data.table
    with contextlib.ExitStack() as stack:
        if any(edits.values()):
            copy = stack.enter_context(atomic_file(table))
            reading = config.data.model_dump(include={"encoding", "delimiter", "sheet"})
            raw = edit_table(table, copy, edits, **reading)
        for target, source in placed.items():
            stack.enter_context(_replace_file(target, source))
        lines = _judge(quarantine, raw, rows)
    if quarantine.is_versioned and record_data(project.workspace.root):
        lines.append(
            "data.dvc no longer names the remote `sample`, which does not hold this version of "
            "data/: `dvc push` needs a remote of your own (`dvc remote add --default NAME URL`)"
        )
    return lines


def _judge(quarantine: Quarantine, raw: pd.DataFrame, rows: Sequence[int]) -> list[str]:
    """Apply every rule to rows as they are now, beside all other rows that they may repeat.

    Raises:
        SourceError: A row is still bad, or would make another one bad.
    """
    project, before = quarantine.project, quarantine.findings
    places, ids = [row - 1 for row in rows], read_ids(raw, project.config)
    named, probes, findings = judge_rows(project, raw.loc[places], ids)
    _require_none(findings, rows)
    contents = {key: set(probe["content"]) for key, probe in probes.items()}
    beside = set(places) | _find_related(quarantine, raw, named, contents)
    _, _, findings = judge_rows(project, raw.loc[sorted(beside)], ids)
    contradicted = set(before.loc[before["reason"] == "label_contradicted", "row"])
    # Of rows that contradicted each other and now agree, one is kept and the others repeat it.
    agree = findings["row"].isin(contradicted) & (findings["reason"] == "content_duplicated")
    set_aside = set(before["row"]) - set(rows)
    _require_none(findings[~agree & ~findings["row"].isin(set_aside)], rows)
    repeats = findings[agree].set_index("row")["detail"].to_dict()
    names = dict(zip(rows, named.loc[places, ID].astype("str"), strict=True))
    return [
        f"row {row} ({names[row]}) is mended; it {repeats[row]}, of which one stays"
        if row in repeats
        else f"row {row} ({names[row]}) is taken back"
        for row in rows
    ]


def _find_related(
    quarantine: Quarantine,
    raw: pd.DataFrame,
    named: pd.DataFrame,
    contents: Mapping[str, set[str]],
) -> set[int]:
    """Find the places of rows that share an id, a group or a content with the given ones."""
    config, workspace = quarantine.project.config, quarantine.project.workspace
    probes = pd.read_parquet(
        workspace.validated / "probes.parquet", columns=[ID, "modality", "content"]
    )
    ids = set(named[ID])
    for key, known in contents.items():
        same = (probes["modality"] == key) & probes["content"].isin(known)
        ids |= set(probes.loc[same, ID])
    related = read_ids(raw, config).isin(ids)
    if config.data.group and config.data.split:
        related |= as_text(raw[config.data.group]).isin(set(named["group"]))
    before = quarantine.findings
    of_content = before.loc[before["reason"].isin(OF_CONTENT), "row"] - 1
    return set(raw.index[related]) | set(of_content)


def _require_none(findings: pd.DataFrame, rows: Sequence[int]) -> None:
    """Refuse rows that are still found.

    Raises:
        SourceError: Names them, with what to do.
    """
    if findings.empty:
        return
    lines = []
    for one in findings.to_dict("records"):
        who = f"row {one['row']} ({one[ID]})"
        still = "is still bad" if one["row"] in rows else "would be bad then"
        where = "" if is_missing(one["modality"]) else f" {one['modality']}:"
        lines.append(
            f"{who} {still}:{where} {one['reason']}: {one['detail']}; {advise(one['reason'])}"
        )
    raise SourceError("\n  ".join([*lines, "nothing was changed"]))


def _require_same_rows(quarantine: Quarantine, raw: pd.DataFrame, rows: Sequence[int]) -> None:
    """Require that a row number still means the row that was looked at.

    Raises:
        StageError: It does not, or a column is not there any more.
    """
    config = quarantine.project.config
    for key, column in name_columns(config).items():
        if column not in raw:
            raise StageError(
                f"{config.data.table} has no column {column!r}, which `{key}` in params.yaml names: "
                "one of the two has changed since; run `mm check`"
            )
    ids = read_ids(raw, config)
    known = quarantine.findings.drop_duplicates("row").set_index("row")[ID]
    for row in rows:
        now: str | None = ids.get(row - 1)
        if row > len(raw) or (not is_missing(known[row]) and now != known[row]):
            raise StageError(
                f"row {row} was {known[row]!r} when it was looked at and is {now!r} now: the table "
                "has changed since; run `mm check` and look again"
            )


def _require_files(project: Project, rows: Sequence[int], files: Mapping[str, Path]) -> None:
    """Refuse files that nothing can be done with.

    Raises:
        ConfigError: The modality does not exist, or its cells name no files.
        SourceError: There is no such file, or there are several rows for it.
    """
    known = [key for key, modality in project.modalities.items() if modality.is_file]
    for key, source in files.items():
        if key not in known:
            raise ConfigError(
                f"--file needs a modality whose cells name files ({', '.join(known) or 'none'}), "
                f"got {key!r}; use --set COLUMN=VALUE for the others"
            )
        if not source.is_file():
            raise SourceError(f"--file {key}={source}: there is no such file")
        if len(rows) > 1:
            raise SourceError(f"--file mends one row at a time, got rows {list(rows)}")


def _require_own_file(
    quarantine: Quarantine, raw: pd.DataFrame, place: int, column: str, name: str
) -> None:
    """Refuse to replace a file that a sample uses which was kept.

    Raises:
        SourceError: One does.
    """
    users = raw.index[raw[column] == name].difference([place])
    kept = [at for at in users if at + 1 not in set(quarantine.findings["row"])]
    if kept:
        raise SourceError(
            f"row {kept[0] + 1}, which was kept, uses {name!r} too; put the new file into the data "
            f"folder under another name and give it with `--set {column}=NAME`"
        )


def _choose_name(cell: object, source: Path, folder: Path) -> str:
    """Name where in the data folder a file goes.

    Raises:
        SourceError: The cell names no place, and the file's own name is taken.
    """
    if _names_place(cell, folder):
        return str(cell)
    if (folder / source.name).exists():
        raise SourceError(
            f"the cell names no file in {folder}, and {source.name!r} is there already; rename "
            f"{source} first"
        )
    return source.name


def _names_place(cell: object, folder: Path) -> bool:
    """Tell whether a cell names a file in the data folder, be it there or not."""
    if not isinstance(cell, str) or not cell.strip():
        return False
    try:
        path = (folder / cell).resolve()
        return path.is_relative_to(folder.resolve()) and not path.is_dir()
    except (OSError, ValueError, RuntimeError):  # NUL in it, a link loop
        return False


@contextlib.contextmanager
def _replace_file(target: Path, source: Path) -> Iterator[None]:
    """Put a copy of `source` in the place of `target`; undo that if the block raises."""
    with name_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".mm-", dir=target.parent) as folder:
            before = Path(folder) / "before"
            with atomic_file(Path(folder) / "new") as copy:
                shutil.copyfile(source, copy)
            if target.exists():
                target.replace(before)
            (Path(folder) / "new").replace(target)
            try:
                yield
            except BaseException:
                target.unlink()
                if before.exists():
                    before.replace(target)
                raise
