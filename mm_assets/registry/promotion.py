"""What changes the registry: registering, promoting, rolling back, publishing.

Each step leaves a registry that the next command completes or undoes, wherever it is killed: files
are copied whole, then recorded as a candidate, then handed to DVC; after the gates one write of
`registry.json` decides, and the published link follows it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ruamel.yaml import YAML

from mm_assets.contracts.config import Config, read_config
from mm_assets.contracts.errors import RegistryError, ServingError
from mm_assets.contracts.report import read_report
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.lock import hold_lock
from mm_assets.registry import folders
from mm_assets.registry.merging import adopt
from mm_assets.registry.origins import keep_origin
from mm_assets.registry.record import (
    REGISTRY_FILE,
    Event,
    Model,
    Registry,
    Verdict,
    read_registry,
    write_registry,
)

LAST_STAGES = ("evaluate", "export", "card")
DIGITS = 8  # of a model's digest in its id


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Attributes:
        what: ``unchanged`` where the candidate is the champion already.
        name: The model that it was about.
        model: Its record, with the verdict.
        champion: Who is champion now; null as long as nobody is.
    """

    what: Literal["promoted", "forced", "refused", "rolled back", "taken back", "unchanged"]
    name: str
    model: Model
    champion: str | None

    def explain(self) -> str:
        """Say it to a person."""
        texts = {
            "promoted": f"{self.name} is the champion now",
            "forced": f"{self.name} is the champion now, against its gates",
            "rolled back": f"{self.name} is the champion again",
            "unchanged": f"{self.name} is the champion already; nothing to do",
            "refused": f"{self.name} is refused and kept; the champion is still {self.champion}",
            "taken back": (
                f"{self.name} was champion and was rolled back, so it is not promoted again by "
                "itself; if that is what you want, `mm promote --force REASON`"
            ),
        }
        refusals = self.model.verdict.refusals if self.model.verdict else []
        told = refusals if self.what in ("refused", "forced") else []
        return "\n  ".join([texts[self.what], *told])


def promote(root: Path, *, force: str | None = None) -> Outcome:
    """Register what the pipeline made, judge it, and make it champion where every gate holds.

    Args:
        root: The project's root.
        force: A reason to make it champion whatever the gates say; they are judged all the same.

    Returns:
        What came of it. A refusal is an outcome, and recorded.

    Raises:
        ConfigError: `params.yaml` is wrong.
        RegistryError: The pipeline is not complete and up to date, or the two cannot be compared.
        ServingError: There is no exported model.
        StageError: A stage has not run, or somebody else changes the registry.
    """
    if force is not None and not force.strip():
        raise RegistryError("--force needs a reason, which is recorded; got an empty one")
    workspace = Workspace(root)
    config = read_config(workspace.params)
    with hold_lock(workspace.lock("registry"), what="a change of the registry"):
        recover(workspace)
        require_complete(workspace)
        before = _stamp(workspace)
        name = register(workspace)
        registry = read_registry(workspace.registry)
        model, champion = registry.find(name), registry.champion
        if name == champion:
            _publish(workspace, registry)
            return Outcome("unchanged", name, model, champion)
        if model.state == "taken_back" and force is None:
            return Outcome("taken back", name, model, champion)
        verdict = judge(workspace, config, registry, name, forced=force is not None)
        if _stamp(workspace) != before:
            raise RegistryError(
                "files in artifacts/ or params.yaml changed while the candidate was judged, so the verdict "
                "would belong to neither version; promote again when the pipeline is at rest"
            )
        what: Literal["promoted", "forced", "refused"] = "promoted"
        if verdict.refusals:
            what = "refused" if force is None else "forced"
        reason = force or "; ".join(verdict.refusals)
        event = Event(at=now(), what=what, model=name, instead_of=champion, reason=reason)
        if what == "refused":
            changed = registry.change(name, "refused", verdict).model_copy(
                update={"history": (*registry.history, event)}
            )
        else:
            folders.restore(workspace, name, model.files)
            keep_origin(workspace, name, beside=[champion] if champion else [])
            changed = registry.crown(name, event=event, verdict=verdict)
        write_registry(workspace.registry, changed)
        if what != "refused":
            _publish(workspace, changed)
        return Outcome(what, name, changed.find(name), changed.champion)


