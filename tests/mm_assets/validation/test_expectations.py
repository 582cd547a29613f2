import re

import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.config import parse_config
from mm_assets.contracts.errors import ConfigError
from mm_assets.validation.expectations import (
    check_expectations,
    read_expectations,
    require_columns,
)

RAW = pd.DataFrame(
    {
        "key": ["a", "b", "c", "d"],
        "age": ["7", "150", None, "-2"],
        "zip": ["01234", "1234", "99999", "5"],
        "note": ["12", "many", "3", None],
        "price": [1.0, 2.0, np.nan, 400.0],
        "a.b": ["x", "y", "x", "z"],
    },
    index=[0, 2, 4, 5],  # the rows that were kept
)
PROBES = pd.DataFrame(
    {
        "id": ["s0", "s2", "s0"],
        "modality": ["image", "image", "text"],
        "content": "c",
        "width_px": [16.0, 900.0, np.nan],
        "chars": [np.nan, np.nan, 5.0],
    }
)


def configure(expectations):
    return parse_config(
        {
            "version": 2,
            "modalities": {"text": {"kind": "text", "column": "w", "encoder": {"name": "minilm"}}},
            "targets": {"mood": {"kind": "multiclass", "column": "m"}},
            "expectations": expectations,
        }
    )


def check(name, kind, **arguments):
    given = read_expectations(configure({name: [{"type": kind, **arguments}]}))
    ids = "s" + RAW.index.astype("str").to_series(index=RAW.index)
    suite = check_expectations(given, RAW, ids=ids, probes=PROBES)
    assert suite.name == "samples_are_valid"
    return suite.results[0]


def test_a_column_of_a_csv_that_holds_numbers_is_compared_as_numbers():
    found = check("age", "expect_column_values_to_be_between", min_value=0, max_value=120)
    assert (found.unexpected, found.evaluated) == (2, 3)
    assert found.samples == ("s2", "s5")  # by 30 and by 2 out of range
    assert (
        found.expected == "values must be greater than or equal to 0 and less than or equal to 120"
    )


def test_a_mean_is_taken_of_numbers_that_are_written_as_text():
    found = check("age", "expect_column_mean_to_be_between", max_value=51)
    assert (found.success, found.observed) == (False, "51.67")  # (7 + 150 - 2) / 3


def test_a_pattern_a_length_and_a_set_of_texts_see_the_text():
    assert check("zip", "expect_column_values_to_match_regex", regex="^0").unexpected == 3
    assert check("zip", "expect_column_value_lengths_to_equal", value=5).unexpected == 2
    found = check("zip", "expect_column_values_to_be_in_set", value_set=["01234", "5"])
    assert found.samples == ("s2", "s4")


def test_a_set_of_numbers_sees_numbers():
    assert check("zip", "expect_column_values_to_be_in_set", value_set=[1234, 5]).unexpected == 1


def test_a_column_with_one_value_that_is_no_number_stays_text():
    found = check("note", "expect_column_values_to_be_between", min_value=0)
    assert found.errored
    assert "could not be evaluated" in found.observed


def test_a_measurement_is_checked_on_the_rows_that_have_it():
    found = check("image.width_px", "expect_column_values_to_be_between", max_value=512)
    assert (found.column, found.samples) == ("image.width_px", ("s2",))
    assert found.evaluated == 2


def test_a_column_whose_name_has_a_dot_is_no_measurement():
    found = check("a.b", "expect_column_values_to_be_in_set", value_set=["x", "y"])
    assert found.samples == ("s5",)


def test_a_modality_that_no_row_has_is_said_to_measure_nothing():
    found = check("audio.duration_s", "expect_column_values_to_be_between", max_value=5)
    assert (found.errored, found.advice) == (True, "of 'audio' is measured: nothing")


def test_an_unknown_measurement_is_errored_and_says_what_there_is():
    found = check("image.height", "expect_column_values_to_be_between", max_value=512)
    assert found.errored
    assert found.advice == "of 'image' is measured: width_px"


