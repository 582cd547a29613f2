"""Running a Great Expectations suite over one table, with results a person can read.

Which rows are the worst is found in pandas: asking Great Expectations for the index of every
failing row costs 71 s and 1.3 GB at a million of them. It names the first 20 at no cost.
"""

from __future__ import annotations

import functools
import logging
import math
import numbers
import sys
from collections.abc import Hashable, Mapping, Sequence
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_assets.contracts.report import ExpectationResult, SuiteResult
from mm_assets.data.table import ID
from mm_assets.validation.previews import shorten

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation

SHOWN_VALUES = 3  # unexpected values named in a result's text
SHOWN_CHARS = 60  # of each
SHOWN_SAMPLES = 12  # ids of rows that break an expectation
RANGES = {"expect_column_values_to_be_between", "expect_column_value_lengths_to_be_between"}


def run_suite(
    name: str,
    frame: pd.DataFrame,
    expectations: Sequence[Expectation],
    *,
    description: str = "",
    ids: pd.Series | None = None,
) -> SuiteResult:
    """Check a table against expectations.

    An expectation's `severity` tells whether its failure stops the pipeline (`critical`, the
    default) or is only shown (`warning`); its `meta["advice"]`, or else its `notes`, says what to
    do about it; with `meta["share"]` what was observed is shown in percent; its `description`, where
    given, replaces the text that Great Expectations makes for it.

    Args:
        name: The suite's name, the same in `dvc.yaml`, Dagster and the model card.
        frame: The table; it may be empty.
        expectations: Of `great_expectations.expectations`.
        description: One sentence for a person.
        ids: Sample id of each row, in the order of `frame`; by default its column ``id``, if any.

    Returns:
        One result per expectation, in their order, with texts that are equal for equal tables. One
        that could not be evaluated (its column is missing, say) is `errored`. Where there are ids,
        a failure on rows names some of them: those furthest from a range of numbers (or of
        lengths) first, for any other expectation in the table's order.
    """
    from great_expectations import ExpectationSuite

    # Results of expectations that raised come first, so each one carries its place.
    placed = [
        expectation.copy(update={"meta": {**(expectation.meta or {}), "place": place}})
        for place, expectation in enumerate(expectations)
    ]
    frame = _name_lists(
        frame.reset_index(drop=True)
    )  # Great Expectations names rows by their index
    ids = frame.get(ID) if ids is None else ids.reset_index(drop=True)
    batch = _whole_frame().get_batch(batch_parameters={"dataframe": frame})
    outcome = batch.validate(
        ExpectationSuite(name=name, expectations=placed), result_format="SUMMARY"
    )
    results = sorted(outcome.results, key=lambda result: result.expectation_config.meta["place"])
    return SuiteResult(
        name=name,
        description=description,
        results=tuple(_describe(result, frame, ids) for result in results),
    )


def join_suites(parts: Sequence[SuiteResult], *, description: str = "") -> SuiteResult:
    """Make one suite of what was checked on several tables, under the name of the first."""
    results = tuple(result for part in parts for result in part.results)
    return SuiteResult(name=parts[0].name, description=description, results=results)


def _name_lists(frame: pd.DataFrame) -> pd.DataFrame:
    """Write ``16 values`` in place of each list.

    Great Expectations fingerprints the table, and has to pickle it whole where a cell has no hash:
    40 s for a million lists.
    """

    def write(cell: object) -> object:
        return cell if isinstance(cell, Hashable) else f"{len(cell)} values"

    lists = frame.columns[frame.dtypes.astype("str") == "object"]
    return frame.assign(**{name: frame[name].map(write) for name in lists})


@functools.cache
def _whole_frame() -> BatchDefinition:
    """Make the process's one ephemeral context: nothing on disk, no progress bars, no analytics."""
    import great_expectations as gx

    # It logs a traceback for every expectation that raises; the result carries it already.
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("tables")
    return source.add_dataframe_asset("table").add_batch_definition_whole_dataframe("whole")


def _describe(
    outcome: ExpectationValidationResult, frame: pd.DataFrame, ids: pd.Series | None
) -> ExpectationResult:
    """Turn one outcome into our own, shorter form."""
    config = outcome.expectation_config
    result = outcome.result or {}
    raised = _find_exception(outcome.exception_info or {})
    notes = [config.notes] if isinstance(config.notes, str) else config.notes or []
    return ExpectationResult(
        expectation=config.type,
        column=config.kwargs.get("column"),
        success=bool(outcome.success),
        errored=raised is not None,
        severity="error" if config.severity in (None, "critical") else "warning",
        expected=config.description or _read_expected(outcome),
        observed=f"could not be evaluated: {raised}" if raised else _read_observed(outcome),
        unexpected=int(result.get("unexpected_count") or 0),
        evaluated=int(result.get("element_count", len(frame)))
        - int(result.get("missing_count") or 0),
        advice="" if outcome.success else config.meta.get("advice") or " ".join(notes),
        samples=() if outcome.success else _name_worst(outcome, frame, ids),
    )


