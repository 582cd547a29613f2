"""Fitting encoders that learn from training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from mm_assets.contracts.errors import TrainingError

if TYPE_CHECKING:
    from mm_assets.encoders.base import Encoder

State = dict[str, np.ndarray]


def fit_encoder(encoder: Encoder, batches: Iterable[dict[str, np.ndarray]]) -> State:
    """Fit an encoder's state.

    Args:
        encoder: One with `fitted = True`.
        batches: `Modality.collate`'s arrays of training rows, never of copies or other splits.

    Returns:
        What `Encoder.network` and `Encoder.fingerprint` take.

    Raises:
        TrainingError: There is no training row.
    """
    collected = list(batches)
    if not collected:
        raise TrainingError(
            f"encoder {encoder.name} is fitted on training rows, but none has this modality"
        )
    return FITTERS[encoder.name](
        {name: np.concatenate([batch[name] for batch in collected]) for name in collected[0]}
    )


def fit_standardized(arrays: dict[str, Float32[np.ndarray, "row dim"]]) -> State:
    """Take mean and standard deviation of each number.

    Args:
        arrays: ``vector``, as `Features.collate` gives it.

    Returns:
        ``mean`` and ``scale``, float32 (dim,); the scale of a number that never varies is 1.
    """
    vectors = arrays["vector"].astype(np.float64)
    mean, scale = vectors.mean(axis=0), vectors.std(axis=0)
    # Rounding of float32 is no variation, nor is what float32 cannot hold as a normal number.
    constant = (scale <= 1e-7 * np.abs(mean)) | (scale < np.finfo(np.float32).tiny)
    return {
        "mean": mean.astype(np.float32),
        "scale": np.where(constant, 1, scale).astype(np.float32),
    }


FITTERS: dict[str, Callable[[dict[str, np.ndarray]], State]] = {"standardized": fit_standardized}
