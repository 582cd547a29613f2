"""What a modality's vectors must show before a model is trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from mm_assets.contracts.report import SuiteResult
from mm_assets.validation.runner import run_suite

if TYPE_CHECKING:
    import pandas as pd

SAME = 4  # decimals of a vector relative to its norm: closer than that is the same vector


def measure_vectors(
    rows: pd.DataFrame, matrix: Float32[np.ndarray, "row dim"], contents: list[str]
) -> pd.DataFrame:
    """Measure each vector, in whole numbers and yes or no, which rounding cannot change.

    Args:
        rows: Columns ``id`` and ``copy``; one per present cell.
        matrix: float32 (row, dim).
        contents: The digest of what each vector was made of.

    Returns:
        ``id``, ``copy``, ``dim``, ``values_not_finite``, ``is_zero``, ``is_average`` (no further
        from the mean vector than rounding, though contents differ) and ``is_copied`` (a sample's
        vector is also that of another sample with other content).
    """
    import pandas as pd

    safe = np.nan_to_num(matrix, posinf=0, neginf=0).astype(np.float64)
    norms = np.linalg.norm(safe, axis=1)
    away = np.linalg.norm(safe - safe.mean(axis=0), axis=1)
    scaled = np.round(safe / np.maximum(norms, 1e-12)[:, None], SAME) + 0.0  # no negative zero
    frame = pd.DataFrame(
        {
            "vector": [row.tobytes() for row in scaled],
            "content": contents,
            "original": rows["copy"].to_numpy() == 0,
        }
    )
    owners = frame[frame["original"]].groupby("vector")["content"].nunique()
    shared = frame["vector"].map(owners).fillna(1) > 1
    return pd.DataFrame(
        {
            "id": rows["id"].to_numpy(),
            "copy": rows["copy"].to_numpy(),
            "dim": matrix.shape[1],
            "values_not_finite": (~np.isfinite(matrix)).sum(axis=1),
            "is_zero": norms == 0,
            "is_average": (frame["content"].nunique() > 1)
            & (away <= 10.0**-SAME * np.maximum(norms, 1e-12)),
            "is_copied": (shared & frame["original"]).to_numpy(),
        }
    )


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
            column="is_zero", value_set=[False], mostly=0.99, meta={"advice": advice}
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
