"""One temperature per target, so that a probability of 0.8 is right eight times in ten."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Shaped
from scipy.optimize import minimize_scalar
from torch import Tensor

from mm_assets.targets.base import Target

LARGEST = 20.0  # a model that is always right, or never, would ask for 0 or infinity


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
