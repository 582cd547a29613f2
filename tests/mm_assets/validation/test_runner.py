import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
import pytest

from mm_assets.validation.runner import join_suites, run_suite

FRAME = pd.DataFrame({"name": ["a", "b", "b", None], "size": [1.0, 2.0, None, 40.0]})


def check_one(expectation, frame=FRAME):
    (result,) = run_suite("suite", frame, [expectation]).results
    return result


def test_a_met_expectation_says_what_was_expected_and_counts_what_was_looked_at():
    result = check_one(gxe.ExpectColumnValuesToBeBetween(column="size", min_value=0))
    assert result.success
    assert result.column == "size"
    assert result.expected == "values must be greater than or equal to 0"
    assert result.observed == "all 3 as expected"
    assert (result.evaluated, result.unexpected) == (3, 0)


def test_a_failed_expectation_names_share_and_values():
    result = check_one(gxe.ExpectColumnValuesToBeUnique(column="name"))
    assert not result.success
    assert not result.errored
    assert result.observed == "2 of 3 unexpected (66.7 %): b"
    assert result.unexpected == 2


def test_more_than_three_unexpected_values_end_in_an_ellipsis():
    frame = pd.DataFrame({"name": list("vwxyz")})
    result = check_one(gxe.ExpectColumnValuesToBeInSet(column="name", value_set=["v"]), frame)
    assert result.observed == "4 of 5 unexpected (80.0 %): w, x, y, …"


def test_a_long_unexpected_value_is_cut():
    frame = pd.DataFrame({"name": ["x" * 500]})
    result = check_one(gxe.ExpectColumnValuesToBeInSet(column="name", value_set=["v"]), frame)
    assert result.observed == f"1 of 1 unexpected (100.0 %): {'x' * 58} …"


def test_an_expectation_that_cannot_be_evaluated_is_errored_and_blocks():
    suite = run_suite("suite", FRAME, [gxe.ExpectColumnValuesToNotBeNull(column="absent")])
    (result,) = suite.results
    assert result.errored
    assert not result.success
    assert result.observed == (
        'could not be evaluated: The column "absent" in BatchData does not exist.'
    )
    assert suite.blocks


def test_an_expectation_that_pandas_cannot_run_is_errored():
    result = check_one(gxe.UnexpectedRowsExpectation(unexpected_rows_query="SELECT 1"))
    assert result.errored
    assert "No provider found" in result.observed


@pytest.mark.parametrize(
    ("severity", "expected", "blocks"),
    [("critical", "error", True), ("warning", "warning", False), ("info", "warning", False)],
)
def test_severity_decides_whether_a_failure_blocks(severity, expected, blocks):
    expectation = gxe.ExpectColumnValuesToBeUnique(column="name", severity=severity)
    suite = run_suite("suite", FRAME, [expectation])
    assert suite.results[0].severity == expected
    assert suite.blocks is blocks
    assert not suite.passed


@pytest.mark.parametrize("given", [{"meta": {"advice": "mend it"}}, {"notes": "mend it"}])
def test_advice_is_given_with_a_failure_alone(given):
    assert check_one(gxe.ExpectColumnValuesToBeUnique(column="name", **given)).advice == "mend it"
    assert check_one(gxe.ExpectColumnToExist(column="name", **given)).advice == ""


def test_results_keep_the_order_of_the_expectations():
    columns = ["size", "absent", "name"]
    suite = run_suite("s", FRAME, [gxe.ExpectColumnValuesToNotBeNull(column=c) for c in columns])
    assert [result.column for result in suite.results] == columns


def test_the_same_expectation_twice_gives_two_results():
    twice = [gxe.ExpectColumnToExist(column="name")] * 2
    assert len(run_suite("suite", FRAME, twice).results) == 2


def test_an_empty_table_meets_what_holds_for_every_row():
    empty = FRAME.iloc[:0]
    assert check_one(gxe.ExpectColumnValuesToBeUnique(column="name"), empty).observed == "no values"
    result = check_one(gxe.ExpectTableRowCountToBeBetween(min_value=1), empty)
    assert not result.success
    assert result.observed == "0"


def test_missing_members_of_a_set_are_named():
    result = check_one(
        gxe.ExpectColumnDistinctValuesToContainSet(column="name", value_set=["a", "y", "z"])
    )
    assert result.observed == "missing: y, z"


