"""What DVC has recorded of each stage, and whether that is up to date: one project, kept open."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mm_assets.contracts.errors import StageError
from orchestration.dvc_declared import (
    Declared,
    DvcHash,
    DvcOut,
    DvcRepo,
    DvcStage,
    lies_in,
    overlap,
    relative,
    relative_path,
)
from orchestration.dvc_stages import (
    REPORTS,
    Stage,
    is_params,
    list_stages,
    name_target,
    open_repo,
)
from orchestration.rwlock import heal_rwlock


@dataclass(frozen=True)
class Record:
    """What DVC knows of a stage's last success.

    Attributes:
        up_to_date: Whether `dvc repro` would have nothing to do for this stage alone; none where
            that was not asked.
        version: Digest of its outs' recorded hashes; none before the first success.
        report: The recorded report, in DVC's cache where it is kept there: the workspace may
            already hold that of a later, failed run.
        size: Bytes and number of files of its outs, as recorded.
        evidence: Where each file that DVC declares as metrics or plot is kept, likewise.
        pages: Of each HTML file among its outs, the address under which `orchestration.pages`
            serves what was recorded.
        superseded: Whether DVC has recorded another version of something it read, since.
    """

    up_to_date: bool | None
    version: str | None
    report: Path | None
    size: dict[str, int]
    evidence: Mapping[PurePosixPath, Path] = field(default_factory=dict)
    pages: Mapping[PurePosixPath, str] = field(default_factory=dict)
    superseded: bool = False


class DvcProject:
    """DVC's view of one project, parsed once for as long as the files that define it stay equal.

    Parsing takes most of the time that a skipped stage costs. Not for use by several threads.

    Args:
        root: The folder that holds `dvc.yaml`.
        environment: Variables that its stages' commands see beside this process's own.
    """

    def __init__(self, root: Path, environment: Mapping[str, str] | None = None) -> None:
        self.root, self.environment = root, dict(environment or {})
        self._repo: DvcRepo = None
        self._signature: dict[Path, tuple[int, int, int]] = {}

    def read_stages(self) -> list[Stage]:
        """Do as the function `read_stages` does; records of the same state need no more parsing."""
        with self._lock() as repo:
            return list_stages(repo, self.root)

    def read_records(self, *targets: str, judge: bool = True) -> dict[str, Record]:
        """Ask DVC what it has recorded, and whether that is up to date now.

        Args:
            targets: `Stage.target` of those to look at; none for all of them.
            judge: Whether to ask the latter, for which DVC looks at every file they name.

        Raises:
            StageError: There is no such stage any more.
            dvc.lock.LockError: A running stage of another process has an input or out locked.
        """
        with self._lock() as repo:
            declared = Declared.read(repo, self.root)
            found = {name_target(stage, self.root): stage for stage in repo.index.stages}
            if gone := sorted(set(targets) - found.keys()):
                raise StageError(
                    f"the pipeline no longer has {', '.join(gone)}: dvc.yaml or params.yaml has "
                    "changed since Dagster read it; press *Reload definitions* and start again"
                )
            now = {out.fs_path: out.hash_info for stage in repo.index.stages for out in stage.outs}
            return {
                key: _record(found[key], self.root, declared, now, judge=judge)
                for key in targets or found
            }

    @contextmanager
    def _lock(self) -> Iterator[DvcRepo]:
        """Open DVC's `Repo`, waiting for its repository lock."""
        if self._repo is None:
            self._repo = open_repo(self.root)
        repo = self._repo
        heal_rwlock(Path(repo.tmp_dir), hardlink=repo.config["core"].get("hardlink_lock", False))
        with repo.lock:
            if not self._signature or self._signature != self._sign():
                started_ns = time.time_ns()
                repo._reset()  # as DVC's own commands do with every lock they take
                signature = self._sign()
                # A file written while it was parsed may be known only by half: parse again.
                whole = all(modified_ns < started_ns for _, _, modified_ns in signature.values())
                self._signature = signature if whole else {}
            yield repo

    def _sign(self) -> dict[Path, tuple[int, int, int]]:
        """Tell the state of the files that stages, their parameters and records are read from."""
        stages = self._repo.index.stages
        one_of = {Path(stage.path): stage for stage in stages}  # a file is parsed at each look
        files = set(one_of)
        files |= {file.with_name(name) for file in files for name in ("dvc.lock", "params.yaml")}
        files |= {Path(dep.fs_path) for stage in stages for dep in stage.deps if is_params(dep)}
        files |= {file for stage in one_of.values() for file in _find_vars(stage)}
        stats = {file: file.stat() for file in files if file.exists()}
        return {file: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in stats.items()}


