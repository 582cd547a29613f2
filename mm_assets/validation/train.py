"""What a trained model must show before anybody looks at test rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mm_assets.contracts.report import SuiteResult
from mm_assets.validation.runner import run_suite

if TYPE_CHECKING:
    import pandas as pd


def check_training(
    curve: pd.DataFrame, *, parameters_not_finite: int, gains: Mapping[str, float]
) -> SuiteResult:
    """Check that the loss fell, the weights are finite and every modality is used.

    Args:
        curve: One row per epoch, the untrained model first; `validation_loss` in nats.
        parameters_not_finite: How many weights of the kept model are not finite.
        gains: By modality: how far below the best constant answer the validation loss is when the
            modality is offered alone, in nats, for the target it helps most.
    """
    import great_expectations.expectations as gxe
    import pandas as pd

    losses = curve["validation_loss"]
    frame = pd.DataFrame(
        [
            {
                "loss_fell_by_nats": losses.iloc[0] - losses.min(),
                "parameters_not_finite": parameters_not_finite,
                **{f"{name}_gain_nats": gain for name, gain in gains.items()},
            }
        ]
    )
    expectations = [
        gxe.ExpectColumnValuesToBeBetween(
            column="loss_fell_by_nats",
            min_value=0,
            strict_min=True,
            description="the validation loss fell below that of the untrained model",
            severity="critical",
            meta={"advice": "raise `train.epochs` or change `train.learning_rate` in params.yaml"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="parameters_not_finite",
            min_value=0,
            max_value=0,
            description="every weight is finite",
            severity="critical",
            meta={"advice": "lower `train.learning_rate` in params.yaml"},
        ),
        *(
            gxe.ExpectColumnValuesToBeBetween(
                column=f"{name}_gain_nats",
                min_value=0,
                strict_min=True,
                description=f"{name} alone answers better than a constant, in nats",
                severity="warning",
                meta={
                    "advice": f"the model learns nothing from {name!r} alone: look at its samples "
                    "and its encoder, or take it out of params.yaml"
                },
            )
            for name in gains
        ),
    ]
    return run_suite(
        "model_is_trained",
        frame,
        expectations,
        description="The loss fell, every weight is finite and no modality is ignored.",
    )
