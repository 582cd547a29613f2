"""The baselines stage: the simpler models that the one model is compared with.

It reads what `train` reads, not the model, so that neither makes the other stale.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mm_assets.contracts.report import StageReport, Table
from mm_assets.contracts.subsets import list_specialists, name_subset
from mm_assets.data.atomic import atomic_folder
from mm_assets.data.calling import CallBeside
from mm_assets.data.table import read_augmented
from mm_assets.data.vectors import read_embeddings
from mm_assets.stages.project import Project, build_project
from mm_assets.stages.trained import gather_rows
from mm_assets.training.baselines import LINEAR_FOLDER, SPECIALISTS_FOLDER
from mm_assets.training.device import choose_device
from mm_assets.training.examples import Examples
from mm_assets.training.fitting import fit_model
from mm_assets.training.linear import fit_linear, measure_linear_gains, save_linear
from mm_assets.training.model import save_model
from mm_assets.validation.baselines import check_baselines
from mm_assets.validation.beside import CheckBeside

if TYPE_CHECKING:
    from mm_assets.contracts.config import Config
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.targets.base import Target

MOST_PROCESSES = 4  # each holds the vectors once more


@dataclass(frozen=True)
class Material:
    """What models are fitted to.

    Attributes:
        train: Training rows and their copies.
        validation: Validation rows.
        encoders: As in `encoder.json`, by modality.
        targets: Fitted on training rows.
    """

    train: Examples
    validation: Examples
    encoders: Mapping[str, Mapping[str, Any]]
    targets: Mapping[str, Target]


@dataclass(frozen=True)
class Specialist:
    """How the training of one specialist went; losses in nats."""

    subset: str
    rows: int
    epochs: int
    kept_epoch: int
    validation_loss: float
    loss_fell_by: float
    parameters_not_finite: int


def baselines(project: Project) -> StageReport:
    """Train a specialist per subset of the modalities, and a linear model on all of them.

    A specialist is what `train` would train if there were no other modalities: the same trainer on
    the rows that have one of its own. One that no validation row could stop is left out.

    Writes under `artifacts/baselines/`:
        `specialists/SUBSET/`: as `artifacts/model/`; subsets of `list_specialists`.
        `linear/`: of `save_linear`.

    Raises:
        StageError: A modality is present in no training row.
        TrainingError: There are no rows, their labels leave nothing to learn, or a loss is no
            longer finite.
    """
    config, workspace = project.config, project.workspace
    with CheckBeside() as checking:
        with atomic_folder(workspace.baselines) as folder:
            places = folder / SPECIALISTS_FOLDER
            places.mkdir()
            # Batches of a hundred vectors are too small to share out, so each model has one core.
            on_cpu = choose_device(config.compute.device).type == "cpu"
            several = min(config.compute.count_threads(), MOST_PROCESSES) if on_cpu else 1
            with ExitStack() as processes:
                others = [
                    processes.enter_context(CallBeside(fit_beside, config, workspace, places))
                    for _ in range(1, min(several, len(list_specialists(list(config.modalities)))))
                ]
                torch.set_num_threads(1)
                material = read_material(project)
                linear = fit_linear(material.train, material.validation, targets=material.targets)
                (folder / LINEAR_FOLDER).mkdir()
                save_linear(linear, folder / LINEAR_FOLDER)
                found = fit_specialists(material, config, places)
                found += [one for other in others for one in other.result()]
        order = [name_subset(subset) for subset in list_specialists(list(config.modalities))]
        found.sort(key=lambda one: order.index(one.subset))
        gains = measure_linear_gains(linear, material.train, material.validation)
        suite = checking.run(
            check_baselines,
            loss_fell_by={one.subset: one.loss_fell_by for one in found},
            parameters_not_finite=sum(one.parameters_not_finite for one in found),
            linear_gains=gains,
        )
    return StageReport(
        stage="baselines",
        rows_in=len(material.train) + len(material.validation),
        rows_out=len(material.train),
        metrics={
            "specialists": len(found),
            **{f"{name}_linear_l2": strength for name, strength in linear.strengths.items()},
            **{f"{name}_linear_gain_nats": round(gain, 4) for name, gain in gains.items()},
        },
        suites=(suite,),
        tables=(tabulate_specialists({one.subset: one for one in found}, order),),
    )


def fit_specialists(material: Material, config: Config, places: Path) -> list[Specialist]:
    """Train and save the specialists that no other process has taken.

    Args:
        material: With all modalities.
        config: The same for every process.
        places: Of one folder a specialist; to make it is to take it.
    """
    modalities = list(material.encoders)
    device = choose_device(config.compute.device)
    found = []
    for subset in reversed(list_specialists(modalities)):  # the longest work first
        validation = material.validation.only(*subset)
        place = places / name_subset(subset)
        if not len(validation):
            continue
        try:
            place.mkdir()
        except FileExistsError:
            continue
        train = material.train.only(*subset)
        model, curve = fit_model(
            train,
            validation,
            encoders={name: material.encoders[name] for name in subset},
            targets=copy.deepcopy(dict(material.targets)),  # thresholds are each model's own
            config=config,
            device=device,
            title=f"baselines: {name_subset(subset)}",
        )
        save_model(model, place)
        kept = min(curve, key=lambda epoch: epoch.validation_loss)
        found.append(
            Specialist(
                name_subset(subset),
                rows=len(train),
                epochs=curve[-1].epoch,
                kept_epoch=kept.epoch,
                validation_loss=kept.validation_loss,
                loss_fell_by=curve[0].validation_loss - kept.validation_loss,
                parameters_not_finite=sum(
                    int((~torch.isfinite(weights)).sum()) for weights in model.parameters()
                ),
            )
        )
    return found


def fit_beside(config: Config, workspace: Workspace, places: Path) -> list[Specialist]:
    """Read the same again, and train and save specialists, in another process."""
    torch.set_num_threads(1)
    return fit_specialists(read_material(build_project(config, workspace)), config, places)


def read_material(project: Project) -> Material:
    """Read training and validation rows, as stage `train` does.

    Raises:
        TrainingError: The labels leave nothing to learn.
    """
    config, workspace = project.config, project.workspace
    rows = read_augmented(workspace.augmented, splits=["train", "validation"])
    embeddings = {key: read_embeddings(workspace.embeddings(key)) for key in config.modalities}
    is_training = rows["split"] == "train"
    targets = {
        key: target.fit(rows.loc[is_training, key], config.targets[key], where=key)
        for key, target in project.targets.items()
    }
    return Material(
        gather_rows(project, rows[is_training], embeddings, targets),
        gather_rows(project, rows[~is_training], embeddings, targets),
        {key: found.encoder for key, found in embeddings.items()},
        targets,
    )


def tabulate_specialists(found: Mapping[str, Specialist], order: Sequence[str]) -> Table:
    """Show how each training went, and which subsets have no specialist."""
    return Table(
        title="Models of their own for some modalities; without epochs, no validation row had any",
        columns=("modalities", "training rows", "epochs", "kept epoch", "validation loss, nats"),
        rows=tuple(
            (name, one.rows, one.epochs, one.kept_epoch, round(one.validation_loss, 4))
            if (one := found.get(name))
            else (name, None, None, None, None)
            for name in order
        ),
    )
