"""What a network of an encoder learns from: the labels of training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from mm_assets.targets.base import Target


@dataclass(frozen=True)
class Supervision:
    """What a supervised encoder learns from.

    Attributes:
        targets: By name, fitted on training rows; their order is that of the logits.
        labels: By target, encoded, (row, ...) of every spooled row.
        weights: Of each target in the loss.
    """

    targets: Mapping[str, Target]
    labels: Mapping[str, Shaped[np.ndarray, " row *label"]]
    weights: Mapping[str, float]
