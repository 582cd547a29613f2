"""What `dvc.yaml` and `dvc.lock` say, read through DVC's own API."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from mm_assets.contracts.config import Section, explain_validation
from mm_assets.contracts.errors import ConfigError, StageError

REPORTS = PurePosixPath("artifacts/reports")


def project_root() -> Path:
    """Find the folder that holds `dvc.yaml`: `MM_PROJECT`, else the parent of this package."""
    return Path(os.environ.get("MM_PROJECT") or Path(__file__).parents[1]).resolve()


class DagsterMeta(Section):
    """`meta.dagster` of a stage: how its asset is called and shown. All of it may be left out.

    `live` is a CSV file that the stage writes while it runs, whose latest numbers Dagster shows.
    """

    asset: str | None = None
    group: str | None = None
    kinds: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    live: str | None = None


@dataclass(frozen=True)
class Stage:
    """One stage instance of `dvc.yaml`, or one `.dvc` file. Paths are relative to the root.

    Attributes:
        target: As `dvc repro` takes it from the root, such as ``embed@text`` or ``data.dvc``.
        asset: The name of its Dagster asset.
        is_source: Whether it is a `.dvc` file: data that has no command.
        definition: Digest of command, dependencies, parameter names and outs; not of any content.
        report: Its `StageReport`, if it writes one.
    """

    target: str
    asset: str
    description: str
    is_source: bool
    deps: tuple[PurePosixPath, ...]
    outs: tuple[PurePosixPath, ...]
    definition: str
    report: PurePosixPath | None
    meta: DagsterMeta

    def feeds(self, other: Stage) -> bool:
        """Whether an out of this stage is, lies in, or contains a dependency of `other`."""
        return any(
            out.is_relative_to(dep) or dep.is_relative_to(out)
            for out in self.outs
            for dep in other.deps
        )


@dataclass(frozen=True)
class Record:
    """What DVC knows of a stage's last success.

    Attributes:
        up_to_date: Whether `dvc repro` would have nothing to do for this stage alone.
        version: Digest of its outs' recorded hashes; none before the first success.
        report: The recorded report, in DVC's cache where it is kept there: the workspace may
            already hold that of a later, failed run.
        size: Bytes and number of files of its outs, as recorded.
    """

    up_to_date: bool
    version: str | None
    report: Path | None
    size: dict[str, int]


def read_stages(root: Path) -> list[Stage]:
    """Read every stage instance (`foreach` and `matrix` resolved) and the `.dvc` files they read.

    Other `.dvc` files, such as those of registered models, are no part of the pipeline.

    Args:
        root: The folder that holds `dvc.yaml`.

    Raises:
        ConfigError: `meta.dagster` is wrong, or two stages name the same asset.
    """
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        everything = [_describe(stage, root) for stage in repo.index.stages]
    stages = [one for one in everything if not one.is_source or any(map(one.feeds, everything))]
    owners: dict[str, str] = {}
    for stage in stages:
        if stage.asset in owners:
            raise ConfigError(
                f"dvc.yaml: stages {owners[stage.asset]!r} and {stage.target!r} both name the "
                f"Dagster asset {stage.asset!r}; set another `meta.dagster.asset` in one of them"
            )
        owners[stage.asset] = stage.target
    return stages


class DvcProject:
    """DVC's view of one project, parsed once for as long as the files that define it stay equal.

    Parsing takes most of the time that a skipped stage costs. Not for use by several threads.

    Args:
        root: The folder that holds `dvc.yaml`.
        environment: Variables that its stages' commands see beside this process's own.
    """

    def __init__(self, root: Path, environment: Mapping[str, str] | None = None) -> None:
        self.root, self.environment = root, dict(environment or {})
        self._repo: Any = None
        self._signature: dict[Path, tuple[int, int, int]] = {}

    def read_records(self, *targets: str) -> dict[str, Record]:
        """Ask DVC what it has recorded, and whether that is up to date now.

        Args:
            targets: `Stage.target` of those to look at; none for all of them.

        Raises:
            StageError: There is no such stage any more.
            dvc.lock.LockError: A running stage of another process has an input or out locked.
        """
        with self._lock() as repo:
            found = {_target(stage, self.root): stage for stage in repo.index.stages}
            if gone := sorted(set(targets) - found.keys()):
                raise StageError(
                    f"the pipeline no longer has {', '.join(gone)}: dvc.yaml or params.yaml has "
                    "changed since Dagster read it; press *Reload definitions* and start again"
                )
            return {key: _record(found[key]) for key in targets or found}

    @contextmanager
    def _lock(self) -> Iterator[Any]:
        """Open DVC's `Repo`, waiting for its repository lock."""
        from dvc.repo import Repo

        if self._repo is None:
            self._repo = Repo(str(self.root), _wait_for_lock=True)
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
        files = {Path(stage.path) for stage in self._repo.index.stages}
        files |= {file.with_name(name) for file in files for name in ("dvc.lock", "params.yaml")}
        stats = {file: file.stat() for file in files if file.exists()}
        return {file: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in stats.items()}


