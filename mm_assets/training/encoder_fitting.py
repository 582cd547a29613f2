"""Fitting encoders that learn from training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64

from mm_assets.contracts.errors import TrainingError
from mm_assets.encoders.standardized import StandardizedOptions
from mm_assets.modalities.tabular import MISSING

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from mm_assets.encoders.base import Encoder
    from mm_assets.encoders.event_counts import EventCountsOptions
    from mm_assets.encoders.hashed_ngrams import NgramsOptions
    from mm_assets.encoders.standardized_steps import StandardizedStepsOptions
    from mm_assets.encoders.tabular import TabularOptions
    from mm_assets.encoders.text_cnn import WordsOptions

State = dict[str, np.ndarray]
Batches = Iterable[dict[str, np.ndarray]]

MOST_TEXT_BATCHES = 2048  # of 32 texts; more of them tell a decomposition nothing new
SMALLEST_SHARE = 1e-6  # of the largest singular value; what lies below is rounding


def fit_encoder(encoder: Encoder, batches: Iterable[dict[str, np.ndarray]]) -> State:
    """Fit an encoder's state.

    Args:
        encoder: One that is `fitted`.
        batches: `Modality.collate`'s arrays of training rows, never of copies or other splits.

    Returns:
        What `Encoder.network` and `Encoder.fingerprint` take.

    Raises:
        TrainingError: There is no training row.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise TrainingError(
            f"encoder {encoder.name} is fitted on training rows, but none has this modality; add such "
            "rows or take the modality out of params.yaml"
        )
    return FITTERS[encoder.name](chain([first], batches), encoder.options)


def fit_standardized(batches: Batches, options: StandardizedOptions) -> State:
    """Take mean and standard deviation of each number.

    Args:
        batches: ``vector``, as `Features.collate` gives it.
        options: Of the encoder.

    Returns:
        ``mean`` and ``scale``, float32 (dim,); the scale of a number that never varies is 1.
    """
    vectors = _join(batches)["vector"].astype(np.float64)
    mean, scale = vectors.mean(axis=0), vectors.std(axis=0)
    # Rounding of float32 is no variation, nor is what float32 cannot hold as a normal number.
    constant = (scale <= 1e-7 * np.abs(mean)) | (scale < np.finfo(np.float32).tiny)
    return {
        "mean": mean.astype(np.float32),
        "scale": np.where(constant, 1, scale).astype(np.float32),
    }


def fit_standardized_steps(batches: Batches, options: StandardizedStepsOptions) -> State:
    """Take mean and standard deviation of each number over all steps.

    Args:
        batches: ``vectors`` and ``length``, as `Features.collate` gives them.
        options: Of the encoder.

    Returns:
        As `fit_standardized`.
    """
    steps = (
        vectors[:length]
        for batch in batches
        for vectors, length in zip(batch["vectors"], batch["length"], strict=True)
    )
    return fit_standardized([{"vector": np.concatenate(list(steps))}], StandardizedOptions())


def fit_tabular(batches: Batches, options: TabularOptions) -> State:
    """Take median and interquartile range of each number, and each column's frequent categories.

    Args:
        batches: ``numbers`` and ``categories``, as `Tabular.collate` gives them.
        options: Of the encoder.

    Returns:
        What `mm_assets.encoders.tabular.Tabular.network` takes. The scale of a number whose
        quartiles are equal is its standard deviation, and 1 if it never varies; a number that no
        row has gets median 0 and scale 1. A column's categories come by falling frequency.

    Source:
        `RobustScaler` and `OneHotEncoder(max_categories=...)` of scikit-learn.
    """
    arrays = _join(batches)
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


def fit_event_counts(batches: Batches, options: EventCountsOptions) -> State:
    """Take the most frequent types of event.

    Args:
        batches: ``types``, as `Events.collate` gives them.
        options: Of the encoder.

    Returns:
        ``types``, int64 (known,), hashes by falling frequency.
    """
    counts: Counter[int] = Counter()
    for batch in batches:
        found, times = np.unique(batch["types"][batch["types"] != 0], return_counts=True)
        counts.update(dict(zip(found.tolist(), times.tolist(), strict=True)))
    frequent = sorted(counts, key=lambda kind: (-counts[kind], kind))[: options.max_types]
    return {"types": np.array(frequent, dtype=np.int64)}


