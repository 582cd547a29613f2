import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from ruamel.yaml import YAML

from mm_assets.contracts.config import read_config
from mm_assets.contracts.errors import StageError
from mm_assets.contracts.report import read_report
from mm_assets.contracts.workspace import Workspace
from mm_assets.evaluation.card import PageParts
from mm_assets.stages.run import STAGES, run_stage
from mm_assets.stages.summary import write_summary

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
NASTY = "<script>alert('x')</script> & $^2$"
PARAMS = {
    "version": 2,
    "data": {"group": "who"},
    "modalities": {
        key: {
            "kind": "features",
            "column": key,
            "encoder": {"name": "standardized"},
            "options": {"dim": 4},
        }
        for key in ("voice", "gait")
    },
    "targets": {"mood": {"kind": "multiclass", "column": "mood", "classes": ["glad", "sad"]}},
    "train": {"epochs": 5},
    "evaluation": {"bootstrap": 100, "slices": ["town"]},
    "gates": {"quarantined_share": 0.1},
}


def write_project(root):
    """Write a table whose vectors show the label through noise, with one row that must not stay."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300)
    table = {"id": [f"s{n}" for n in range(300)], "who": [f"g{n // 3}" for n in range(300)]}
    for key, strength in (("voice", 1.0), ("gait", 0.5)):
        vectors = rng.normal(size=(300, 4)) + strength * (2 * labels[:, None] - 1)
        table[key] = [json.dumps(vector.round(6).tolist()) for vector in vectors]
    frame = pd.DataFrame({**table, "mood": np.where(labels, "glad", "sad")})
    frame["town"] = np.where(np.arange(300) % 2, NASTY, "sun")
    frame.loc[7, "id"] = NASTY
    frame.loc[7, "mood"] = NASTY
    frame.loc[9:20, "gait"] = None
    (root / "data").mkdir()
    frame.to_csv(root / "data/samples.csv", index=False)
    (root / "data/card.json").write_text(json.dumps({"title": "Moods " + NASTY}))
    YAML().dump(PARAMS, root / "params.yaml")
    shutil.copyfile(ROOT / "dvc.yaml", root / "dvc.yaml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Give a project whose stages have all run, for real."""
    root = tmp_path_factory.mktemp("project")
    write_project(root)
    for stage in STAGES:
        for key in PARAMS["modalities"] if stage == "embed" else [None]:
            run_stage(root, stage, key)
    return Workspace(root)


@pytest.fixture(scope="module")
def page(finished):
    return (finished.card / "model_card.html").read_text()


def test_the_card_is_complete(finished):
    report = read_report(finished.report("card"))
    assert [suite.name for suite in report.suites] == ["card_is_complete"]
    assert report.suites[0].passed


def test_the_page_loads_nothing_and_runs_nothing(page):
    parts = PageParts(page)
    # Subsets, absence, worth, cost, noise, reliability, abstention, confusion, curves, contacts.
    assert len(parts.resources) == 10
    assert all(resource.startswith("data:image/") for resource in parts.resources)
    assert "<script" not in page.lower()
    assert not re.search(r"@import|url\(", page)


def test_data_is_escaped(page):
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; $^2$" in page
    assert "Moods &lt;script" in page


def test_the_page_shows_the_figures_of_evidence_json(finished, page):
    metrics = json.loads((finished.evaluation / "evidence.json").read_text())["targets"]["mood"]
    for scores in (metrics["majority"], metrics["subsets"]["voice+gait"], metrics["as_given"]):
        shown = f"{100 * scores['accuracy']:.1f}\N{NO-BREAK SPACE}%"
        assert f'<td class="n">{shown}</td>' in page
    assert "always &#39;" in page
    assert "voice + gait" in page


def test_the_page_names_the_worst_slice_and_the_error_of_calibration(finished, page):
    found = json.loads((finished.evaluation / "evidence.json").read_text())["targets"]["mood"]
    worst, ece = found["worst_slice"], found["reliability"]["calibrated"]["ece"]
    assert f"<strong>town: {escape(worst['value'])}</strong>" in page
    assert page.count('<tr class="worst">') == 1
    assert f'<td class="n">{100 * ece:.1f}\N{NO-BREAK SPACE}%</td>' in page
    for one in found["recalls"]:
        assert f"<td>{one['class']}</td>" in page


def test_one_group_of_test_rows_has_no_interval_anywhere(finished, tmp_path):
    root = shutil.copytree(finished.root, tmp_path / "project")
    path = Workspace(root).evaluation / "evidence.json"
    path.write_text(re.sub(r'"groups": \d+', '"groups": 1', path.read_text()))

    run_stage(root, "card")

    page = (Workspace(root).card / "model_card.html").read_text()
    measured = page[page.index('<section id="results">') : page.index('<section id="slices">')]
    assert "one group" in measured
    assert "(one group, so no interval)" in measured
    assert "\N{NO-BREAK SPACE}% to " not in measured.split("<details>")[0]


def test_the_page_shows_the_most_confident_errors_with_previews(finished, page):
    shown = json.loads((finished.evaluation / "errors.json").read_text())["targets"]["mood"]
    errors = [*shown["errors"], *shown["right"]]
    assert errors
    section = page[page.index('<section id="errors">') : page.index('<section id="plots">')]
    places = [section.index(f"<td>{one['id']}<br>") for one in errors]
    assert places == sorted(places)
    for one in errors:
        for preview in one["previews"].values():
            assert f'<td class="preview">{preview}' in section


def test_the_page_shows_every_expectation_of_every_report(finished, page):
    embedded = ["embed@voice", "embed@gait"]
    stages = ["validate", "augment", *embedded, "train", "baselines", "evaluate", "export"]
    assert PageParts(page).reports == stages
    suites = [suite for stage in stages for suite in read_report(finished.report(stage)).suites]
    # Beside the suites: metrics, all figures, recalls, right answers, parameters.
    assert page.count("<details") == len(suites) + 5
    results = sum(len(suite.results) for suite in suites)
    assert len(re.findall(r'class="badge (?:ok|bad|warn)">(?:met|failed|warning)', page)) == results


def test_running_again_gives_equal_bytes(finished, page):
    report = finished.report("card").read_bytes()
    run_stage(finished.root, "card")
    assert (finished.card / "model_card.html").read_text() == page
    assert finished.report("card").read_bytes() == report


def test_the_summary_says_what_a_person_wants_to_know(finished):
    config = read_config(finished.params)
    metrics = json.loads((finished.evaluation / "evidence.json").read_text())["targets"]["mood"]
    summary = write_summary(finished)
    assert "300 in, 299 kept, 1 quarantined (0.3%)" in summary
    assert "1  label_unknown, such as " in summary
    assert f"{config.evaluation.confidence:.0%} interval" in summary
    for label in ("always ", "  voice ", "  gait ", "  voice + gait ", "  rows as given "):
        assert label in summary
    assert f"{metrics['as_given']['accuracy']:.1%}" in summary
    parity = read_report(finished.report("export")).metrics["parity_max_difference"]
    assert f"largest difference from PyTorch {parity:.1e}" in summary
    assert "artifacts/card/model_card.html" in summary
    assert len(summary.splitlines()) <= 60


def test_a_summary_before_a_run_says_what_to_run(tmp_path):
    write_project(tmp_path)
    with pytest.raises(StageError, match=r"evidence\.json not found; run its stage: `dvc repro"):
        write_summary(Workspace(tmp_path))