def roll_back(root: Path, name: str | None = None, *, reason: str = "") -> Outcome:
    """Put an earlier champion back in its place; the one until now is not promoted by itself again.

    Args:
        root: The project's root.
        name: An earlier champion; by default the one whose place the champion took.
        reason: For the history.

    Raises:
        RegistryError: There is no such model, it never was champion, or its files are gone.
        StageError: Somebody else changes the registry.
    """
    workspace = Workspace(root)
    with hold_lock(workspace.lock("registry"), what="a change of the registry"):
        recover(workspace)
        registry = read_registry(workspace.registry)
        name = name or registry.find_predecessor()
        if name is None:
            raise RegistryError(
                f"there is no champion before {registry.champion}"
                if registry.champion
                else "there is no champion to roll back; the first is made by `mm promote`"
            )
        model = registry.find(name)
        if name == registry.champion:
            raise RegistryError(f"{name} is the champion already; nothing to roll back")
        if model.state not in ("retired", "taken_back"):
            raise RegistryError(
                f"{name} is {model.state} and never was champion; roll back to one that was ("
                + (", ".join(_list_retired(registry)) or "there is none")
                + ")"
            )
        folders.restore(workspace, name, model.files)
        event = Event(
            at=now(), what="rolled back", model=name, instead_of=registry.champion, reason=reason
        )
        changed = registry.crown(name, event=event)
        write_registry(workspace.registry, changed)
        _publish(workspace, changed)
        return Outcome("rolled back", name, changed.find(name), name)


def publish_champion(root: Path) -> str:
    """Make `registry/champion` anew from the registry, as after a clone; returns the champion's id.

    Raises:
        RegistryError: There is no champion, or its files cannot be had.
        StageError: Somebody else changes the registry.
    """
    workspace = Workspace(root)
    with hold_lock(workspace.lock("registry"), what="a change of the registry"):
        take_over(workspace)
        registry = read_registry(workspace.registry)
        if registry.champion is None:
            raise RegistryError("there is no champion yet; make one with `mm promote`")
        _publish(workspace, registry)
        return registry.champion


def recover(workspace: Workspace) -> None:
    """Complete, or undo, what a killed command left; of a sound registry nothing changes.

    What retraining decided meanwhile, in its own worktree, is taken over.
    """
    take_over(workspace)
    registry = read_registry(workspace.registry)
    folders.remove_unfinished(workspace, registry)
    for name, model in registry.models.items():
        if folders.is_untracked(workspace, name):
            if folders.digest_files(folders.model_folder(workspace, name)) == model.files:
                folders.track(workspace, name)
            elif model.state == "candidate":  # DVC was killed while it moved the files
                kept = {key: one for key, one in registry.models.items() if key != name}
                registry = registry.model_copy(update={"models": kept})
                write_registry(workspace.registry, registry)
                folders.remove_unfinished(workspace, registry)
    champion = registry.champion
    if champion is not None and folders.model_folder(workspace, champion).is_dir():
        _publish(workspace, registry)  # what is not here, as in a fresh clone, nobody waits for


def take_over(workspace: Workspace) -> None:
    """Take over what retraining has decided, so that there is one champion and one history."""
    other = Workspace(workspace.retraining)
    if (other.registry / REGISTRY_FILE).is_file():
        adopt(workspace, other)


def require_complete(workspace: Workspace) -> None:
    """Require that the pipeline went through, and that nothing of it is stale.

    Raises:
        RegistryError: A stage stopped at its checks, or would run again.
        ServingError: There is no exported model.
        StageError: A stage has not run.
    """
    from mm_assets.serving.predictor import read_signature  # brings pandas

    for stage in LAST_STAGES:
        if read_report(workspace.report(stage)).blocks:
            raise RegistryError(
                f"stage {stage} stopped at its checks, so there is no candidate; see "
                f"{workspace.page(stage).relative_to(workspace.root)}, mend it and run `dvc repro`"
            )
    read_signature(workspace.onnx)
    if folders.is_under_dvc(workspace) and (workspace.root / "dvc.yaml").is_file():
        said = folders.run_dvc(workspace, "status", "--json", "--with-deps", *LAST_STAGES)
        if stale := sorted(json.loads(said or "{}")):
            raise RegistryError(
                "a candidate needs a pipeline that is up to date, or its evidence may be another "
                f"model's; {', '.join(stale)} would run again: `dvc repro`, then promote"
            )


