"""What `dvc.yaml` and `dvc.lock` say, read through DVC's own API."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from mm_assets.contracts.config import Section, explain_validation
from mm_assets.contracts.errors import ConfigError, StageError
from orchestration.dvc_declared import (
    Declared,
    DeclaredPlot,
    DvcHash,
    DvcOut,
    DvcRepo,
    DvcStage,
    lies_in,
    overlap,
    relative,
    relative_path,
)
from orchestration.rwlock import heal_rwlock

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
    """One stage instance of any `dvc.yaml`, or one `.dvc` file. Paths are relative to the root.

    Attributes:
        target: As `dvc repro` takes it from the root, such as ``embed@text``, ``data.dvc`` or
            ``sub/dvc.yaml:train``.
        asset: The key of its Dagster asset, its parts joined by ``/``.
        is_source: Whether it is a `.dvc` file: data that has no command.
        definition: Digest of command, dependencies, parameter names and outs; not of any content.
        report: Its `StageReport`, if it writes one.
        frozen: Whether DVC leaves it as it is, whatever happens before it.
        metrics: Metrics files that DVC declares among its outs.
        plots: Plots that DVC declares of its outs.
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
    frozen: bool = False
    metrics: tuple[PurePosixPath, ...] = ()
    plots: tuple[DeclaredPlot, ...] = ()

    @property
    def name(self) -> str:
        """The last part of its asset's key."""
        return self.asset.rpartition("/")[2]

    @property
    def folder(self) -> PurePosixPath:
        """The folder of the `dvc.yaml` or `.dvc` file that defines it."""
        file, _, _ = self.target.rpartition(":")
        return PurePosixPath(self.target if self.is_source else file).parent

    def feeds(self, other: Stage) -> bool:
        """Whether an out of this stage is, lies in, or contains a dependency of `other`."""
        return any(overlap(out, dep) for out in self.outs for dep in other.deps)


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


_remembered: ContextVar[dict[Path, list[Stage]] | None] = ContextVar("remembered", default=None)


def read_stages(root: Path) -> list[Stage]:
    """Read every stage instance (`foreach` and `matrix` resolved) and the `.dvc` files they read.

    Other `.dvc` files, such as those of registered models, are no part of the pipeline.

    Args:
        root: The project's folder, which DVC was initialised in.

    Raises:
        ConfigError: The folder is no DVC project or has no stage, `meta.dagster` is wrong, or two
            stages name the same asset.
    """
    remembered = _remembered.get()
    if remembered is not None and root in remembered:
        return remembered[root]
    with open_repo(root) as repo:
        stages = _list_stages(repo, root)
    if remembered is not None:
        remembered[root] = stages
    return stages


@contextmanager
def remember_stages() -> Iterator[None]:
    """Let `read_stages` read each project once within this block.

    Loading the definitions asks for them again and again, and parsing takes most of its time.
    """
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def _list_stages(repo: DvcRepo, root: Path) -> list[Stage]:
    declared = Declared.read(repo, root)
    everything = [_describe(stage, root, declared) for stage in repo.index.stages]
    stages = [one for one in everything if not one.is_source or any(map(one.feeds, everything))]
    if not any(not stage.is_source for stage in stages):
        raise ConfigError(
            f"{root} has no dvc.yaml with a stage in it; write one, or name the folder that has "
            "it (`attributes.project` in defs.yaml)"
        )
    stages = _part_names(stages)
    refuse_shared_assets(stages)
    return stages


def refuse_shared_assets(stages: Iterable[Stage]) -> None:
    """Refuse two stages that are one asset.

    Raises:
        ConfigError: Both are named.
    """
    owners: dict[str, str] = {}
    for stage in stages:
        if stage.asset in owners:
            raise ConfigError(
                f"dvc.yaml: stages {owners[stage.asset]!r} and {stage.target!r} both name the "
                f"Dagster asset {stage.asset!r}; set another `meta.dagster.asset` in one of them, "
                "or another `translation.key` in defs.yaml"
            )
        owners[stage.asset] = stage.target


