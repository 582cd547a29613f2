"""What a modality's vectors must show before a model is trained on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, Int64, Shaped

from mm_assets.contracts.report import SuiteResult
from mm_assets.validation.runner import run_suite

if TYPE_CHECKING:
    import pandas as pd

SAME = 4  # decimals of a vector relative to its norm: closer than that is the same vector
Chunk = tuple[Float32[np.ndarray, "step dim"], Int64[np.ndarray, " chosen"]]


def measure_vectors(
    rows: pd.DataFrame,
    chunks: Callable[[], Iterable[Chunk]],
    contents: Shaped[np.ndarray, " row"],
) -> pd.DataFrame:
    """Measure each vector, in whole numbers and yes or no, which rounding cannot change.

    Args:
        rows: Columns ``id`` and ``copy``; one per present cell.
        chunks: Gives the vectors of the rows in order, some rows at a time, with each row's number
            of vectors; it is called twice. Of a sequence, the mean is measured.
        contents: The digest of what each vector was made of.

    Returns:
        ``id``, ``copy``, ``dim``, ``values_not_finite``, ``is_zero``, ``is_average`` (no further
        from the mean vector than rounding, though contents differ) and ``is_copied`` (a sample's
        vector is also that of another sample with other content).
    """
    import pandas as pd

    mean = sum(_clear(_average(*chunk)).sum(axis=0) for chunk in chunks()) / len(rows)  # (dim,)
    parts: dict[str, list[np.ndarray]] = {
        name: [] for name in ("dim", "values_not_finite", "is_zero", "is_average", "digest")
    }
    for chunk in chunks():
        vectors = _average(*chunk)  # (row, dim)
        safe = _clear(vectors)
        norms = np.linalg.norm(safe, axis=1)
        floor = np.maximum(norms, 1e-12)
        parts["dim"].append(np.full(len(vectors), vectors.shape[1]))
        parts["values_not_finite"].append((~np.isfinite(vectors)).sum(axis=1))
        parts["is_zero"].append(norms == 0)
        parts["is_average"].append(np.linalg.norm(safe - mean, axis=1) <= 10.0**-SAME * floor)
        # Direction and length, each rounded alike.
        polar = np.column_stack([safe / floor[:, None], np.log(floor)])
        rounded = np.rint(polar * 10**SAME).astype(np.int32)
        digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rounded]
        parts["digest"].append(np.array(digests, dtype="S16"))
    measured = {name: np.concatenate(found) for name, found in parts.items()}
    kinds, vector_of = np.unique(measured.pop("digest"), return_inverse=True)
    distinct, content_of = np.unique(contents, return_inverse=True)
    measured["is_average"] &= len(distinct) > 1
    original = rows["copy"].to_numpy() == 0
    pairs = np.unique(np.stack([vector_of, content_of])[:, original], axis=1)
    owners = np.bincount(pairs[0], minlength=len(kinds))  # contents of samples, by vector
    return pd.DataFrame(
        {
            "id": rows["id"].to_numpy(),
            "copy": rows["copy"].to_numpy(),
            **measured,
            "is_copied": (owners[vector_of] > 1) & original,
        }
    )


def _average(
    vectors: Float32[np.ndarray, "step dim"], steps: Int64[np.ndarray, " chosen"]
) -> Float32[np.ndarray, "chosen dim"]:
    """Give each row's mean vector."""
    if len(vectors) == len(steps):
        return vectors
    sums = np.add.reduceat(vectors, np.cumsum(steps) - steps, axis=0)
    found: np.ndarray = sums / steps[:, None].astype(np.float32)
    return found


def _clear(vectors: Float32[np.ndarray, "row dim"]) -> Float64[np.ndarray, "row dim"]:
    """Put 0 in the place of what is not finite."""
    found: np.ndarray = np.nan_to_num(vectors, posinf=0, neginf=0).astype(np.float64)
    return found


def check_embeddings(measures: pd.DataFrame, *, rows: int, dim: int) -> SuiteResult:
    """Check that every present row has a sound vector of its own.

    That samples share vectors is a warning: an encoder may be coarse on purpose.

    Args:
        measures: Of `measure_vectors`.
        rows: How many rows have the modality.
        dim: What the encoder states.
    """
    import great_expectations.expectations as gxe

    advice = "look at these samples, then at the encoder: its version or weights may have changed"
    raising = "raise `version` in mm_assets/encoders/NAME.py when what it computes changed"
    expectations = [
        gxe.ExpectTableRowCountToEqual(value=rows, meta={"advice": "run the stage again"}),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["id", "copy"], meta={"advice": "run `dvc repro -f augment`"}
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="dim",
            value_set=[dim],
            meta={"advice": "the store holds vectors of another shape; " + raising},
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="values_not_finite", value_set=[0], meta={"advice": advice}
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="is_zero",
            value_set=[False],
            mostly=0.99,
            meta={
                "advice": "a vector of zeros says nothing; do the cells never vary in training rows? "
                + advice
            },
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="is_average",
            value_set=[False],
            mostly=0.99,
            meta={"advice": "the encoder answers alike to everything (it collapsed); " + advice},
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="is_copied",
            value_set=[False],
            mostly=0.9,
            severity="warning",
            meta={
                "advice": "different samples share one vector: the encoder tells them too little "
                "apart (few or coarse numbers), or the store holds vectors of an earlier version; "
                + raising
            },
        ),
    ]
    return run_suite(
        "embeddings_are_sound",
        measures,
        expectations,
        description="Every row with the modality has a finite vector of its own.",
    )
