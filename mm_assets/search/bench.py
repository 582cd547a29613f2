"""Where trials are compared: the same rows for all of them, and a loss that means the same.

A trial may be trained by another loss (class weights, focal, label smoothing), so trials are not
compared by what they were trained and stopped by, but by `Target.loss`, a proper score, of calibrated
answers: the mean over `views` of the sum over weighted targets, in nats. The test rows are not read.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_assets.contracts.config import Config
from mm_assets.data.table import read_augmented
from mm_assets.stages.baselines import Material, open_material
from mm_assets.stages.project import Project, build_project
from mm_assets.training.device import choose_device
from mm_assets.training.examples import Examples, number_groups
from mm_assets.training.fitting import fit_model
from mm_assets.training.loop import Epoch
from mm_assets.training.memory import digest_run
from mm_assets.training.model import FusionModel
from mm_assets.training.scoring import predict_views, views


@dataclass(frozen=True)
class Bench:
    """Training and validation rows.

    Attributes:
        project: As `params.yaml` describes it.
        rows: Of `read_augmented`, with the targets' labels.
        material: The same rows, as a model is fitted to them.
    """

    project: Project
    rows: pd.DataFrame
    material: Material

    @property
    def weights(self) -> Float[np.ndarray, " target"]:
        """Of each target, the same for every trial."""
        return np.array([target.weight for target in self.project.config.targets.values()])

    def digest(self, parts: Mapping[str, Any]) -> str:
        """Digest the rows, and JSON values beside them."""
        return digest_run(parts, self.material.train, self.material.validation)

    def measure(
        self, config: Config, *, watch: Callable[[Epoch], None] | None = None, title: str
    ) -> Float[np.ndarray, "group view target 2"]:
        """Train as stage `train` does, and score the model on validation rows.

        Args:
            config: Of the trial: it differs in `fusion`, `train` and the targets' losses.
            watch: Is told each epoch as it ends; what it raises stops the trial.
            title: Of the progress bar.

        Returns:
            Of `sum_losses_by_group`.

        Raises:
            TrainingError: As `fit_model`.
        """
        project = build_project(config, self.project.workspace)
        is_training = (self.rows["split"] == "train").to_numpy()
        train, validation = (
            replace(rows, groups=number_groups(self.rows[part]) if config.fusion.context else None)
            for part, rows in (
                (is_training, self.material.train),
                (~is_training, self.material.validation),
            )
        )
        model, _ = fit_model(
            train,
            validation,
            encoders=self.material.encoders,
            targets={
                key: target.fit(self.rows.loc[is_training, key], config.targets[key], where=key)
                for key, target in project.targets.items()
            },
            config=config,
            device=choose_device(config.compute.device),
            watch=watch,
            title=title,
            tuned={key: copy.deepcopy(self.material.tuned[key]) for key in config.train.finetune},
        )
        return sum_losses_by_group(model, validation, number_groups(self.rows[~is_training]))


@contextlib.contextmanager
def open_bench(project: Project) -> Iterator[Bench]:
    """Read training and validation rows; decoded media are gone with the block.

    Raises:
        TrainingError: The labels leave nothing to learn.
    """
    rows = read_augmented(
        project.workspace.augmented, splits=["train", "validation"], columns=list(project.targets)
    )
    with open_material(project) as material:
        yield Bench(project, rows, material)


def sum_losses_by_group(
    model: FusionModel, rows: Examples, groups: Int[Tensor, " row"]
) -> Float[np.ndarray, "group view target 2"]:
    """Add up each group's calibrated losses in each of `views`.

    Args:
        model: Calibrated, on the CPU.
        rows: With labels.
        groups: Number of each row's group, from 0 on.

    Returns:
        For every target the sum of losses in nats, and what to divide it by. Both add up over
        groups, so a resample of groups is a weighted sum.
    """
    shown = list(views(rows).values())
    found = np.zeros((int(groups.max()) + 1, len(shown), len(model.targets), 2))
    for place, (view, logits) in enumerate(
        zip(shown, predict_views(model, rows, shown), strict=True)
    ):
        calibrated, owners = model.temper(logits), groups[view.rows]
        order = torch.argsort(owners, stable=True)
        numbers, sizes = torch.unique_consecutive(owners[order], return_counts=True)
        for group, members in zip(numbers, torch.split(order, sizes.tolist()), strict=True):
            for at, (key, target) in enumerate(model.targets.items()):
                labels = rows.labels[key][view.rows][members]
                sums = target.sum_losses(calibrated[key][members], labels, proper=True)
                found[group, place, at] = [float(part) for part in sums]
    return found


def average_losses(
    sums: Float[np.ndarray, "*resample view target 2"], weights: Float[np.ndarray, " target"]
) -> Float[np.ndarray, "*resample"]:
    """Mean over views of the weighted sum of the targets' losses, in nats; as `score_views`."""
    means = sums[..., 0] / np.maximum(sums[..., 1], 1)  # 0 where no label is known
    return np.asarray((means @ weights).mean(axis=-1))
