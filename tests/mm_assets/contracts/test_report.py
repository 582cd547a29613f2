import pytest

from mm_assets.contracts.errors import StageError
from mm_assets.contracts.report import (
    ExpectationResult,
    StageReport,
    SuiteResult,
    Table,
    read_report,
    summarize_failures,
)


def report_with(severity, success=False):
    result = ExpectationResult(
        expectation="expect_column_max_to_be_between",
        column="share",
        success=success,
        severity=severity,
        expected="at most 0.05",
        observed="0.2",
        advice="mend the rows",
    )
    return StageReport(
        stage="validate",
        rows_in=10,
        rows_out=8,
        suites=(SuiteResult(name="rows", results=(result,)),),
    )


@pytest.mark.parametrize(
    ("severity", "success", "passes", "blocks"),
    [("error", False, False, True), ("warning", False, False, False), ("error", True, True, False)],
)
def test_only_a_failed_error_blocks(severity, success, passes, blocks):
    report = report_with(severity, success)

    assert report.suites[0].passed is passes
    assert report.blocks is blocks


def test_a_report_survives_its_file(tmp_path):
    path = tmp_path / "validate.json"
    path.write_text(report_with("error").model_dump_json())

    assert read_report(path) == report_with("error")


def test_the_summary_names_suite_column_both_values_and_the_mend():
    assert summarize_failures(report_with("error")) == (
        "stage validate failed its checks:\n"
        "  rows: expected: at most 0.05 (share); got 0.2; mend the rows"
    )


def test_a_table_is_found_by_its_first_column():
    about = Table(title="About", columns=("", "reason"), rows=())
    reasons = Table(title="Quarantined", columns=("reason", "rows"), rows=(("file_empty", 2),))
    report = report_with("error").model_copy(update={"tables": (about, reasons)})

    assert report.find_table("reason") == reasons
    assert report.find_table("rows") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not found; run its stage"),
        ("{", "damaged or of another release"),
        (
            report_with("error").model_copy(update={"schema_version": 9}).model_dump_json(),
            "schema version 9",
        ),
    ],
)
def test_an_unreadable_report_says_what_to_do(tmp_path, text, message):
    path = tmp_path / "validate.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(StageError, match=message):
        read_report(path)
