"""Expectations that `params.yaml` gives beside ours, in Great Expectations' own terms."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mm_assets.contracts.errors import ConfigError
from mm_assets.data.table import ID
from mm_assets.validation.runner import join_suites, run_suite
from mm_assets.validation.samples import NAME

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

    from mm_assets.contracts.config import Config
    from mm_assets.contracts.report import SuiteResult

# Fields of Great Expectations' classes that are its own affair, or ours.
NOT_GIVEN = {
    "batch_id", "catch_exceptions", "column", "id", "rendered_content", "result_format", "windows",
}  # fmt: skip
# Parts of the names of types that look at a value as text, even where it could be a number.
ABOUT_TEXT = ("length", "regex", "like_pattern", "strftime", "dateutil", "json")


def read_expectations(config: Config) -> list[Expectation]:
    """Make Great Expectations' objects of section `expectations`, before any work.

    Importing Great Expectations takes seconds, so `load_project` leaves this to the stage.

    Returns:
        Expectations on one column each, named as in `params.yaml`, in its order.

    Raises:
        ConfigError: A type does not exist or is not about one column, or an argument is unknown,
            missing or out of range; names the key.
    """
    if not config.expectations:
        return []
    return [
        _build(column, entry.type, entry.arguments, where=f"expectations.{column}.{place}")
        for column, entries in config.expectations.items()
        for place, entry in enumerate(entries)
    ]


def require_columns(
    expectations: Sequence[Expectation], columns: Collection[str], modalities: Collection[str]
) -> None:
    """Refuse expectations of what is neither a column of the raw table nor measured.

    Args:
        expectations: Of `read_expectations`.
        columns: Of the raw table.
        modalities: Whose measurements are named ``MODALITY.measurement``.

    Raises:
        ConfigError: Names the key, and what there is.
    """
    for expectation in expectations:
        name = expectation.column
        if name in columns or (name.partition(".")[0] in modalities and "." in name):
            continue
        close = difflib.get_close_matches(name, columns, n=1)
        hint = f"; did you mean `{close[0]}`?" if close else "."
        raise ConfigError(
            f"params.yaml: `expectations.{name}` names no column of the table{hint} Columns are "
            f"{', '.join(columns)}; what is measured is named such as "
            f"{', '.join(f'{key}.…' for key in modalities)}"
        )


def check_expectations(
    expectations: Sequence[Expectation],
    raw: pd.DataFrame,
    *,
    ids: pd.Series,
    probes: pd.DataFrame,
) -> SuiteResult:
    """Check the rows that were kept against what `params.yaml` expects: suite `samples_are_valid`.

    A column of texts that are all numbers, as in a CSV, is compared as numbers, unless the
    expectation is about text (a pattern, a length, a set of texts).

    Args:
        expectations: Of `read_expectations`, at least one.
        raw: The kept rows of the raw table.
        ids: Sample id of each row of `raw`.
        probes: As in `validated/probes.parquet`.

    Returns:
        One result per expectation, in their order.
    """
    return join_suites(
        [_check(expectation, raw, ids, probes) for expectation in expectations], description=""
    )


def _check(
    expectation: Expectation, raw: pd.DataFrame, ids: pd.Series, probes: pd.DataFrame
) -> SuiteResult:
    name = expectation.column
    if name in raw:
        frame = raw
        if not _is_about_text(expectation):
            frame = raw.assign(**{name: _as_numbers(raw[name])})
        return run_suite(NAME, frame, [expectation], ids=ids)
    key = name.partition(".")[0]
    rows = probes[probes["modality"] == key]
    measured = rows.drop(columns=[ID, "modality", "content"]).dropna(axis=1, how="all")
    advice = {"advice": f"of {key!r} is measured: {', '.join(sorted(measured)) or 'nothing'}"}
    if name.removeprefix(f"{key}.") not in measured:
        expectation = expectation.copy(update={"meta": {**(expectation.meta or {}), **advice}})
    return run_suite(NAME, measured.add_prefix(f"{key}."), [expectation], ids=rows[ID])


def _is_about_text(expectation: Expectation) -> bool:
    values = getattr(expectation, "value_set", None) or []
    texts = isinstance(values, (list, tuple, set)) and any(isinstance(v, str) for v in values)
    return texts or any(part in expectation.expectation_type for part in ABOUT_TEXT)


def _as_numbers(values: pd.Series) -> pd.Series:
    """Turn texts into numbers if each of them is one."""
    if not (pd.api.types.is_string_dtype(values) or values.dtype == object):
        return values
    there = values.dropna()
    try:
        return pd.to_numeric(there).reindex(values.index)
    except (ValueError, TypeError):
        return values


def _build(column: str, kind: str, arguments: dict[str, Any], *, where: str) -> Expectation:
    """Make one expectation.

    Raises:
        ConfigError: As `read_expectations`.
    """
    from great_expectations.compatibility.pydantic import ValidationError

    known = _list_types()
    if kind not in known:
        close = difflib.get_close_matches(kind, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
        raise ConfigError(
            f"params.yaml: `{where}.type` must be a type of Great Expectations that is about one "
            f"column, got {kind!r}; {hint}"
        )
    fields = sorted(set(known[kind].__fields__) - NOT_GIVEN)
    advice = {"advice": f"mend these rows, or loosen `{where}` in params.yaml"}
    for name in arguments:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise ConfigError(
                f"params.yaml: `{where}.{name}` is no argument of {kind}{hint} (it takes "
                f"{', '.join(fields)})"
            )
    try:
        meta = ({} if arguments.get("notes") else advice) | (arguments.pop("meta", None) or {})
        return known[kind](column=column, meta=meta, **arguments)
    except ValidationError as error:
        # Where a value may be of several types, each gives an error; the first is the plainest.
        found = error.errors()[0]
        name = ".".join(str(part) for part in found["loc"] if part != "__root__")
        came = f", got {arguments[name]!r}" if name in arguments else ""
        at = f"{where}.{name}" if name else where
        raise ConfigError(f"params.yaml: `{at}` of {kind}: {found['msg']}{came}") from None


def _list_types() -> dict[str, type[Expectation]]:
    """List Great Expectations' types that are about one column, by name."""
    import great_expectations.expectations as gxe

    return {
        found.expectation_type: found
        for _, found in sorted(vars(gxe).items())
        if hasattr(found, "expectation_type") and "column" in found.__fields__
    }
