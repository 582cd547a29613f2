"""What a model must beat on test rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mm_assets.contracts.report import SuiteResult
from mm_assets.validation.runner import run_suite


def check_evidence(
    evidence: Mapping[str, Mapping[str, Any]], headlines: Mapping[str, str]
) -> SuiteResult:
    """Check that every target beats its baselines, and that no slice of its rows is worse.

    Args:
        evidence: By target, as `evidence.json` holds it.
        headlines: The metric that is compared, by target.
    """
    import great_expectations.expectations as gxe
    import pandas as pd

    gains: dict[str, float] = {}
    expectations = []
    for name, found in evidence.items():
        metric = headlines[name]
        column = f"{name}_{metric}_above_majority"
        gains[column] = found["as_given"][metric] - found["majority"][metric]
        expectations.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=column,
                min_value=0,
                strict_min=True,
                severity="critical",
                meta={
                    "advice": f"the model knows no more of {name!r} than its most frequent answer: "
                    "look at the labels, add rows, or choose other encoders"
                },
            )
        )
        if "fusion_vs_best_single" in found:
            column = f"{name}_{metric}_above_best_single"
            gains[column] = found["fusion_vs_best_single"]["difference"]
            best = found["fusion_vs_best_single"]["best_single"]
            expectations.append(
                gxe.ExpectColumnValuesToBeBetween(
                    column=column,
                    min_value=0,
                    strict_min=True,
                    severity="warning",
                    meta={
                        "advice": f"{best!r} alone is as good for {name!r}: try another "
                        "`fusion.name`, or leave the other modalities out"
                    },
                )
            )
        baselines = found["baselines"]
        alone = [key for key, one in baselines["alone"].items() if one.get("is_better")]
        better = [f"a model of {key} alone" for key in alone]
        better += ["a linear model"] if baselines["linear"].get("is_better") else []
        better += [
            f"a model trained for {key} alone"
            for key, one in baselines.get("gaps", {}).items()
            if one["is_better"] and key not in alone
        ]
        column = f"{name}_baselines_that_are_better"
        gains[column] = len(better)
        expectations.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=column,
                max_value=0,
                severity="warning",
                meta={
                    "advice": f"{', '.join(better)} tells {name!r} better, by more than chance: try "
                    "another `fusion.name`, a lower `fusion.dropout` or `train.modality_dropout`"
                },
            )
        )
        column = f"{name}_slices_worse_than_the_rest"
        worse = [one for one in found["slices"] if one["is_worse"]]
        gains[column] = len(worse)
        expectations.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=column,
                max_value=0,
                severity="warning",
                meta={
                    "advice": "look at the errors there, and add such rows: "
                    + "; ".join(
                        f"{one['column']} {one['value']!r} with {metric} {one[metric]:.3f} in "
                        f"{one['rows']} rows, {-one['difference']:.3f} below the rest (adjusted "
                        f"p {one['p_adjusted']:.2g})"
                        for one in worse
                    )
                },
            )
        )
    return run_suite(
        "model_beats_baselines",
        pd.DataFrame([gains]),
        expectations,
        description="Every target is told better than by its most frequent answer, better by all "
        "modalities together than by the best one alone, and as well as by any model that is "
        "simpler or trained for some modalities alone; and no slice of the rows is worse.",
    )