def open_repo(root: Path) -> DvcRepo:
    """Open DVC's `Repo` at just this folder.

    Raises:
        ConfigError: There is none, or it begins further up.
    """
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        repo = Repo(str(root), _wait_for_lock=True)
    except NotDvcRepoError:
        raise ConfigError(
            f"{root} is no DVC project; run `dvc init` there, or name the folder that is one "
            "(`attributes.project` in defs.yaml)"
        ) from None
    if Path(repo.root_dir).resolve() != root.resolve():
        raise ConfigError(
            f"{root} is a folder inside the DVC project {repo.root_dir}; name that one "
            "(`attributes.project` in defs.yaml): stages of its subfolders are shown too"
        )
    return repo


def _part_names(stages: list[Stage]) -> list[Stage]:
    """Tell apart stages whose targets differ only in characters that an asset cannot have.

    Their names end with a digest of the target, which no other stage can change.
    """
    names = Counter(stage.asset for stage in stages)
    return [
        replace(stage, asset=f"{stage.asset}_{_shorten(stage.target)}")
        if names[stage.asset] > 1 and not stage.meta.asset and stage.asset != stage.target
        else stage
        for stage in stages
    ]


def _shorten(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:4]


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
            return _list_stages(repo, self.root)

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
            found = {_target(stage, self.root): stage for stage in repo.index.stages}
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
        files |= {Path(dep.fs_path) for stage in stages for dep in stage.deps if _is_params(dep)}
        files |= {file for stage in one_of.values() for file in _find_vars(stage)}
        stats = {file: file.stat() for file in files if file.exists()}
        return {file: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in stats.items()}


def _describe(stage: DvcStage, root: Path, declared: Declared) -> Stage:
    target = _target(stage, root)
    deps, params = [], []
    for dep in stage.deps:
        if _is_params(dep):
            params += [f"{relative(dep, root)}:{name}" for name in dep.params]
        else:
            deps.append(relative(dep, root))
    outs = tuple(relative(out, root) for out in stage.outs)
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
        asset=meta.asset or _name_asset(target),
        description=stage.desc or (f"Data that `{target}` versions." if is_source else command),
        is_source=is_source,
        deps=tuple(deps),
        outs=outs,
        definition=hashlib.sha256(json.dumps(definition).encode()).hexdigest()[:12],
        report=report,
        meta=meta,
        frozen=bool(stage.frozen),
        metrics=declared.metrics_of(stage, root),
        plots=declared.plots_of(stage, root),
    )


def _read_meta(stage: DvcStage, target: str, *, is_source: bool) -> DagsterMeta:
    raw = (stage.meta or {}).get("dagster", {})
    defaults = {"group": "data", "kinds": ["dvc"]} if is_source else {}
    try:
        return DagsterMeta.model_validate({**defaults, **raw}, strict=False)  # lists as tuples
    except ValidationError as error:
        where = f"stages.{target}.meta.dagster"
        message = explain_validation(error, name="dvc.yaml", model=DagsterMeta, where=where)
        raise ConfigError(message) from None


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


def _target(stage: DvcStage, root: Path) -> str:
    file = PurePosixPath(Path(stage.path).relative_to(root.resolve()).as_posix())
    name: str | None = getattr(stage, "name", None)
    if name is None:
        return str(file)
    return name if str(file) == "dvc.yaml" else f"{file}:{name}"


def _is_params(dep: DvcOut) -> bool:
    from dvc.dependency import ParamsDependency

    return isinstance(dep, ParamsDependency)


def _find_vars(stage: DvcStage) -> Iterator[Path]:
    """Find the files that templates of a stage's `dvc.yaml` are filled from, beside `params.yaml`."""
    contents = getattr(stage.dvcfile, "contents", None) or {}  # a .dvc file has none
    blocks = [contents, *(contents.get("stages") or {}).values()]
    for block in blocks:
        for entry in block.get("vars") or []:
            if isinstance(entry, str):  # a file, with keys after a colon
                yield Path(stage.path).parent / entry.partition(":")[0]


def _name_asset(target: str) -> str:
    """Make an asset's key of a target: its folder, then what it is called there."""
    file, _, stage = target.rpartition(":")
    path = PurePosixPath(target if target.endswith(".dvc") else file)
    name = f"raw_{path.name.removesuffix('.dvc')}" if target.endswith(".dvc") else stage
    parts = [*path.parent.parts, name]
    return "/".join(re.sub(r"\W", "_", part, flags=re.ASCII) for part in parts)