def fit_signal_scale(batches: Batches, options: object) -> State:
    """Take mean and standard deviation of each channel, over all samples that are no padding.

    Args:
        batches: ``samples`` and ``length``, as `Signal.collate` gives them.
        options: Of the encoder.

    Returns:
        ``mean`` and ``scale``, float32 (channel,); the scale of a channel that never varies is 1.
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for batch in batches:
        for row, length in zip(batch["samples"], batch["length"].tolist(), strict=True):
            # Chan et al. 1979: means and sums of squares of two parts, without cancellation.
            part = row[:, :length].astype(np.float64)
            shift = part.mean(axis=1) - mean
            squares = (
                squares + part.var(axis=1) * length + shift**2 * (count * length / (count + length))
            )
            mean = mean + shift * (length / (count + length))
            count += length
    scale = np.sqrt(squares / count)
    constant = (scale <= 1e-7 * np.abs(mean)) | (scale < np.finfo(np.float32).tiny)
    return {
        "mean": mean.astype(np.float32),
        "scale": np.where(constant, 1, scale).astype(np.float32),
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


def fit_hashed_ngrams(batches: Batches, options: NgramsOptions) -> State:
    """Weigh n-grams by how rare they are, and find the directions in which texts differ most.

    TF-IDF and a truncated SVD. A text's projection is scaled to length 1 in the end, so its
    TF-IDF row need not be, and both steps become one table.

    Args:
        batches: ``buckets`` and ``weights``, as `Text.collate` gives them. Of a great many, evenly
            spaced ones are taken.
        options: Of the encoder.

    Returns:
        ``table``, float32 (known, dim): a bucket's inverse document frequency times its row of the
        right singular vectors; row 0 is zero. ``lookup``, int32 (bucket,): a bucket's row in the
        table, 0 where no training row has it.

    Raises:
        TrainingError: No training text has an n-gram of these lengths.

    Source:
        `TfidfTransformer` and `TruncatedSVD` of scikit-learn; Deerwester et al. 1990.
    """
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = vstack([_to_sparse(batch, options.bits) for batch in _thin(batches)]).tocsr()
    known = np.flatnonzero(counts.getnnz(axis=0))
    if not len(known):
        raise TrainingError(
            f"an encoder by n-grams found no run of {options.shortest} to {options.longest} "
            "characters (or words) in any training text; lower `shortest` in params.yaml"
        )
    tfidf = TfidfTransformer().fit(counts[:, known])
    directions = _find_directions(tfidf.transform(counts[:, known]), options.dim)
    lookup = np.zeros(2**options.bits, dtype=np.int32)
    lookup[known] = np.arange(1, len(known) + 1)
    table = np.zeros((len(known) + 1, len(directions)), dtype=np.float32)
    table[1:] = directions.T * tfidf.idf_[:, None]
    return {"lookup": lookup, "table": table}


def fit_words(batches: Batches, options: WordsOptions) -> State:
    """Choose the words that get a vector of their own.

    Args:
        batches: ``ids``, as `Text.collate` gives them for `word_bits`.
        options: Of the encoder.

    Returns:
        ``lookup``, int32 (hash,): a word's row in the table of vectors, `UNKNOWN` where it is in
        the texts less than `least_count` times, and `PADDING` for padding.
    """
    from mm_assets.encoders.networks.words import KNOWN, PADDING, UNKNOWN

    hashes = 2**options.bits + 1
    counts = np.zeros(hashes, dtype=np.int64)
    for batch in batches:
        counts += np.bincount(batch["ids"].ravel(), minlength=hashes)
    lookup = np.full(hashes, UNKNOWN, dtype=np.int32)
    known = np.flatnonzero(counts >= options.least_count)
    known = known[known > 0]
    lookup[known] = np.arange(KNOWN, KNOWN + len(known))
    lookup[0] = PADDING
    return {"lookup": lookup}


def _thin(batches: Batches) -> list[dict[str, np.ndarray]]:
    """Keep every batch, or every 2nd, 4th ... once there are too many."""
    kept: list[dict[str, np.ndarray]] = []
    stride = 1
    for place, batch in enumerate(batches):
        if place % stride == 0:
            kept.append(batch)
        if len(kept) > MOST_TEXT_BATCHES:
            kept, stride = kept[::2], 2 * stride
    return kept


def _to_sparse(batch: dict[str, np.ndarray], bits: int) -> csr_matrix:
    """Put a batch's weights into a sparse matrix (batch, bucket)."""
    from scipy.sparse import csr_matrix

    rows, steps = np.nonzero(batch["weights"])
    places = (rows, batch["buckets"][rows, steps])
    shape = (len(batch["weights"]), 2**bits)
    return csr_matrix((batch["weights"][rows, steps].astype(np.float64), places), shape=shape)


def _find_directions(matrix: csr_matrix, dim: int) -> Float64[np.ndarray, "direction feature"]:
    """Give at most `dim` right singular vectors, the strongest first, the same ones each time."""
    from sklearn.decomposition import TruncatedSVD

    if dim < min(matrix.shape):
        found = TruncatedSVD(dim, algorithm="arpack", random_state=0).fit(matrix)
        strengths, directions = found.singular_values_, found.components_
    else:
        _, strengths, directions = np.linalg.svd(matrix.toarray(), full_matrices=False)
    return np.asarray(directions[:dim][strengths[:dim] > SMALLEST_SHARE * strengths[0]])


def _join(batches: Batches) -> dict[str, np.ndarray]:
    """Put batches of equally long rows below each other."""
    collected = list(batches)
    return {name: np.concatenate([batch[name] for batch in collected]) for name in collected[0]}


FITTERS: dict[str, Callable[[Batches, Any], State]] = {
    "event_counts": fit_event_counts,
    "hashed_ngrams": fit_hashed_ngrams,
    "signal_cnn": fit_signal_scale,
    "signal_transformer": fit_signal_scale,
    "standardized": fit_standardized,
    "standardized_steps": fit_standardized_steps,
    "tabular": fit_tabular,
    "tabular_mlp": fit_tabular,
    "text_cnn": fit_words,
    "text_gru": fit_words,
    "tfidf_svd": fit_hashed_ngrams,
}
