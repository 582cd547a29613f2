"""The exported file's suite: `onnx_matches_pytorch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mm_assets.contracts.report import SuiteResult
from mm_assets.validation.runner import run_suite

if TYPE_CHECKING:
    import pandas as pd


def check_export(
    differences: pd.DataFrame, *, megabytes: float, tolerance: float, largest_megabytes: float
) -> SuiteResult:
    """Check that the file answers as PyTorch does, and is not too large.

    Args:
        differences: One row per subset and batch size, with columns ``subset``, ``batch``,
            ``largest`` (largest difference of a probability on equal arrays, or of a number in its
            standard deviation) and ``served`` (the
            same for raw cells, against the answers from stored vectors).
        megabytes: Of the ONNX file (1e6 bytes).
        tolerance: Largest such difference that is allowed.
        largest_megabytes: Largest size that is allowed.
    """
    import great_expectations.expectations as gxe

    frame = differences.assign(megabytes=megabytes)
    return run_suite(
        "onnx_matches_pytorch",
        frame,
        [
            gxe.ExpectColumnValuesToBeBetween(
                column="largest",
                min_value=0,
                max_value=tolerance,
                meta={
                    "advice": "an operator differs between PyTorch and ONNX Runtime; the report's table says with which modality"
                },
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="served",
                min_value=0,
                max_value=tolerance,
                meta={
                    "advice": "the served model decodes other than the embed stage did; run `dvc repro` so that both read the same data"
                },
            ),
            gxe.ExpectColumnMaxToBeBetween(
                column="megabytes",
                max_value=largest_megabytes,
                meta={"advice": "choose smaller encoders or raise `gates.export_megabytes`"},
            ),
        ],
        description="ONNX Runtime gives PyTorch's answers for every subset of modalities.",
    )