def _name_worst(
    outcome: ExpectationValidationResult, frame: pd.DataFrame, ids: pd.Series | None
) -> tuple[str, ...]:
    """Give ids of rows that break an expectation on rows; see `run_suite`."""
    places = (outcome.result or {}).get("partial_unexpected_index_list")
    if not places or ids is None:
        return ()
    excess = _measure_excess(outcome, frame)
    if excess is not None:
        # Two rows of one id (a sample and its copy) are named once, so the cut comes last.
        places = excess[excess > 0].sort_values(ascending=False, kind="stable").index
    worst = ids.iloc[places].dropna().astype("str")
    return tuple(worst.drop_duplicates()[:SHOWN_SAMPLES])


def _measure_excess(outcome: ExpectationValidationResult, frame: pd.DataFrame) -> pd.Series | None:
    """Measure how far each row is outside a range; above 0 for the rows that break it.

    Returns:
        float64 (row,), or null where the expectation has no range of numbers or lengths, or holds
        for some rows only.
    """
    config = outcome.expectation_config
    bounds = [config.kwargs.get(key) for key in ("min_value", "max_value")]
    if config.type not in RANGES or config.kwargs.get("row_condition"):
        return None
    if not all(isinstance(bound, (numbers.Real, type(None))) for bound in bounds):
        return None
    column = frame[config.kwargs["column"]]
    values = (column.str.len() if "length" in config.type else column).astype("float64")
    low, high = (
        math.copysign(math.inf, sign) if b is None else float(b)
        for b, sign in zip(bounds, (-1, 1), strict=True)
    )
    above, below = values - high, low - values
    # A value at a strict bound breaks it by the least that there is.
    for side, strict in ((below, "strict_min"), (above, "strict_max")):
        if config.kwargs.get(strict):
            side[side == 0] = sys.float_info.min
    excess: pd.Series = below.where(below > above, above)
    return excess


def _find_exception(info: Mapping[str, Any]) -> str | None:
    """Give the first exception's message; Great Expectations nests them by metric."""
    entries = [info] if "raised_exception" in info else list(info.values())
    for entry in entries:
        if entry["raised_exception"]:
            return str(entry["exception_message"]).removeprefix("Error: ")
    return None


def _read_expected(outcome: ExpectationValidationResult) -> str:
    """Let Great Expectations say what was expected, such as "values must be unique"."""
    outcome.render()
    content = outcome.expectation_config.rendered_content[0].value
    if content.template is None:  # it has no text for, among others, UnexpectedRowsExpectation
        return str(outcome.expectation_config.type).replace("_", " ").removeprefix("expect ")
    values = {name: _show(param["value"]) for name, param in (content.params or {}).items()}
    text = Template(content.template.removeprefix("$column ")).safe_substitute(values)
    return text[:1].lower() + text[1:].rstrip(".")


def _read_observed(outcome: ExpectationValidationResult) -> str:
    """Say what was found: counts and examples of values, or the observed value."""
    result = outcome.result or {}
    if "unexpected_count" in result:
        return _read_counts(result)
    missing = result.get("details", {}).get("mismatched", {}).get("missing")
    if missing:
        return f"missing: {_show(sorted(missing, key=str))}"
    if result.get("partial_missing_list"):
        return f"missing: {_show(sorted(result['partial_missing_list'], key=str))}"
    if result.get("observed_value") is None and outcome.success:
        return "as expected"
    if "observed_value" in result:
        share = outcome.expectation_config.meta.get("share")
        value = result["observed_value"]
        if value is None:
            return "no values"
        return f"{100 * value:.4g} %" if share else _show(value)
    return "absent"


def _read_counts(result: Mapping[str, Any]) -> str:
    evaluated = result["element_count"] - (result.get("missing_count") or 0)
    unexpected = result["unexpected_count"]
    if not unexpected:
        return f"all {evaluated} as expected" if evaluated else "no values"
    values = (shorten(_show(value), SHOWN_CHARS) for value in result["partial_unexpected_list"])
    examples = list(dict.fromkeys(values))
    return (
        f"{unexpected} of {evaluated} unexpected ({100 * unexpected / evaluated:.1f} %): "
        + ", ".join(examples[:SHOWN_VALUES])
        + (", …" if len(examples) > SHOWN_VALUES else "")
    )


def _show(value: object) -> str:
    """Write a value shortly and always in the same way."""
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return ", ".join(_show(item) for item in value)
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, numbers.Integral)):
        return "null" if math.isnan(value) else f"{float(value):.4g}"
    return "null" if value is None else str(value)
