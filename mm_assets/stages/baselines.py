"""The baselines stage: the simpler models that the one model is compared with.

It reads what `train` reads, not the model, so that neither makes the other stale.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mm_assets.contracts.report import StageReport, Table
from mm_assets.contracts.subsets import list_specialists, name_subset
from mm_assets.data.atomic import atomic_folder
from mm_assets.data.calling import CallBeside
from mm_assets.data.table import read_augmented
from mm_assets.stages.project import Project, build_project
from mm_assets.stages.trained import build_tuned, gather_rows, open_media, read_vectors
from mm_assets.training.baselines import LINEAR_FOLDER, SPECIALISTS_FOLDER
from mm_assets.training.device import choose_device
from mm_assets.training.examples import Examples
from mm_assets.training.fitting import fit_model
from mm_assets.training.linear import fit_linear, measure_linear_gains, save_linear
from mm_assets.training.model import save_model
from mm_assets.validation.baselines import check_baselines

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
        tuned: Networks of the encoders that are trained along, with their published weights.
    """

    train: Examples
    validation: Examples
    encoders: Mapping[str, Mapping[str, Any]]
    targets: Mapping[str, Target]
    tuned: Mapping[str, nn.Module]


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
    order = [name_subset(subset) for subset in list_specialists(list(config.modalities))]
    # Batches of a hundred vectors are too small to share out, so each model has one core.
    torch.set_num_threads(1)
    on_cpu = choose_device(config.compute.device).type == "cpu"
    processes = min(config.compute.count_threads(), MOST_PROCESSES, len(order)) if on_cpu else 1
    with atomic_folder(workspace.baselines) as folder, ExitStack() as started:
        places = folder / SPECIALISTS_FOLDER
        places.mkdir()
        others = [
            started.enter_context(CallBeside(fit_beside, config, workspace, places))
            for _ in range(1, processes)
        ]
        with open_material(project) as material:
            linear = fit_linear(material.train, material.validation, targets=material.targets)
            (folder / LINEAR_FOLDER).mkdir()
            save_linear(linear, folder / LINEAR_FOLDER)
            fitted = fit_specialists(material, config, places)
        fitted += [one for other in others for one in other.result()]
        found = {one.subset: one for one in sorted(fitted, key=lambda one: order.index(one.subset))}
        gains = measure_linear_gains(linear, material.train, material.validation)
    suite = check_baselines(
        loss_fell_by={name: one.loss_fell_by for name, one in found.items()},
        parameters_not_finite=sum(one.parameters_not_finite for one in fitted),
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
        tables=(tabulate_specialists(found, order),),
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
            config=narrow_config(config, subset),
            device=device,
            title=f"baselines: {name_subset(subset)}",
            tuned={
                name: copy.deepcopy(network)
                for name, network in material.tuned.items()
                if name in subset
            },
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
    with open_material(build_project(config, workspace)) as material:
        return fit_specialists(material, config, places)


def narrow_config(config: Config, subset: Sequence[str]) -> Config:
    """Leave out of `train` what is about other modalities."""
    asked = config.train
    kept = {name: tuning for name, tuning in asked.finetune.items() if name in subset}
    alignment = asked.alignment if len(subset) > 1 else None  # one modality has nothing to meet
    train = asked.model_copy(update={"finetune": kept, "alignment": alignment})
    return config.model_copy(update={"train": train})


@contextmanager
def open_material(project: Project) -> Iterator[Material]:
    """Read training and validation rows, as stage `train` does; media are gone with the block.

    Raises:
        TrainingError: The labels leave nothing to learn.
    """
    config = project.config
    rows = read_augmented(project.workspace.augmented, splits=["train", "validation"])
    embeddings = read_vectors(project)
    is_training = rows["split"] == "train"
    targets = {
        key: target.fit(rows.loc[is_training, key], config.targets[key], where=key)
        for key, target in project.targets.items()
    }
    chosen = torch.tensor(is_training.to_numpy())
    with open_media(project, rows) as media:
        train, validation = (
            replace(
                gather_rows(project, rows[part.numpy()], embeddings, targets),
                media={key: held[part] for key, held in media.items()},
            )
            for part in (chosen, ~chosen)
        )
        yield Material(
            train,
            validation,
            {key: found.encoder for key, found in embeddings.items()},
            targets,
            build_tuned(project, embeddings),
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
