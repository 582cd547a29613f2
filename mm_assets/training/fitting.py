"""From examples to a trained model: what the stages, the baselines and the search have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mm_assets.contracts.config import Config
from mm_assets.targets.base import Target
from mm_assets.training.examples import Examples
from mm_assets.training.loop import Epoch, train_model
from mm_assets.training.model import FusionModel


def fit_model(
    train: Examples,
    validation: Examples,
    *,
    encoders: Mapping[str, Mapping[str, Any]],
    targets: Mapping[str, Target],
    config: Config,
    device: torch.device | None = None,
    watch: Callable[[Epoch], None] | None = None,
    title: str = "train",
    tuned: Mapping[str, nn.Module] | None = None,
    memory: Path | None = None,
) -> tuple[FusionModel, list[Epoch]]:
    """Build a model and train it, as `fusion`, `train` and `seed` of the configuration say.

    Args:
        train: Training rows and their copies, of any of the modalities.
        validation: Validation rows.
        encoders: As in `encoder.json`, of the examples' modalities, in their order.
        targets: Fitted on training rows.
        config: Whose other sections are not looked at, but for the targets' weights.
        device: Where the network is trained.
        watch: As `train_model`.
        title: Of the progress bar.
        tuned: Networks of encoders that are trained along, whose `media` the examples have.
        memory: As `train_model`.

    Returns:
        The calibrated model in evaluation mode on the CPU, and one point per epoch, the untrained
        model first; the kept one has the lowest validation loss.

    Raises:
        TrainingError: As `train_model`.
        ConfigError: As `train_model`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = FusionModel(
            encoders, targets, config.fusion, members=config.train.seeds, tuned=tuned
        )
    curve = train_model(
        model,
        train,
        validation,
        config=config.train,
        weights={key: config.targets[key].weight for key in targets},
        seed=config.seed,
        device=device,
        watch=watch,
        title=title,
        memory=memory,
    )
    return model, curve