def _record(
    stage: DvcStage,
    root: Path,
    declared: Declared,
    now: Mapping[str, DvcHash],
    *,
    judge: bool,
) -> Record:
    hashes = {out.def_path: out.hash_info.value for out in stage.outs}
    if not hashes:  # all that can differ is what it was run on
        hashes = {dep.def_path: dep.hash_info.value for dep in stage.deps}
    wanted = [
        *declared.metrics_of(stage, root),
        *(one.path for plot in declared.plots_of(stage, root) for one in plot.series),
    ]
    return Record(
        up_to_date=not stage.status() if judge else None,
        version=_digest(hashes),
        report=next((_recorded_file(out) for out in stage.outs if _is_report(out)), None),
        size={
            "bytes": sum(out.meta.size or 0 for out in stage.outs),
            "files": sum(out.meta.nfiles or 1 for out in stage.outs),
        },
        evidence={
            path: file for out in stage.outs for path, file in _find_recorded(out, wanted, root)
        },
        pages={path: address for out in stage.outs for path, address in _find_pages(out, root)},
        superseded=not stage.frozen
        and any(_differ(dep.hash_info, now.get(dep.fs_path)) for dep in stage.deps),
    )


def _differ(one: DvcHash, other: DvcHash | None) -> bool:
    """Whether both are known, comparable, and not equal."""
    return bool(one and other and one.name == other.name and one.value != other.value)


def _find_recorded(
    out: DvcOut,
    wanted: list[PurePosixPath],
    root: Path,
) -> Iterator[tuple[PurePosixPath, Path]]:
    """Find the recorded files of one out that are, or lie in, a wanted path."""
    at = relative(out, root)
    if not out.hash_info or not any(overlap(at, path) for path in wanted):
        return
    if not out.is_dir_checksum:
        yield at, _recorded_file(out)
        return
    if not out.use_cache:
        files = [file for file in sorted((root / at).rglob("*")) if file.is_file()]
        found = [(relative_path(file, root), file) for file in files]
    else:
        tree = out.get_obj() or ()  # none where the cache has lost it
        found = [
            (at.joinpath(*key), Path(out.cache.oid_to_path(entry.value)))
            for key, (_, entry) in ((key, (meta, entry)) for key, meta, entry in tree)
        ]
    for path, file in found:
        if lies_in(path, wanted) and file.exists():
            yield path, file


def _find_pages(out: DvcOut, root: Path) -> Iterator[tuple[PurePosixPath, str]]:
    """Find the HTML files that are an out or lie at the top of one, which DVC has in its cache."""
    at = relative(out, root)
    if not out.hash_info or not out.use_cache or not out.stage.cmd:
        return
    if not out.is_dir_checksum:
        if at.suffix == ".html":
            yield at, f"{out.hash_info.value}/{at.name}"
        return
    for file in sorted((root / at).glob("*.html")):
        yield at / file.name, f"{out.hash_info.value}/{file.name}"


def _digest(hashes: Mapping[str, object]) -> str | None:
    """Take one out's hash as it is, and digest those of several; there may be none to go by."""
    values = list(hashes.values())
    if not values or not all(values):
        return None
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    text = json.dumps(hashes, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_report(out: DvcOut) -> bool:
    root = Path(out.repo.root_dir)
    return relative(out, root).is_relative_to(REPORTS) and bool(out.hash_info)


def _recorded_file(out: DvcOut) -> Path:
    cached = Path(out.cache.oid_to_path(out.hash_info.value))
    return cached if cached.exists() else Path(out.fs_path)


def _find_vars(stage: DvcStage) -> Iterator[Path]:
    """Find the files that templates of a stage's `dvc.yaml` are filled from, beside `params.yaml`."""
    contents = getattr(stage.dvcfile, "contents", None) or {}  # a .dvc file has none
    blocks = [contents, *(contents.get("stages") or {}).values()]
    for block in blocks:
        for entry in block.get("vars") or []:
            if isinstance(entry, str):  # a file, with keys after a colon
                yield Path(stage.path).parent / entry.partition(":")[0]
