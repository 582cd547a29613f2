"""The stages that `dvc.yaml` and `.dvc` files define, read through DVC's own API."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from mm_assets.contracts.config import Section, explain_validation
from mm_assets.contracts.errors import ConfigError
from orchestration.dvc_declared import (
    Declared,
    DeclaredPlot,
    DvcOut,
    DvcRepo,
    DvcStage,
    overlap,
    relative,
)

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
        stages = list_stages(repo, root)
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


def list_stages(repo: DvcRepo, root: Path) -> list[Stage]:
    """List the stages of a project that is open.

    Raises:
        ConfigError: As `read_stages` does.
    """
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


def _describe(stage: DvcStage, root: Path, declared: Declared) -> Stage:
    target = name_target(stage, root)
    deps, params = [], []
    for dep in stage.deps:
        if is_params(dep):
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


def name_target(stage: DvcStage, root: Path) -> str:
    """Name a stage as `dvc repro` takes it from the root."""
    file = PurePosixPath(Path(stage.path).relative_to(root.resolve()).as_posix())
    name: str | None = getattr(stage, "name", None)
    if name is None:
        return str(file)
    return name if str(file) == "dvc.yaml" else f"{file}:{name}"


def is_params(dep: DvcOut) -> bool:
    """Tell parameters from files."""
    from dvc.dependency import ParamsDependency

    return isinstance(dep, ParamsDependency)


def _name_asset(target: str) -> str:
    """Make an asset's key of a target: its folder, then what it is called there."""
    file, _, stage = target.rpartition(":")
    path = PurePosixPath(target if target.endswith(".dvc") else file)
    name = f"raw_{path.name.removesuffix('.dvc')}" if target.endswith(".dvc") else stage
    parts = [*path.parent.parts, name]
    return "/".join(re.sub(r"\W", "_", part, flags=re.ASCII) for part in parts)
