"""What models must show before another is compared with them."""

from __future__ import annotations

from collections.abc import Mapping

from mm_assets.contracts.report import SuiteResult
from mm_assets.validation.runner import run_suite


def check_baselines(
    *,
    loss_fell_by: Mapping[str, float],
    parameters_not_finite: int,
    linear_gains: Mapping[str, float],
) -> SuiteResult:
    """Check that baselines have learned something: one that has not is beaten too easily.

    Args:
        loss_fell_by: By specialist, its validation loss before training less that of the kept
            epoch, in nats.
        parameters_not_finite: How many weights of the specialists are not finite.
        linear_gains: By target, how far the linear model's validation loss is below that of the
            best constant answer, in nats.
    """
    import great_expectations.expectations as gxe
    import pandas as pd

    learned = {f"{name}_loss_fell_by_nats": value for name, value in loss_fell_by.items()}
    learned |= {f"{name}_linear_gain_nats": value for name, value in linear_gains.items()}
    frame = pd.DataFrame([{"parameters_not_finite": parameters_not_finite, **learned}])
    expectations = [
        gxe.ExpectColumnValuesToBeBetween(
            column="parameters_not_finite",
            min_value=0,
            max_value=0,
            severity="critical",
            meta={"advice": "lower `train.learning_rate` in params.yaml"},
        ),
        *(
            gxe.ExpectColumnValuesToBeBetween(
                column=column,
                min_value=0,
                strict_min=True,
                severity="warning",
                meta={
                    "advice": "this baseline has learned nothing of use on validation rows, so "
                    "that to beat it says little: look at the modality's samples and its encoder"
                },
            )
            for column in learned
        ),
    ]
    return run_suite(
        "baselines_are_trained",
        frame,
        expectations,
        description="Every weight is finite, and every baseline has learned something.",
    )
