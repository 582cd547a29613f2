"""Are the samples that stay fit to learn from, and did enough of them stay?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from mm_assets.data.table import ID
from mm_assets.validation.runner import join_suites, run_suite

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

    from mm_assets.contracts.config import Config
    from mm_assets.contracts.report import SuiteResult

NAME = "samples_are_valid"
SHOWN_REASONS = 3  # of quarantine, in a message
MOST_CLASSES = 1000
FEW_CLASSES = 20  # so many are fine with any number of rows
DATE = r"\d{4}-\d{2}-\d{2}(?!\d)"  # ISO 8601, with or without a time
# Ends of the names of measurements that are sizes, and so above 0 in any medium.
SIZES = ("_px", "_s", "_hz", "bytes", "chars", "words", "length", "peak")


def check_samples(
    samples: pd.DataFrame,
    probes: pd.DataFrame,
    config: Config,
    *,
    outlines: Mapping[str, pd.Series],
    findings: pd.DataFrame,
    quarantined_share: float,
) -> SuiteResult:
    """Check the samples that were not quarantined: suite `samples_are_valid`.

    Args:
        samples: As in `validated/samples.parquet`.
        probes: As in `validated/probes.parquet`.
        config: Classes and gates.
        outlines: By target that has classes, the class of each labelled row, repeated where a row
            has several labels; the index is that of `samples`.
        findings: Why the other rows were quarantined.
        quarantined_share: Of all rows of the raw table, in [0, 1].

    Returns:
        Results on the table, on each modality's measurements and on each target's labels.
    """
    parts = [_check_share(quarantined_share, findings, config), _check_table(samples)]
    for key in config.modalities:
        measured = probes[probes["modality"] == key] if len(probes) else probes
        parts.append(_check_measurements(measured.dropna(axis=1, how="all"), key))
    for key in config.targets:
        if key in outlines:
            parts.append(_check_classes(outlines[key], int(samples[key].count()), key, config))
        else:
            parts.append(_check_numbers(samples[key], key))
    return join_suites(
        parts, description="Ids are unique, labels known, every medium decodes, few rows were lost."
    )


def _check_share(share: float, findings: pd.DataFrame, config: Config) -> SuiteResult:
    import great_expectations.expectations as gxe

    gate = config.gates.quarantined_share
    expectation = gxe.ExpectColumnMaxToBeBetween(
        column="quarantined_share",
        max_value=gate,
        description=f"at most {100 * gate:.4g} % of the rows are quarantined",
        meta={
            "share": True,
            "advice": f"{name_reasons(findings)}; `mm quarantine ls` lists the rows: mend them; or, if they "
            "are to be left out, raise `gates.quarantined_share` in params.yaml",
        },
    )
    return run_suite(NAME, pd.DataFrame({"quarantined_share": [share]}), [expectation])


def name_reasons(findings: pd.DataFrame) -> str:
    """Name the most frequent reasons of quarantine, each with its most frequent detail."""
    rows = findings.groupby("reason")["row"].nunique().nlargest(SHOWN_REASONS)
    named = []
    for reason, count in rows.items():
        found = findings[findings["reason"] == reason]
        details = found["detail"].value_counts()
        detail, alike = details.index[0], int(details.iloc[0])
        example = found.loc[found["detail"] == detail, "id"].iloc[0]
        named.append(
            f"{reason} in {count} row{'s' * (count > 1)}, "
            + (f"{alike} of them " if 1 < alike < count else "")
            + f"such as {'one without id' if pd.isna(example) else repr(example)}: {detail}"
        )
    return "most frequent reasons: " + "; ".join(named) if named else "no row was refused"


def _check_table(samples: pd.DataFrame) -> SuiteResult:
    import great_expectations.expectations as gxe

    expectations: list[Expectation] = [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, description="at least one row is left"),
        gxe.ExpectColumnValuesToNotBeNull(column=ID),
        gxe.ExpectColumnValuesToBeUnique(column=ID),
    ]
    return run_suite(NAME, samples[[ID]], expectations)


def _check_measurements(measured: pd.DataFrame, key: str) -> SuiteResult:
    """Check that every medium was measured: a size, length or duration of 0 is no medium."""
    import great_expectations.expectations as gxe

    sizes = [
        name
        for name in measured.select_dtypes("number").columns.astype("str")
        if name.endswith(SIZES)
    ]
    expectations: list[Expectation] = [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=1,
            description=f"at least one valid sample has {key}",
            meta={
                "advice": f"mend the quarantined rows that have it, or take `modalities.{key}` out "
                "of params.yaml"
            },
        )
    ]
    expectations += [
        gxe.ExpectColumnValuesToBeBetween(
            column=name,
            min_value=0,
            strict_min=True,
            description=f"{key}: every `{name}` is above 0",
        )
        for name in sizes
    ]
    return run_suite(NAME, measured.filter([ID, *sizes]), expectations)


def _check_classes(outline: pd.Series, rows: int, key: str, config: Config) -> SuiteResult:
    """Check that classes are legal, few, frequent and no dates.

    Args:
        outline: Of a target that has classes.
        rows: How many have a label.
        key: The target's.
        config: Classes and gates.
    """
    import great_expectations.expectations as gxe

    counts = outline.value_counts()
    given = config.targets[key].classes
    classes = given or sorted(counts.index)
    shares = counts.reindex(classes, fill_value=0) / max(rows, 1)
    most = min(MOST_CLASSES, max(FEW_CLASSES, rows // 2))
    rarest = f"the rarest is {shares.idxmin()!r}; " if len(shares) else ""
    gate = config.gates.class_share
    legal: list[Expectation] = [gxe.ExpectColumnValuesToBeInSet(column=key, value_set=given or [])]
    seen: list[Expectation] = [
        gxe.ExpectColumnSumToBeBetween(
            column="seen",
            min_value=2,
            description=f"at least 2 classes of {key} occur",
            meta={
                "advice": "a model cannot learn to tell one class from itself"
                + (f"; every label of {key} is {counts.index[0]!r}" if len(counts) == 1 else "")
            },
        ),
        gxe.ExpectColumnSumToBeBetween(
            column="seen",
            max_value=most,
            description=f"at most {most} classes of {key} occur",
            meta={
                "advice": f"hardly any row shows what such a class looks like; set "
                f"`targets.{key}.kind: regression` if they are numbers, or name a column of fewer "
                f"classes as `targets.{key}.column`"
            },
        ),
        gxe.ExpectColumnMinToBeBetween(
            column=key,
            min_value=gate,
            severity="warning",
            description=f"every class has at least {100 * gate:.4g} % of the labelled rows",
            meta={
                "share": True,
                "advice": f"{rarest}collect more of it, or merge it with another class in "
                f"`targets.{key}.classes`",
            },
        ),
        gxe.ExpectColumnValuesToBeUnique(
            column="spelling",
            severity="warning",
            description=f"more than case, or spaces around them, tells the classes of {key} apart",
            meta={
                "advice": f"{_show_respelt(shares.index)} count as different classes; if they are "
                f"one, write it in one way in the column of `targets.{key}`"
            },
        ),
        gxe.ExpectColumnMaxToBeBetween(
            column="dates",
            max_value=0.5,
            severity="warning",
            description=f"the classes of {key} are no dates",
            meta={
                "advice": f"most of them look like {_show_date(counts)}; name the column that is "
                f"to be predicted as `targets.{key}.column`"
            },
        ),
    ]
    dated = counts.index.astype("str").str.match(DATE).mean() if len(counts) else 0.0
    frame = pd.DataFrame({key: shares.to_numpy(), "seen": (shares > 0).astype(int).to_numpy()})
    frame["spelling"] = _fold(shares.index)
    return join_suites(
        [
            *([run_suite(NAME, outline.to_frame(key), legal)] if given else []),
            run_suite(NAME, frame.assign(dates=dated), seen),
        ]
    )


def _fold(classes: pd.Index) -> list[str]:
    return [str(name).strip().casefold() for name in classes]


def _show_respelt(classes: pd.Index) -> str:
    """Name the first classes that are one but for case and spaces."""
    names = pd.Series(classes.astype("str"), index=_fold(classes))
    twice = names[names.index.duplicated(keep=False)]
    return ", ".join(map(repr, twice[twice.index == twice.index[0]])) if len(twice) else ""


def _show_date(counts: pd.Series) -> str:
    return next((repr(name) for name in counts.index if re.match(DATE, name)), "dates")


def _check_numbers(labels: pd.Series, key: str) -> SuiteResult:
    import great_expectations.expectations as gxe

    varies = gxe.ExpectColumnUniqueValueCountToBeBetween(
        column=key,
        min_value=2,
        description=f"the numbers of {key} vary",
        meta={"advice": f"`targets.{key}.column` says the same of every row"},
    )
    return run_suite(NAME, labels.to_frame(), [varies])
