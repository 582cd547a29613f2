from mm_assets.contracts.report import ExpectationResult, StageReport, SuiteResult
from mm_assets.stages import run as running


def test_a_stages_warnings_are_told_with_what_to_do(project, run, monkeypatch):
    warning = ExpectationResult(
        expectation="expect_column_max_to_be_between",
        column="code",
        success=False,
        errored=False,
        severity="warning",
        expected="code alone avoids at most 95 % of the errors of guessing mood",
        observed="100 %",
        unexpected=0,
        evaluated=9,
        advice="is it known before the label?",
        samples=(),
    )
    suite = SuiteResult(name="splits_are_sound", description="", results=(warning,))
    report = StageReport(stage="augment", rows_in=9, rows_out=18, suites=(suite,))
    monkeypatch.setattr(running, "run_stage", lambda root, name, key: report)

    assert run("stage", "augment") == (
        "warning code alone avoids at most 95 % of the errors of guessing mood (code): 100 %\n"
        "  what to do: is it known before the label?\n"
    )
