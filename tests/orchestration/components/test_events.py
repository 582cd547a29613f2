from dataclasses import replace
from pathlib import PurePosixPath

import dagster as dg
import pytest

from mm_assets.contracts.errors import StageError
from mm_assets.contracts.report import ExpectationResult, Plot, StageReport, SuiteResult, Table
from orchestration.components.events import check_results, describe
from orchestration.components.evidence import MAX_PICTURE_BYTES
from orchestration.dvc_project import Record
from orchestration.dvc_stages import DagsterMeta, Stage

STAGE = Stage(
    target="train",
    asset="model",
    description="",
    is_source=False,
    deps=(),
    outs=(PurePosixPath("out"),),
    definition="d",
    report=None,
    meta=DagsterMeta(checks=("sound", "equal")),
)


def suite(name, *severities):
    return SuiteResult(
        name=name,
        results=tuple(
            ExpectationResult(
                expectation="e", success=False, severity=severity, expected="a", observed="b"
            )
            for severity in severities
        ),
    )


def report(**fields):
    return StageReport(stage="train", rows_in=2, rows_out=1, **fields)


@pytest.mark.parametrize(
    ("severities", "passed", "severity"),
    [
        ((), True, dg.AssetCheckSeverity.WARN),
        (("warning",), False, dg.AssetCheckSeverity.WARN),
        (("warning", "error"), False, dg.AssetCheckSeverity.ERROR),
    ],
)
def test_severity_is_that_of_the_worst_failure(severities, passed, severity):
    results = check_results(STAGE, report(suites=(suite("sound", *severities), suite("equal"))))
    assert (results[0].passed, results[0].severity) == (passed, severity)
    assert len(results[0].metadata["results"].records) == len(severities)


def test_a_stage_that_stopped_at_a_suite_may_lack_the_next():
    assert len(check_results(STAGE, report(suites=(suite("sound", "error"),)))) == 1


def test_a_stage_that_passed_must_have_every_suite():
    with pytest.raises(StageError, match=r"checks \['equal', 'sound'\].*suites \['sound'\]"):
        check_results(STAGE, report(suites=(suite("sound"),)))


def test_a_plot_too_large_for_the_database_is_shown_as_its_path(tmp_path):
    (tmp_path / "small.svg").write_text("<svg/>")
    (tmp_path / "large.png").write_bytes(bytes(MAX_PICTURE_BYTES + 1))
    names = ["small.svg", "large.png", "absent.png"]
    plots = tuple(Plot(title=name, path=name) for name in names)
    found = describe(tmp_path, STAGE, None, report(plots=plots))
    assert found["small.svg"].value == "![small.svg](data:image/svg+xml;base64,PHN2Zy8+)"
    assert found["large.png"] == dg.MetadataValue.path(tmp_path / "large.png")
    assert found["absent.png"] == dg.MetadataValue.path(tmp_path / "absent.png")


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    table = Table(title="reasons", columns=("reason", "rows"), rows=())
    found = describe(tmp_path, STAGE, None, report(tables=(table,)))
    assert [column.name for column in found["reasons"].schema.columns] == ["reason", "rows"]


def test_pages_are_shown_whether_they_are_an_out_or_lie_in_one(tmp_path):
    stage = replace(STAGE, outs=(PurePosixPath("out"), PurePosixPath("pages/train.html")))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/curves.html").write_text("")
    found = describe(tmp_path, stage, None, None)
    assert found["page: curves"] == dg.MetadataValue.path(tmp_path / "out/curves.html")
    assert found["page: train"] == dg.MetadataValue.path(tmp_path / "pages/train.html")


def test_a_page_links_to_what_was_recorded_and_of_a_failed_run_to_what_lies_there(tmp_path):
    page = PurePosixPath("out/a b.html")
    stage = replace(STAGE, outs=(page,))
    kept = Record(up_to_date=True, version="v", report=None, size={}, pages={page: "0f/a b.html"})
    for record, address in ((kept, "0f/a%20b.html"), (None, "workspace/out/a%20b.html")):
        found = describe(tmp_path, stage, record, None, pages="http://127.0.0.1:3001/")
        assert found["page: a b"] == dg.MetadataValue.url(f"http://127.0.0.1:3001/{address}")


def test_a_report_says_what_is_shown_instead_of_declared_metrics(tmp_path):
    file = tmp_path / "m.json"
    file.write_text('{"rows": 5}')
    path = PurePosixPath("m.json")
    kept = Record(up_to_date=True, version="v", report=None, size={}, evidence={path: file})
    stage = replace(STAGE, metrics=(path,))
    assert describe(tmp_path, stage, kept, None)["rows"] == dg.MetadataValue.int(5)
    assert "rows" not in describe(tmp_path, stage, kept, report())
