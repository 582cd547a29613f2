import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from mm_assets.contracts.errors import SourceError, StageError
from mm_assets.stages.evaluate import evaluate, read_upper_bounds
from mm_assets.stages.train import train


def run(embedded):
    project = embedded.load()
    train(project)
    report = evaluate(project)
    evidence = json.loads((project.workspace.evaluation / "evidence.json").read_text())
    return project, report, evidence


def test_every_subset_is_scored_on_the_rows_that_have_it(embedded):
    _, report, metrics = run(embedded)
    side = metrics["side"]
    # Of 60 test rows 6 lack each modality; the last one has no label.
    rows = {name: found["rows"] for name, found in side["subsets"].items()}
    assert rows == {"clear": 53, "hint": 53, "clear+hint": 47}
    assert side["as_given"]["rows"] == side["majority"]["rows"] == 59
    assert report.rows_in == 60
    for found in (*side["subsets"].values(), side["as_given"]):
        assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert report.metrics["side_accuracy"] == side["as_given"]["accuracy"]


def test_a_plain_problem_is_solved_and_beats_its_baselines(embedded):
    _, report, metrics = run(embedded)
    # Unit normals 3 apart are told apart in 93 % of cases, 1 apart in 69 %.
    assert metrics["side"]["subsets"]["clear"]["accuracy"] > 0.85
    assert metrics["side"]["fusion_vs_best_single"]["best_single"] == "clear"
    assert report.suites[0].name == "model_beats_baselines"
    assert not report.blocks


def test_predictions_are_the_metrics_rows(embedded):
    project, _, metrics = run(embedded)
    found = pd.read_parquet(project.workspace.evaluation / "predictions.parquet")
    assert found["id"].tolist() == [f"s{n}" for n in range(240, 299)]
    accuracy = accuracy_score(found["true"], found["predicted"])
    assert metrics["side"]["as_given"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert np.allclose(np.stack(found["probabilities"]).sum(axis=1), 1, atol=1e-6)


def test_the_majority_is_chosen_on_training_rows(embedded):
    test = embedded.rows["split"] == "test"
    rest = embedded.rows.index[~test]
    embedded.rows.loc[rest[:30], "side"] = "left"
    embedded.rows.loc[embedded.rows.index[test][:50], "side"] = "right"
    _, _, metrics = run(embedded)
    training = embedded.rows.loc[embedded.rows["split"] == "train", "side"]
    majority = training.value_counts().idxmax()
    assert metrics["side"]["majority"]["answer"] == majority == "left"
    truth = embedded.rows.loc[test, "side"].dropna()
    expected = (truth == "left").mean()
    assert metrics["side"]["majority"]["accuracy"] == pytest.approx(expected, abs=1e-6)


def test_upper_bounds_of_the_datas_card_stand_beside_the_figures(embedded):
    bounds = {"side": {"clear": 0.93, "clear+hint": 0.94}}
    project = embedded.load()
    card = project.workspace.data / "card.json"
    card.write_text(json.dumps({"schema_version": 1, "upper_bounds": bounds}))
    _, report, metrics = run(embedded)
    subsets = metrics["side"]["subsets"]
    assert subsets["clear"]["upper_bound"] == 0.93
    assert "upper_bound" not in subsets["hint"]
    assert [row[0] for row in report.tables[0].rows][1:] == [
        "clear",
        "hint",
        "clear+hint",
        "as given",
    ]


def test_two_runs_give_equal_bytes(embedded, read_bytes):
    project, report, _ = run(embedded)
    files = read_bytes(project.workspace.evaluation)
    assert evaluate(project) == report
    assert read_bytes(project.workspace.evaluation) == files
    plots = {plot.path for plot in report.plots}
    assert plots == {
        f"artifacts/evaluation/plots/side_{name}.svg"
        for name in ("subsets", "confusion", "recalls", "reliability", "slices")
    }
    assert all((embedded.root / path).is_file() for path in plots)


def test_a_model_no_better_than_the_majority_blocks(embedded):
    test = embedded.rows["split"] == "test"
    wrong = {"left": "right", "right": "left"}
    embedded.rows.loc[test, "side"] = embedded.rows.loc[test, "side"].map(wrong)
    _, report, _ = run(embedded)
    assert report.blocks
    (failed,) = (result for result in report.suites[0].failed if result.severity == "error")
    assert failed.column == "side_accuracy_above_majority"
    assert "look at the labels" in failed.advice


def test_a_single_modality_has_nothing_to_be_compared_with(embedded):
    del embedded.params["modalities"]["hint"], embedded.vectors["hint"]
    embedded.rows = embedded.rows[embedded.rows.index % 10 != 0]
    present, matrix = embedded.vectors["clear"]
    embedded.vectors["clear"] = (present[present], matrix[present])
    _, report, metrics = run(embedded)
    assert "fusion_vs_best_single" not in metrics["side"]
    assert list(metrics["side"]["subsets"]) == ["clear"]
    assert [result.column for result in report.suites[0].results] == [
        "side_accuracy_above_majority",
        "side_slices_worse_than_the_rest",
    ]


def test_a_model_of_other_modalities_is_refused(embedded):
    run(embedded)
    del embedded.params["modalities"]["hint"]
    with pytest.raises(StageError, match=r"reads clear, hint but params\.yaml has clear; train it"):
        evaluate(embedded.load())


def test_evaluation_needs_test_rows(embedded):
    project, _, _ = run(embedded)
    embedded.rows = embedded.rows[embedded.rows["split"] != "test"]
    embedded.vectors = {}
    embedded.load()
    with pytest.raises(StageError, match=r"at least 1 test row, got 0; raise `split\.test`"):
        evaluate(project)


def test_a_damaged_card_is_named(tmp_path):
    (tmp_path / "card.json").write_text("[]")
    with pytest.raises(SourceError, match=r"card\.json must be JSON with `upper_bounds`"):
        read_upper_bounds(tmp_path / "card.json")
    assert read_upper_bounds(tmp_path / "absent.json") == {}
