import subprocess
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest
from PIL import Image

from mm_assets.contracts.report import ExpectationResult, Plot, StageReport, SuiteResult, Table
from mm_assets.modalities.base import load_modality
from mm_assets.validation.page import SHOWN_ROWS, render_page, show_quarantine, show_samples

SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """What a browser would make of a page: its words by section, what it loads, what it runs."""

    def __init__(self, text):
        super().__init__()
        self.sections, self.loads, self.tags = {}, [], []
        self.at = "header"
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.at = given.get("id") or self.at if tag == "section" else self.at
        self.loads += [given[name] for name in ("src", "href", "srcset", "data") if name in given]

    def handle_data(self, data):
        self.sections[self.at] = " ".join(f"{self.sections.get(self.at, '')} {data}".split())


def result(**fields):
    given = {"expectation": "e", "success": True, "expected": "all good", "observed": "fine"}
    return ExpectationResult(**given | fields)


def report(*results, **fields):
    suite = SuiteResult(name="samples_are_valid", description="What holds.", results=results)
    return StageReport(stage="validate", rows_in=10, rows_out=8, suites=(suite,), **fields)


def render(given, samples=None, quarantine=None, pictures=None):
    return render_page(given, samples=samples or {}, pictures=pictures or {}, quarantine=quarantine)


FAILED = result(
    success=False,
    column="age",
    expected="at most `limit`",
    observed="3 of 9 unexpected",
    unexpected=3,
    advice="mend `params.yaml`",
    samples=("s1", "s2"),
)


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ((result(),), "Passed"),
        ((result(), FAILED), "Stopped: 1 check failed"),
        ((FAILED, FAILED), "Stopped: 2 checks failed"),
        ((FAILED.model_copy(update={"severity": "warning"}),), "Passed, with 1 warning"),
    ],
)
def test_the_verdict_comes_first(results, verdict):
    page = Page(render(report(*results)))
    assert f"Stage validate {verdict}" in page.sections["header"]
    assert ("attention" in page.sections) == (verdict != "Passed")


def test_a_failure_says_what_was_expected_what_was_found_and_what_to_do(tmp_path):
    rows = pd.DataFrame({"id": ["s1", "s2"], "text": ["hello", None]})
    samples = show_samples(rows, {"text": load_modality("text", {}, {}, where="x")}, tmp_path)
    text = render(report(result(), FAILED), samples=samples)
    shown = Page(text).sections["attention"]
    for words in ("failed", "at most limit age", "3 of 9 unexpected", "mend params.yaml"):
        assert words in shown
    assert "The worst rows: s1 text hello s2" in shown
    assert "mend <code>params.yaml</code>" in text
    assert "8 / 9" not in shown


def test_met_and_errored_expectations_are_told_apart():
    broken = result(success=False, errored=True, observed="could not be evaluated")
    checks = Page(render(report(result(), broken))).sections["checks"]
    assert "1 / 2 samples are valid What holds." in checks
    assert "met all good fine" in checks
    assert "not evaluated" in checks


def quarantine_of(tmp_path, count=1, reason="text_empty", modality="text"):
    findings = pd.DataFrame(
        {
            "row": range(1, count + 1),
            "id": [f"s{n}" for n in range(count)],
            "modality": modality,
            "reason": reason,
            "detail": "the text has no visible character",
        }
    )
    modalities = {
        "text": load_modality("text", {}, {}, where="x"),
        "photo": load_modality("image", {}, {}, where="x"),
    }
    rows = pd.DataFrame({"text": [" "] * count, "photo": ["a.png"] * count})
    return show_quarantine(findings, rows, modalities, tmp_path)


def test_the_quarantine_is_shown_by_reason_with_advice_and_the_cell_to_blame(tmp_path):
    shown = Page(render(report(), quarantine=quarantine_of(tmp_path))).sections["quarantine"]
    assert "text empty 1 row What to do: write the text ( --set COLUMN=TEXT )" in shown
    assert "1 s0 text the text has no visible character text no preview: the text has no" in shown
    assert "photo" not in shown


