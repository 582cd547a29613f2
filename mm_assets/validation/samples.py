"""Are the samples that stay fit to learn from, and did enough of them stay?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from mm_assets.data.table import ID
from mm_assets.validation.runner import join_suites, run_suite

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

    from mm_assets.contracts.config import Config
    from mm_assets.contracts.report import SuiteResult

NAME = "samples_are_valid"
# Ends of the names of measurements that are sizes, and so above 0 in any medium.
SIZES = ("_px", "_s", "_hz", "bytes", "chars", "words", "length", "peak")


def check_samples(
    samples: pd.DataFrame, probes: pd.DataFrame, config: Config, *, quarantined_share: float
) -> SuiteResult:
    """Check the samples that were not quarantined: suite `samples_are_valid`.

    Args:
        samples: As in `validated/samples.parquet`.
        probes: As in `validated/probes.parquet`.
        config: Classes and gates.
        quarantined_share: Of all rows of the raw table, in [0, 1].

    Returns:
        Results on the table, on each modality's measurements and on each target's classes.
    """
    parts = [_check_share(quarantined_share, config), _check_table(samples, config)]
    for key in config.modalities:
        measured = probes[probes["modality"] == key].dropna(axis=1, how="all")
        parts.append(_check_measurements(measured, key))
    parts += [_check_classes(samples[key], key, config) for key in config.targets]
    return join_suites(
        parts, description="Ids are unique, labels known, every medium decodes, few rows were lost."
    )


def _check_share(quarantined_share: float, config: Config) -> SuiteResult:
    import great_expectations.expectations as gxe

    gate = config.gates.quarantined_share
    expectation = gxe.ExpectColumnMaxToBeBetween(
        column="quarantined_share",
        max_value=gate,
        description=f"at most {100 * gate:.4g} % of the rows are quarantined",
        meta={
            "advice": "look at artifacts/validated/quarantine.parquet and mend the rows; or, if they "
            "are to be left out, raise `gates.quarantined_share` in params.yaml"
        },
    )
    return run_suite(NAME, pd.DataFrame({"quarantined_share": [quarantined_share]}), [expectation])


def _check_table(samples: pd.DataFrame, config: Config) -> SuiteResult:
    import great_expectations.expectations as gxe

    expectations: list[Expectation] = [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, description="at least one row is left"),
        gxe.ExpectColumnValuesToNotBeNull(column=ID),
        gxe.ExpectColumnValuesToBeUnique(column=ID),
    ]
    expectations += [
        gxe.ExpectColumnValuesToBeInSet(column=key, value_set=target.classes)
        for key, target in config.targets.items()
        if target.classes
    ]
    return run_suite(NAME, samples, expectations)


def _check_measurements(measured: pd.DataFrame, key: str) -> SuiteResult:
    """Check that every medium was measured: a size, length or duration of 0 is no medium."""
    import great_expectations.expectations as gxe

    sizes = [
        name
        for name in measured.select_dtypes("number").columns.astype("str")
        if name.endswith(SIZES)
    ]
    expectations: list[Expectation] = [
        gxe.ExpectColumnValuesToBeBetween(
            column=name,
            min_value=0,
            strict_min=True,
            description=f"{key}: every `{name}` is above 0",
        )
        for name in sizes
    ]
    return run_suite(NAME, measured, expectations)


def _check_classes(labels: pd.Series, key: str, config: Config) -> SuiteResult:
    import great_expectations.expectations as gxe

    counts = labels.value_counts()
    classes = config.targets[key].classes or sorted(counts.index)
    shares = counts.reindex(classes, fill_value=0) / max(counts.sum(), 1)
    rarest = f"the rarest is {shares.idxmin()!r}; " if len(shares) else ""
    gate = config.gates.class_share
    frame = pd.DataFrame({key: shares.to_numpy(), "seen": (shares > 0).astype(int).to_numpy()})
    return run_suite(
        NAME,
        frame,
        [
            gxe.ExpectColumnSumToBeBetween(
                column="seen",
                min_value=2,
                description=f"at least 2 classes of {key} occur",
                meta={"advice": "a model cannot learn to tell one class from itself"},
            ),
            gxe.ExpectColumnMinToBeBetween(
                column=key,
                min_value=gate,
                severity="warning",
                description=f"every class has at least {100 * gate:.4g} % of the labelled rows",
                meta={
                    "advice": f"{rarest}collect more of it, or merge it with another class in "
                    f"`targets.{key}.classes`"
                },
            ),
        ],
    )
