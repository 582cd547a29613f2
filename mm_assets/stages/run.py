"""Running a stage: configuration, fingerprints of its inputs, its report, its timings.

`mm stage NAME` is the command of every stage in `dvc.yaml`, so both front doors come through here.
"""

from __future__ import annotations

import importlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mm_assets.contracts.config import read_config
from mm_assets.contracts.errors import StageError, SuiteFailedError
from mm_assets.contracts.report import StageReport, summarize_failures
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import UNFINISHED, write_json, write_text
from mm_assets.data.lock import hold_lock
from mm_assets.stages.project import Project, build_project, load_project

STAGES = ("validate", "augment", "embed", "train", "baselines", "evaluate", "export", "card")


@dataclass(frozen=True)
class Declared:
    """What `dvc.yaml` says a stage reads."""

    deps: tuple[str, ...]
    params: tuple[str, ...]


def run_stage(root: Path, name: str, key: str | None = None) -> StageReport:
    """Run one stage and write its report.

    Args:
        root: The project's root, where `dvc.yaml` and `params.yaml` lie.
        name: One of `STAGES`.
        key: The modality, for `embed`.

    Returns:
        The report, as written.

    Raises:
        ConfigError: `params.yaml` is wrong; nothing was done.
        DiskError: The disk is too small or full, or the project must not be written to.
        StageError: The same stage runs already, or an input moved while the stage ran; its outputs must not be recorded.
        SuiteFailedError: A suite failed with severity error; report and outputs are on disk.
    """
    full_name = f"{name}@{key}" if key else name
    project = load_project(root)
    if name not in STAGES or (name == "embed") != (key is not None):
        raise StageError(
            f"no stage {full_name!r}; stages are {', '.join(STAGES)}, embed with a modality"
        )
    if key is not None and key not in project.modalities:
        raise StageError(
            f"no modality {key!r} in params.yaml; it has {', '.join(project.modalities)}"
        )
    with hold_lock(project.workspace.lock(full_name), what=f"stage {full_name}"):
        return _run_alone(project, name, key)


def _run_alone(project: Project, name: str, key: str | None) -> StageReport:
    """Run the stage while nobody else does.

    Raises:
        StageError: What an earlier stage makes is not there, or an input moved while the stage ran.
        SuiteFailedError: A suite failed with severity error.
    """
    root, full_name = project.workspace.root, f"{name}@{key}" if key else name
    _set_threads(project)
    remove_stale_modalities(project)
    declared = read_declared(root, name, key)
    _require_made(root, full_name, declared)
    before = fingerprint(root, declared)

    started = time.monotonic()
    stage: Callable[..., StageReport] = getattr(
        importlib.import_module(f"mm_assets.stages.{name}"), name
    )
    report = stage(project, key) if key else stage(project)
    elapsed_s = time.monotonic() - started

    after = fingerprint(root, declared)
    moved = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    if moved:
        raise StageError(
            f"stage {full_name} read inputs that changed while it ran ({', '.join(moved[:5])}); its "
            "result would belong to neither version, so it is not recorded; run it again"
        )
    write_report(project, report)
    write_json(project.workspace.log(full_name), {"stage": full_name, "elapsed_s": elapsed_s})
    if report.blocks:
        page = project.workspace.page(full_name).relative_to(root)
        raise SuiteFailedError(f"{summarize_failures(report)}\n  all about it: {page.as_posix()}")
    return report


def check_data(root: Path, folder: Path | None = None) -> tuple[StageReport, Project]:
    """Run `validate` alone, beside the pipeline: its outs go to `.mm/check/`.

    Args:
        root: The project's root, where `params.yaml` lies.
        folder: The data, where it lies; by default `data/`.

    Returns:
        The report, which is written like a stage's with its page, and the project whose workspace
        says where. A suite that failed raises nothing.

    Raises:
        ConfigError: `params.yaml` is wrong; nothing was done.
        SourceError: The table is absent or unreadable.
        StageError: Another check is running.
    """
    from mm_assets.stages.validate import validate

    at = Workspace(root)
    workspace = Workspace(root, data_folder=folder and folder.resolve(), artifacts_folder=at.check)
    project = build_project(read_config(workspace.params), workspace)
    with hold_lock(workspace.lock("check"), what="mm check"):
        _set_threads(project)
        # One that is stopped half-way must not leave its rows beside the name of another folder.
        shutil.rmtree(workspace.validated, ignore_errors=True)
        write_json(workspace.check / "source.json", {"data": str(workspace.data.resolve())})
        report = validate(project)
        write_report(project, report)
    return report, project


def write_report(project: Project, report: StageReport) -> None:
    """Write a stage's report for machines and, beside it, its page."""
    from mm_assets.stages.page import make_page

    write_json(project.workspace.report(report.stage), report.model_dump(mode="json"))
    write_text(project.workspace.page(report.stage), make_page(project, report))


def read_declared(root: Path, name: str, key: str | None) -> Declared:
    """Read from `dvc.yaml` what a stage depends on, with `${key}` filled in."""
    stages = YAML(typ="safe").load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    stage = stages[name].get("do", stages[name])

    def fill(text: str) -> str:
        return text.replace("${key}", key or "")

    return Declared(
        deps=tuple(fill(dep) for dep in stage.get("deps", [])),
        params=tuple(fill(param) for param in stage.get("params", [])),
    )


def _require_made(root: Path, full_name: str, declared: Declared) -> None:
    """Require what earlier stages make.

    Raises:
        StageError: It is not there.
    """
    absent = [
        dep for dep in declared.deps if dep.startswith("artifacts/") and not (root / dep).exists()
    ]
    if absent:
        raise StageError(
            f"stage {full_name} needs {', '.join(absent)}, which earlier stages make; run "
            f"`dvc repro {full_name}`, which runs those first"
        )


def fingerprint(root: Path, declared: Declared) -> dict[str, Any]:
    """Take size and modification time of every file a stage depends on, and its parameters.

    A file rewritten with equal bytes counts as moved: whether the stage read it before, after or
    in the middle cannot be told.
    """
    found: dict[str, Any] = {}
    for dep in declared.deps:
        top = root / dep
        files = (
            [top]
            if top.is_file()
            else [Path(at) / name for at, _, names in os.walk(top) for name in names]
        )
        for file in files:
            if "__pycache__" in file.parts:
                continue
            stat = file.stat()
            found[file.relative_to(root).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    params = YAML(typ="safe").load((root / "params.yaml").read_text(encoding="utf-8"))
    for name in declared.params:
        value: Any = params
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        found[f"params.yaml: {name}"] = value
    return found


def remove_stale_modalities(project: Project) -> None:
    """Delete embeddings, reports and pages of modalities that `params.yaml` no longer has.

    DVC forgets an out whose stage is gone but leaves it on disk, where a stage that depends on the
    parent folder would still see it.
    """
    kept = set(project.modalities)
    workspace = project.workspace
    for folder in workspace.embeddings("x").parent.glob("*/"):
        if folder.name.removeprefix(UNFINISHED).split(".")[0] not in kept:
            shutil.rmtree(folder)
    for file in (workspace.report("embed@x"), workspace.page("embed@x")):
        for other in file.parent.glob(f"*{file.suffix}"):
            if other.stem not in kept:
                other.unlink()


def _set_threads(project: Project) -> None:
    """Give numeric libraries one thread a core, before they are imported."""
    threads = str(project.config.compute.count_threads())
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, threads)