def test_a_row_without_one_modality_to_blame_shows_them_all(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    groups = quarantine_of(tmp_path, reason="label_unknown", modality=None)
    text = render(report(), quarantine=groups)
    assert "photo a.png" in Page(text).sections["quarantine"]
    assert [load[:22] for load in Page(text).loads] == ["data:image/jpeg;base64"]


def test_of_many_rows_the_first_are_shown_and_the_rest_counted(tmp_path):
    groups = quarantine_of(tmp_path, count=SHOWN_ROWS + 7)
    page = Page(render(report(), quarantine=groups))
    assert page.tags.count("tr") >= SHOWN_ROWS
    assert "and 7 more: mm quarantine ls --reason text_empty" in page.sections["quarantine"]
    assert f"s{SHOWN_ROWS - 1}" in page.sections["quarantine"]
    assert f"s{SHOWN_ROWS} " not in page.sections["quarantine"]


def test_reasons_are_ordered_by_their_rows_and_a_row_found_twice_counts_once(tmp_path):
    findings = pd.DataFrame(
        [
            (1, "a", None, "id_missing", "x"),
            (2, "b", None, "label_unknown", "mood"),
            (2, "b", None, "label_unknown", "intent"),
            (3, "c", None, "group_missing", "x"),
            (4, "d", None, "group_missing", "x"),
        ],
        columns=["row", "id", "modality", "reason", "detail"],
    )
    groups = show_quarantine(findings, pd.DataFrame(index=range(4)), {}, tmp_path)
    assert [(group.reason, group.rows) for group in groups] == [
        ("group_missing", 2),
        ("id_missing", 1),
        ("label_unknown", 1),
    ]


def test_a_table_that_stopped_everything_is_no_quarantine():
    page = Page(render(report(), quarantine=[]))
    assert "2 rows not looked at" in page.sections["header"]
    assert "quarantine" not in page.sections


def test_tables_metrics_and_plots_are_shown():
    given = report(
        metrics={"share": 0.123456},
        tables=(Table(title="About", columns=("a_b", "n"), rows=((None, 3),)),),
        plots=(Plot(title="Sheet", path="x.png"), Plot(title="Lost", path="y.png")),
    )
    page = Page(render(given, pictures={"x.png": "data:image/png;base64,AA"}))
    assert "share 0.1235" in page.sections["numbers"]
    assert "About a b n - 3" in page.sections["numbers"]
    assert page.sections["plots"].startswith("Plots Sheet")
    assert "Lost" not in page.sections["plots"]
    assert page.loads == ["data:image/png;base64,AA"]


def test_nothing_that_data_holds_runs(tmp_path):
    rows = pd.DataFrame({"id": ["s1"], "text": [SCRIPT], SCRIPT: [SCRIPT]})
    text = load_modality("text", {}, {}, where="x")
    findings = pd.DataFrame(
        [(1, SCRIPT, None, "label_unknown", SCRIPT)],
        columns=["row", "id", "modality", "reason", "detail"],
    )
    given = report(
        FAILED.model_copy(
            update=dict.fromkeys(("expected", "observed", "advice", "column"), f"`{SCRIPT}`")
        ),
        metrics={SCRIPT: SCRIPT},
        tables=(Table(title=SCRIPT, columns=(SCRIPT,), rows=((SCRIPT,),)),),
        plots=(Plot(title=f'"{SCRIPT}', path="x"),),
    )
    modalities = {"text": text, SCRIPT: text}
    page = render(
        given,
        samples=show_samples(rows, modalities, tmp_path),
        quarantine=show_quarantine(findings, rows, modalities, tmp_path),
        pictures={"x": "data:image/png;base64,AA"},
    )
    assert page.count("&lt;script&gt;") > 10
    assert "script" not in Page(page).tags


def test_equal_contents_give_equal_text_that_loads_nothing(tmp_path):
    first, second = (
        render(report(FAILED), quarantine=quarantine_of(tmp_path, count=3)) for _ in "12"
    )
    assert first == second
    assert Page(first).loads == []
    assert "url(" not in first
    assert "@import" not in first


def test_half_a_character_can_be_written():
    page = render(report(FAILED.model_copy(update={"observed": "half \ud83d here"})))
    assert "half ? here" in page.encode("utf-8").decode()


CODE = """
import os, sys
from pathlib import Path
import pandas as pd
from mm_assets.modalities.image import Picture, ImageAugment, ImageOptions
from mm_assets.validation.page import show_quarantine

class Deadly(Picture):
    def decode(self, cell, folder):
        os._exit(9)

findings = pd.DataFrame({
    "row": [1, 1], "id": "s1", "modality": ["photo", None],
    "reason": ["decoder_crashed", "label_unknown"], "detail": "it broke",
})
rows = pd.DataFrame({"photo": ["a.png"]})
groups = show_quarantine(findings, rows, {"photo": Deadly(ImageOptions(), ImageAugment())}, Path())
print([cell.shown for group in groups for one in group.shown for cell in one.cells])
"""


def test_what_broke_its_decoder_is_never_decoded_for_the_page():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no preview: its decoder broke on it") == 2
