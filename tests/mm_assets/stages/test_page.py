import re

import pytest

from mm_assets.contracts.report import read_report
from mm_assets.stages.augment import augment
from mm_assets.stages.run import check_data, write_report
from mm_assets.stages.validate import validate


@pytest.fixture
def messy(small):
    """A broken picture, a word that never runs, and an expectation that two rows break."""
    (small.root / "data/3.png").write_bytes(b"no picture")
    small.table.loc[4, "words"] = "<script>alert(1)</script>"
    small.params["modalities"]["text"]["options"] = {"markup": "keep"}
    small.table.loc[6, "feeling"] = "odd"
    small.params["expectations"] = {
        "words": [
            {
                "type": "expect_column_value_lengths_to_be_between",
                "max_value": 17,
                "severity": "warning",
            }
        ]
    }
    return small


def make_page(project, stage):
    report = stage(project)
    write_report(project, report)
    return report, project.workspace.page(report.stage).read_text()


def test_the_page_of_validate_shows_quarantine_and_worst_rows(messy):
    report, page = make_page(messy.load(), validate)
    (failed,) = [result for suite in report.suites for result in suite.failed]
    assert failed.samples == ("s4",)  # 25 characters, all others have 16 or 17
    assert "Passed, with 1 warning" in page
    assert "image unreadable" in page
    assert "3.png" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    quarantine = page[page.index('id="quarantine"') :]
    assert quarantine.count("<img") == 1  # the whole row of the odd label, not the broken picture


@pytest.mark.slow
def test_equal_runs_give_equal_pages(messy):
    project = messy.load()
    assert make_page(project, validate)[1] == make_page(project, validate)[1]


def test_a_page_is_written_when_the_table_stops_everything(small):
    small.table = small.table.rename(columns={"file": "picture"})
    _, page = make_page(small.load(), validate)
    assert "Stopped: " in page
    assert "rows not looked at" in page


@pytest.mark.slow
def test_a_later_stage_shows_its_plots_and_the_rows_that_it_names(small):
    project = small.load()
    validate(project)
    report = augment(project)
    write_report(project, report)
    page = project.workspace.page("augment").read_text()
    assert "Training samples beside their first copy" in page
    assert re.search(r'<img alt="[^"]+" src="data:image/jpeg;base64,', page)
    # A result that names rows, as embed's do.
    (suite,) = report.suites
    named = suite.results[0].model_copy(
        update={"success": False, "samples": ("s1", "gone"), "unexpected": 2}
    )
    suites = (suite.model_copy(update={"results": (named,)}),)
    write_report(project, report.model_copy(update={"stage": "embed@text", "suites": suites}))
    page = project.workspace.page("embed@text").read_text()
    assert page.count("message number 1</span>") == 1  # the sample, and not its copies
    assert "<b>gone</b>" in page


def test_a_check_leaves_the_pipelines_outs_and_the_folder_alone(messy, read_bytes):
    messy.load()
    elsewhere = messy.root / "elsewhere"
    (messy.root / "data").rename(elsewhere)
    before = read_bytes(elsewhere)
    report, project = check_data(messy.root, elsewhere)
    assert (report.rows_in, report.rows_out) == (60, 58)
    assert read_bytes(elsewhere) == before
    assert not (messy.root / "artifacts").exists()
    assert project.workspace.page("validate") == messy.root / ".mm/check/pages/validate.html"
    assert read_report(messy.root / ".mm/check/reports/validate.json") == report
