"""What is settled on validation rows once a model is trained.

One temperature per target, so that a probability of 0.8 is right eight times in ten; where several
answers are pooled, one of each before they are; how far each modality is to be trusted; and the
thresholds of targets that have some.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Shaped
from scipy.optimize import minimize_scalar
from torch import Tensor

from mm_assets.targets.base import Target
from mm_assets.training.batches import cut_batches
from mm_assets.training.examples import Examples
from mm_assets.training.model import FusionModel
from mm_assets.training.scoring import (
    encode_media,
    predict_logits,
    predict_parts,
    predict_views,
    score_views,
    show_alone,
    views,
)

TRUSTS = (1.0, 0.75, 0.5, 0.25, 0.0)  # the first of equal ones is taken
TRUSTED_ROWS = 4096  # that are looked at, drawn at random: enough to tell five values apart
LARGEST = 20.0  # a model that is always right, or never, would ask for 0 or infinity


def calibrate(model: FusionModel, validation: Examples, weights: Mapping[str, float]) -> None:
    """Settle temperatures, trust and thresholds; a target's again, since trust moves logits.

    Args:
        model: Trained, in evaluation mode on the CPU; changed in place.
        validation: Validation rows.
        weights: Of each target in the loss.
    """
    validation = encode_media(model, validation)
    fit_part_temperatures(model, validation)
    fit_temperatures(model, validation)
    fit_trust(model, validation, weights)
    fit_temperatures(model, validation)
    fit_thresholds(model, validation)


def fit_part_temperatures(model: FusionModel, validation: Examples) -> None:
    """Set the temperature of each answer that is pooled with others, in every member.

    An answer that is too sure of itself overrules better ones: wide vectors fit the training rows
    more closely than narrow ones do. Each is fitted on the rows of which it says something.
    """
    for heads_by_target, parts in zip(model.heads, predict_parts(model, validation), strict=True):
        speaks = parts.log_weights.exp() > 0
        for name, heads in heads_by_target.items():
            labels = validation.labels[name]
            if len(heads.parts) == 1 or not heads.target.calibrated:
                continue
            with torch.inference_mode():
                logits = heads.answer(parts.vectors)
            for index, rows in enumerate(speaks.unbind(dim=1)):
                temperature = fit_temperature(logits[rows, index], labels[rows], heads.target)
                heads.temperature[index] = temperature


def fit_trust(model: FusionModel, validation: Examples, weights: Mapping[str, float]) -> None:
    """Shrink modalities that mislead on validation rows.

    A modality can fit the training rows without meaning anything for other groups (a speaker is
    known by the voice, say). Scaling its vector towards the mean then lowers the validation loss.
    Each modality's trust is searched in turn, the others held, on at most `TRUSTED_ROWS` rows.
    """
    some = cut_batches(validation, TRUSTED_ROWS, generator=torch.Generator().manual_seed(0))[0]
    validation = validation.take(some)
    for index in range(len(model.trust)):
        losses = {}
        for trust in TRUSTS:
            model.trust[index] = trust
            losses[trust] = score_views(model, validation, weights)
        model.trust[index] = min(losses, key=lambda trust: losses[trust])


def fit_temperatures(model: FusionModel, validation: Examples) -> None:
    """Set the temperature of targets that have one from all `views` of the validation rows."""
    shown = list(views(validation).values())
    scored = predict_views(model, validation, shown)
    for index, (name, target) in enumerate(model.targets.items()):
        if not target.calibrated:
            continue
        logits = torch.cat([found[name] for found in scored])
        labels = torch.cat([validation.labels[name][view.rows] for view in shown])
        model.temperature[index] = fit_temperature(logits, labels, target)


def fit_thresholds(model: FusionModel, validation: Examples) -> None:
    """Settle the targets' thresholds on validation rows, each with the modalities that it has."""
    for name, logits in model.temper(predict_logits(model, validation)).items():
        target, labels = model.targets[name], validation.labels[name].numpy()
        known = target.is_known(labels)
        if known.any():
            probabilities = target.probabilities(logits).numpy()
            target.fit_thresholds(labels[known], probabilities[known])


def measure_gains(
    model: FusionModel, train: Examples, validation: Examples
) -> dict[str, dict[str, float]]:
    """Tell what each modality alone says about each target, on validation rows.

    Returns:
        By modality and target: how far the calibrated loss lies below that of the best constant
        answer of the training rows, in nats. No entry for a modality that no validation row has.
    """
    shown = show_alone(validation)
    gains: dict[str, dict[str, float]] = {modality: {} for modality in shown}
    scored = predict_views(model, validation, list(shown.values()))
    for (modality, view), logits in zip(shown.items(), scored, strict=True):
        for name, found in model.temper(logits).items():
            target, labels = model.targets[name], validation.labels[name][view.rows]
            constant = torch.from_numpy(target.constant_logits(train.labels[name].numpy()))
            blind = target.loss(constant.expand(len(labels), -1), labels)
            gains[modality][name] = (blind - target.loss(found, labels)).item()
    return gains


def fit_temperature(
    logits: Float[Tensor, "row output"], labels: Shaped[Tensor, " row *label"], target: Target
) -> float:
    """Find the temperature that minimises the loss of ``logits / temperature``.

    Args:
        logits: Of validation rows.
        labels: Encoded labels of the same rows; those not known are left out.
        target: Whose loss is taken.

    Returns:
        Between 1/20 and 20; 1 where no label is known.

    Source:
        Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2.
    """
    known = torch.from_numpy(target.is_known(labels.numpy()))
    if not known.any():
        return 1.0
    logits, labels = logits[known].double(), labels[known]

    def loss(log_temperature: float) -> float:
        return target.loss(logits / math.exp(log_temperature), labels).item()

    limit = math.log(LARGEST)
    found = minimize_scalar(loss, bounds=(-limit, limit), method="bounded")
    return math.exp(found.x)