def test_equal_tables_give_equal_bytes():
    expectations = [
        gxe.ExpectColumnValuesToBeUnique(column="name"),
        gxe.ExpectColumnMeanToBeBetween(column="size", max_value=1 / 3),
        gxe.ExpectColumnValuesToNotBeNull(column="absent"),
    ]
    first, second = (run_suite("s", FRAME.copy(), expectations).model_dump_json() for _ in "12")
    assert first == second
    assert "0x" not in first  # no address of an object


def test_joined_suites_have_the_results_of_all_parts():
    parts = [run_suite("one", FRAME, [gxe.ExpectColumnToExist(column=c)]) for c in ("name", "no")]
    joined = join_suites(parts, description="both")
    assert (joined.name, joined.description) == ("one", "both")
    assert [result.success for result in joined.results] == [True, False]


ROWS = pd.DataFrame(
    {
        "id": ["a", "b", "c", "d", "e", "e"],
        "size": [-3.0, 5.0, 40.0, np.nan, np.inf, np.inf],
        "word": ["x", "yyyy", None, "zz", "", "x"],
    },
    index=[7, 9, 11, 13, 15, 17],  # rows that were filtered keep their labels
)


def name_worst(expectation, frame=ROWS):
    return check_one(expectation, frame).samples


def test_rows_furthest_from_a_range_are_named_first_and_once():
    between = gxe.ExpectColumnValuesToBeBetween(column="size", min_value=0, max_value=10)
    assert name_worst(between) == ("e", "c", "a")  # by inf, 30 and 3


def test_a_value_at_a_strict_bound_is_named_after_all_others():
    between = gxe.ExpectColumnValuesToBeBetween(column="size", min_value=5, strict_min=True)
    assert name_worst(between) == ("a", "b")


def test_texts_furthest_from_a_range_of_lengths_are_named_first():
    between = gxe.ExpectColumnValueLengthsToBeBetween(column="word", min_value=1, max_value=2)
    assert name_worst(between) == ("b", "e")  # two too long, one too short


@pytest.mark.parametrize(
    ("expectation", "samples"),
    [
        (gxe.ExpectColumnValuesToNotBeNull(column="word"), ("c",)),
        (gxe.ExpectColumnValuesToBeInSet(column="word", value_set=["x"]), ("b", "d", "e")),
        (gxe.ExpectColumnValuesToBeUnique(column="word"), ("a", "e")),
        (gxe.ExpectColumnValuesToMatchRegex(column="word", regex="^[xy]"), ("d", "e")),
        (gxe.ExpectCompoundColumnsToBeUnique(column_list=["id", "size"]), ("e",)),
        (gxe.ExpectColumnMaxToBeBetween(column="size", max_value=1), ()),
        (gxe.ExpectColumnValuesToBeInSet(column="id", value_set=list("abcde")), ()),
    ],
)
def test_rows_that_break_any_other_expectation_are_named_in_the_tables_order(expectation, samples):
    assert name_worst(expectation) == samples


def test_a_table_without_ids_names_no_rows():
    assert name_worst(gxe.ExpectColumnValuesToNotBeNull(column="name"), FRAME) == ()


def test_at_most_twelve_rows_are_named():
    frame = pd.DataFrame({"id": [f"s{n}" for n in range(40)], "size": range(40)})
    between = gxe.ExpectColumnValuesToBeBetween(column="size", max_value=-1)
    assert name_worst(between, frame) == tuple(f"s{39 - n}" for n in range(12))
    within = gxe.ExpectColumnValuesToBeInSet(column="size", value_set=[])
    assert name_worst(within, frame) == tuple(f"s{n}" for n in range(12))


def test_lists_are_named_by_their_length():
    frame = pd.DataFrame({"id": ["a", "b", "c"], "x": [[1, 2], None, np.zeros(3)]})
    suite = run_suite(
        "s",
        frame,
        [
            gxe.ExpectColumnValuesToNotBeNull(column="x"),
            gxe.ExpectColumnValuesToBeInSet(column="x", value_set=["2 values"]),
        ],
    )
    assert [result.observed for result in suite.results] == [
        "1 of 3 unexpected (33.3 %): null",
        "1 of 2 unexpected (50.0 %): 3 values",
    ]
    assert [result.samples for result in suite.results] == [("b",), ("c",)]
