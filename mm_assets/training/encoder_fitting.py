"""Fitting encoders that learn from training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from mm_assets.contracts.errors import TrainingError
from mm_assets.modalities.tabular import MISSING

if TYPE_CHECKING:
    from mm_assets.encoders.base import Encoder
    from mm_assets.encoders.standardized import StandardizedOptions
    from mm_assets.encoders.tabular import TabularOptions

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
        {name: np.concatenate([batch[name] for batch in collected]) for name in collected[0]},
        encoder.options,
    )


def fit_standardized(
    arrays: dict[str, Float32[np.ndarray, "row dim"]], options: StandardizedOptions
) -> State:
    """Take mean and standard deviation of each number.

    Args:
        arrays: ``vector``, as `Features.collate` gives it.
        options: Of the encoder.

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


def fit_tabular(arrays: dict[str, np.ndarray], options: TabularOptions) -> State:
    """Take median and interquartile range of each number, and each column's frequent categories.

    Args:
        arrays: ``numbers`` and ``categories``, as `Tabular.collate` gives them.
        options: Of the encoder.

    Returns:
        What `mm_assets.encoders.tabular.Tabular.network` takes. The scale of a number whose
        quartiles are equal is its standard deviation, and 1 if it never varies; a number that no
        row has gets median 0 and scale 1. A column's categories come by falling frequency.

    Source:
        `RobustScaler` and `OneHotEncoder(max_categories=...)` of scikit-learn.
    """
    numbers = arrays.get("numbers", np.empty((0, 0))).astype(np.float64)
    columns = [column[~np.isnan(column)] for column in numbers.T]
    spread = [_measure_spread(column) for column in columns]
    known = [_count_categories(column) for column in arrays.get("categories", np.empty((0, 0))).T]
    known = [frequent[: options.max_categories] for frequent in known]
    return {
        "median": np.array([median for median, _ in spread], dtype=np.float32),
        "scale": np.array([scale for _, scale in spread], dtype=np.float32),
        "categories": np.concatenate([np.empty(0, np.int64), *known]),
        "categories_per_column": np.array([len(frequent) for frequent in known], dtype=np.int64),
    }


def _measure_spread(column: Float64[np.ndarray, " row"]) -> tuple[float, float]:
    """Give median and scale of one column's numbers."""
    if not len(column):
        return 0.0, 1.0
    low, median, high = np.quantile(column, [0.25, 0.5, 0.75])
    scales = (high - low, column.std(), 1.0)
    # What float32 cannot hold as a normal number is no variation.
    return median, next(scale for scale in scales if scale >= np.finfo(np.float32).tiny)


def _count_categories(column: Int64[np.ndarray, " row"]) -> Int64[np.ndarray, " category"]:
    """Give the hashes that occur by falling frequency, equally frequent ones by their value."""
    found, counts = np.unique(column[column != MISSING], return_counts=True)
    return found[np.argsort(-counts, kind="stable")]


FITTERS: dict[str, Callable[[dict[str, np.ndarray], Any], State]] = {
    "standardized": fit_standardized,
    "tabular": fit_tabular,
}