def register(workspace: Workspace) -> str:
    """Record what the pipeline made as a candidate, and hand its files to DVC.

    Returns:
        Its id. A model that is registered already keeps its own, whatever became of it.

    Raises:
        RegistryError: A file is missing, or DVC failed.
    """
    registry = read_registry(workspace.registry)
    digest = folders.digest_values(folders.digest_files(workspace.onnx))
    for name, model in registry.models.items():
        if model.digest == digest:
            folders.restore(workspace, name, model.files)
            return name
    made = now()
    name = f"{made[:10].replace('-', '')}-{digest[:DIGITS]}"
    folder = folders.copy_candidate(workspace, name)
    params = YAML(typ="safe").load(workspace.params.read_text(encoding="utf-8"))
    model = Model(
        made=made,
        state="candidate",
        digest=digest,
        files=folders.digest_files(folder),
        params=folders.digest_values(params),
        data=folders.read_data_version(workspace),
        metrics={
            **read_report(workspace.report("evaluate")).metrics,
            **read_report(workspace.report("export")).metrics,
        },
    )
    models = {**registry.models, name: model}
    write_registry(workspace.registry, registry.model_copy(update={"models": models}))
    folders.track(workspace, name)
    return name


def judge(
    workspace: Workspace, config: Config, registry: Registry, name: str, *, forced: bool
) -> Verdict:
    """Hold the trial of a registered model against the champion and judge every gate.

    A person who forces it may put a model in the place of one that has other targets, or is of
    another release; it is judged like a first.

    Raises:
        RegistryError: The two cannot be compared.
    """
    import pandas as pd

    from mm_assets.registry.gates import judge_gates
    from mm_assets.registry.trial import hold_trial

    champion, folder = registry.champion, folders.model_folder(workspace, name)
    opponent = registry.models[champion] if champion else None
    place = folders.restore(workspace, champion, opponent.files) if champion and opponent else None
    if forced and place and not _are_comparable(place, folder):
        champion = opponent = place = None
    trial = hold_trial(workspace, config, folder, place)
    gates = judge_gates(
        trial,
        config,
        parity=_read_parity(registry.models[name]),
        opponent=opponent.verdict if opponent else None,
        predictions=pd.read_parquet(workspace.evaluation / "predictions.parquet"),
    )
    return Verdict(champion=champion, rows=len(trial.rows), left_out=trial.left_out, gates=gates)


def now() -> str:
    """Give the time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _publish(workspace: Workspace, registry: Registry) -> None:
    """Make the link lead to the champion, whose files are brought back if need be."""
    if registry.champion is not None:
        folders.restore(workspace, registry.champion, registry.find(registry.champion).files)
        if folders.published(workspace) != registry.champion:
            folders.publish(workspace, registry.champion)


def _list_retired(registry: Registry) -> list[str]:
    return [n for n, model in registry.models.items() if model.state in ("retired", "taken_back")]


def _are_comparable(*models: Path) -> bool:
    """Tell whether models of this release answer the same: kinds and classes by target."""
    from mm_assets.serving.predictor import read_signature

    try:
        signatures = [read_signature(folder) for folder in models]
    except ServingError:
        return False
    first, *others = [
        {target["name"]: (target["kind"], target.get("classes")) for target in found["targets"]}
        for found in signatures
    ]
    return all(other == first for other in others)


def _read_parity(model: Model) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in model.metrics.items()
        if key in ("parity_max_difference", "served_max_difference")
    }


def _stamp(workspace: Workspace) -> dict[str, tuple[int, int]]:
    """Tell the state of the files that a verdict rests on from their size and time."""
    tops = (
        workspace.augmented, workspace.validated, workspace.evaluation, workspace.onnx, workspace.card
    )  # fmt: skip
    files = [path for top in tops for path in sorted(top.rglob("*")) if path.is_file()]
    stats = {path.as_posix(): path.stat() for path in (*files, workspace.params)}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}