# https://docs.greatexpectations.io/docs/core/define_expectations/create_an_expectation: with
# `mostly: 0.75` an expectation succeeds if at least 75 % of the values that are not null meet it.
@pytest.mark.parametrize(("mostly", "success"), [(0.75, True), (0.76, False)])
def test_mostly_is_the_least_share_of_values_that_must_be_as_expected(mostly, success):
    found = check(
        "zip", "expect_column_values_to_be_in_set", value_set=["01234", "1234", "5"], mostly=mostly
    )
    assert (found.success, found.unexpected) == (success, 1)


@pytest.mark.parametrize(
    ("severity", "ours"), [("critical", "error"), ("warning", "warning"), ("info", "warning")]
)
def test_severity_is_passed_on(severity, ours):
    found = check("price", "expect_column_max_to_be_between", max_value=5, severity=severity)
    assert (found.success, found.severity) == (False, ours)


def test_notes_and_description_are_shown():
    found = check(
        "price",
        "expect_column_max_to_be_between",
        max_value=5,
        description="cheap",
        notes="ask the shop",
    )
    assert (found.expected, found.advice) == ("cheap", "ask the shop")


def test_advice_without_notes_names_the_key():
    found = check("price", "expect_column_max_to_be_between", max_value=5)
    assert found.advice == "mend these rows, or loosen `expectations.price.0` in params.yaml"


def test_no_expectations_are_read_at_no_cost():
    assert read_expectations(configure({})) == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"type": "expect_column_values_to_be_betwen", "min_value": 0},
            r"`expectations.age.0.type` must be a type of Great Expectations that is about one "
            r"column, got 'expect_column_values_to_be_betwen'; did you mean "
            r"expect_column_values_to_be_between or ",
        ),
        (
            {"type": "expect_table_row_count_to_equal", "value": 3},
            r"must be a type of Great Expectations that is about one column",
        ),
        (
            {"type": "expect_column_values_to_be_between", "min_valu": 0},
            r"`expectations.age.0.min_valu` is no argument of expect_column_values_to_be_between; "
            r"did you mean `min_value`\? \(it takes .*mostly.*severity.*\)",
        ),
        (
            {"type": "expect_column_values_to_be_between", "min_value": 0, "column": "zip"},
            r"`expectations.age.0.column` is no argument",
        ),
        (
            {"type": "expect_column_values_to_be_between", "min_value": "old"},
            r"`expectations.age.0.min_value` of expect_column_values_to_be_between: value is not a "
            r"valid float, got 'old'",
        ),
        (
            {"type": "expect_column_values_to_be_between"},
            r"`expectations.age.0` of .*: min_value and max_value cannot both be None",
        ),
        (
            {"type": "expect_column_values_to_be_between", "min_value": 0, "severity": "error"},
            r"`expectations.age.0.severity` of .*'critical', 'warning', 'info', got 'error'",
        ),
        (
            {"type": "expect_column_values_to_be_unique", "mostly": 2},
            r"`expectations.age.0.mostly` .*less than or equal to 1.0, got 2",
        ),
        (
            {"type": "expect_column_values_to_be_in_set"},
            r"`expectations.age.0.value_set` of .*: field required",
        ),
    ],
)
def test_a_wrong_type_or_argument_is_named_by_its_key(entry, message):
    with pytest.raises(ConfigError, match=message):
        read_expectations(configure({"age": [entry]}))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"min_value": 0}, "`expectations.age.0.type` is missing"),
        ({"type": "between"}, r"`expectations.age.0.type`: string should match .* got 'between'"),
    ],
)
def test_an_entry_without_a_type_is_refused_with_the_configuration(entry, message):
    with pytest.raises(ConfigError, match=message):
        configure({"age": [entry]})


def test_an_unknown_column_names_columns_and_what_is_measured():
    given = read_expectations(configure({"agee": [{"type": "expect_column_values_to_be_unique"}]}))
    message = (
        "params.yaml: `expectations.agee` names no column of the table; did you mean `age`? "
        "Columns are key, age, zip, note, price, a.b; what is measured is named such as image.…"
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        require_columns(given, list(RAW.columns), ["image"])


@pytest.mark.parametrize("name", ["age", "a.b", "image.width_px"])
def test_a_column_and_a_measurement_of_a_modality_are_known(name):
    given = read_expectations(configure({name: [{"type": "expect_column_values_to_be_unique"}]}))
    require_columns(given, list(RAW.columns), ["image"])