def heal_rwlock(folder: Path, *, hardlink: bool = False) -> None:
    """Delete an empty `rwlock` file, which a killed DVC leaves and every later one stumbles over.

    DVC truncates and writes that file under a guard; whoever holds the guard and finds it empty
    knows that its writer is dead.

    Args:
        folder: `.dvc/tmp`.
        hardlink: DVC's `core.hardlink_lock`.
    """
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    file = folder / RWLOCK_FILE
    if not _is_empty(file):
        return
    guard = make_lock(
        str(folder / RWLOCK_LOCK), tmp_dir=str(folder), hardlink_lock=hardlink, wait=True
    )
    with guard:
        if _is_empty(file):
            file.unlink()


def _is_empty(file: Path) -> bool:
    return file.exists() and file.stat().st_size == 0


def _describe(stage: Any, root: Path) -> Stage:  # noqa: ANN401 - DVC is untyped
    from dvc.dependency import ParamsDependency

    target = _target(stage, root)
    deps, params = [], []
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency):
            params += [f"{_relative(dep, root)}:{name}" for name in dep.params]
        else:
            deps.append(_relative(dep, root))
    outs = tuple(_relative(out, root) for out in stage.outs)
    is_source = not stage.cmd
    meta = _read_meta(stage, target, is_source=is_source)
    report = next((out for out in outs if out.is_relative_to(REPORTS)), None)
    if meta.checks and report is None:
        raise ConfigError(
            f"dvc.yaml: stage {target!r} has `meta.dagster.checks` but no out under {REPORTS}/ to "
            "read their results from; add one or take the checks out"
        )
    command = stage.cmd if isinstance(stage.cmd, str) else "\n".join(stage.cmd or [])
    definition = [command, sorted(map(str, deps)), sorted(params), sorted(map(str, outs))]
    return Stage(
        target=target,
        asset=meta.asset or ("raw_" if is_source else "") + _identifier(target),
        description=stage.desc or (f"Data that `{target}` versions." if is_source else command),
        is_source=is_source,
        deps=tuple(deps),
        outs=outs,
        definition=hashlib.sha256(json.dumps(definition).encode()).hexdigest()[:12],
        report=report,
        meta=meta,
    )


def _read_meta(stage: Any, target: str, *, is_source: bool) -> DagsterMeta:  # noqa: ANN401
    raw = (stage.meta or {}).get("dagster", {})
    defaults = {"group": "data", "kinds": ["dvc"]} if is_source else {}
    try:
        return DagsterMeta.model_validate({**defaults, **raw}, strict=False)  # lists as tuples
    except ValidationError as error:
        where = f"stages.{target}.meta.dagster"
        message = explain_validation(error, name="dvc.yaml", model=DagsterMeta, where=where)
        raise ConfigError(message) from None


def _record(stage: Any) -> Record:  # noqa: ANN401
    hashes = {out.def_path: out.hash_info.value for out in stage.outs}
    return Record(
        up_to_date=not stage.status(),
        version=_digest(hashes),
        report=next((_recorded_file(out) for out in stage.outs if _is_report(out)), None),
        size={
            "bytes": sum(out.meta.size or 0 for out in stage.outs),
            "files": sum(out.meta.nfiles or 1 for out in stage.outs),
        },
    )


def _digest(hashes: dict[str, str | None]) -> str | None:
    """Take one out's hash as it is, and digest those of several."""
    if not all(hashes.values()):
        return None
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:32]


def _is_report(out: Any) -> bool:  # noqa: ANN401
    root = Path(out.repo.root_dir)
    return _relative(out, root).is_relative_to(REPORTS) and bool(out.hash_info)


def _recorded_file(out: Any) -> Path:  # noqa: ANN401
    cached = Path(out.cache.oid_to_path(out.hash_info.value))
    return cached if cached.exists() else Path(out.fs_path)


def _target(stage: Any, root: Path) -> str:  # noqa: ANN401
    file = PurePosixPath(Path(stage.path).relative_to(root.resolve()).as_posix())
    name: str | None = getattr(stage, "name", None)
    if name is None:
        return str(file)
    return name if str(file) == "dvc.yaml" else f"{file}:{name}"


def _relative(item: Any, root: Path) -> PurePosixPath:  # noqa: ANN401
    return PurePosixPath(Path(os.path.relpath(item.fs_path, root)).as_posix())


def _identifier(target: str) -> str:
    return re.sub(r"\W", "_", target.removesuffix(".dvc"))
