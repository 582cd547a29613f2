import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from sklearn.metrics import accuracy_score, recall_score

from mm_assets.contracts.errors import ConfigError, SourceError, StageError
from mm_assets.evaluation.errors import MOST_ERRORS
from mm_assets.stages.baselines import baselines
from mm_assets.stages.evaluate import evaluate, read_upper_bounds
from mm_assets.stages.train import train
from mm_assets.training.model import load_model

ROOT = Path(__file__).parents[3]


def run(embedded, **evaluation):
    """Train and evaluate; noise costs seconds, so none is made unless asked for."""
    embedded.params["evaluation"] |= {"noise_rows": 0, "attributed_rows": 0} | evaluation
    project = embedded.load()
    train(project)
    baselines(project)
    report = evaluate(project)
    evidence = json.loads((project.workspace.evaluation / "evidence.json").read_text())["targets"]
    return project, report, evidence


@pytest.fixture(scope="module")
def solved(shared_embedded):
    """Give what `run` gives for the plain project, run once for all tests that only look at it."""
    return (shared_embedded, *run(shared_embedded))


@pytest.mark.slow
def test_every_subset_is_scored_on_the_rows_that_have_it(solved):
    _, _, report, metrics = solved
    side = metrics["side"]
    # Of 60 test rows 6 lack each modality; the last one has no label.
    rows = {name: found["rows"] for name, found in side["subsets"].items()}
    assert rows == {"clear": 53, "hint": 53, "clear+hint": 47}
    assert side["as_given"]["rows"] == side["majority"]["rows"] == 59
    assert report.rows_in == 60
    for found in (*side["subsets"].values(), side["as_given"]):
        assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert report.metrics["side_accuracy"] == side["as_given"]["accuracy"]


@pytest.mark.slow
def test_a_plain_problem_is_solved_and_beats_its_baselines(solved):
    _, _, report, metrics = solved
    # Unit normals 3 apart are told apart in 93 % of cases, 1 apart in 69 %.
    assert metrics["side"]["subsets"]["clear"]["accuracy"] > 0.85
    assert metrics["side"]["fusion_vs_best_single"]["best_single"] == "clear"
    assert report.suites[0].name == "model_beats_baselines"
    assert not report.blocks


@pytest.mark.slow
def test_predictions_are_the_metrics_rows(solved):
    _, project, _, metrics = solved
    found = pd.read_parquet(project.workspace.evaluation / "predictions.parquet")
    assert found["id"].tolist() == [f"s{n}" for n in range(240, 299)]
    accuracy = accuracy_score(found["true"], found["predicted"])
    assert metrics["side"]["as_given"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert np.allclose(np.stack(found["probabilities"]).sum(axis=1), 1, atol=1e-6)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_two_runs_give_equal_bytes(embedded, read_bytes):
    project, report, _ = run(embedded, noise_rows=12)
    files = read_bytes(project.workspace.evaluation)
    assert evaluate(project) == report
    assert read_bytes(project.workspace.evaluation) == files
    plots = {plot.path for plot in report.plots}
    assert plots == {
        f"artifacts/evaluation/plots/side_{name}.svg"
        for name in (
            "subsets",
            "confusion",
            "recalls",
            "baselines",
            "absence",
            "shapley",
            "cost",
            "noise",
            "reliability",
            "selective",
            "slices",
            "label_errors",
        )
    }
    assert all((embedded.root / path).is_file() for path in plots)


@pytest.mark.slow
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
        "side_baselines_that_are_better",
        "side_slices_worse_than_the_rest",
    ]


@pytest.mark.slow
def test_a_model_of_other_modalities_is_refused(embedded):
    run(embedded)
    del embedded.params["modalities"]["hint"]
    with pytest.raises(StageError, match=r"reads clear, hint but params\.yaml has clear; train it"):
        evaluate(embedded.load())


@pytest.mark.slow
def test_evaluation_needs_test_rows(embedded):
    project, _, _ = run(embedded)
    embedded.rows = embedded.rows[embedded.rows["split"] != "test"]
    embedded.vectors = {}
    embedded.load()
    with pytest.raises(StageError, match=r"at least 1 test row, got 0; raise `split\.test`"):
        evaluate(project)


def test_a_damaged_card_is_named(tmp_path):
    (tmp_path / "card.json").write_text("[]")
    with pytest.raises(SourceError, match=r"card\.json must hold a JSON object"):
        read_upper_bounds(tmp_path / "card.json")
    assert read_upper_bounds(tmp_path / "absent.json") == {}


def write_towns(embedded):
    """Write a raw table whose rows lie in one of two towns, and ask for slices by town."""
    towns = np.where(np.arange(300) % 30 < 9, "fog", "sun")  # of whole groups
    raw = pd.DataFrame({"id": [f"s{n}" for n in range(300)], "town": towns})
    embedded.params["evaluation"]["slices"] = ["town"]
    folder = embedded.load().workspace.data
    raw.sample(frac=1, random_state=0).to_csv(folder / "samples.csv", index=False)
    return pd.Series(towns, index=raw["id"])


@pytest.mark.slow
def test_a_slice_that_is_worse_is_named_and_warned_of(embedded):
    towns = write_towns(embedded)
    rows = embedded.rows
    wrong = (rows["split"] == "test") & (rows["id"].map(towns) == "fog")
    flipped = {"left": "right", "right": "left"}
    rows.loc[wrong, "side"] = rows.loc[wrong, "side"].map(flipped)
    project, report, evidence = run(embedded)
    side = evidence["side"]
    fog = next(one for one in side["slices"] if one["value"] == "fog")
    answers = pd.read_parquet(project.workspace.evaluation / "predictions.parquet")
    right = (answers["true"] == answers["predicted"]).groupby(answers["id"].map(towns)).mean()
    assert (fog["rows"], fog["groups"]) == (18, 6)
    assert fog["accuracy"] == pytest.approx(right["fog"], abs=1e-6)
    assert fog["difference"] == pytest.approx(right["fog"] - right["sun"], abs=1e-6)
    assert fog["is_worse"]
    assert side["worst_slice"] == fog
    (failed,) = (
        result
        for result in report.suites[0].failed
        if result.column == "side_slices_worse_than_the_rest"
    )
    assert failed.severity == "warning"
    assert f"town 'fog' with accuracy {right['fog']:.3f} in 18 rows" in failed.advice
    assert report.metrics["side_worst_slice_accuracy"] == fog["accuracy"]


@pytest.mark.slow
def test_rows_are_always_sliced_by_their_modalities(solved):
    _, _, _, evidence = solved
    slices = {one["value"]: one["rows"] for one in evidence["side"]["slices"]}
    # Six rows lack each modality, which is too few for a slice of their own.
    assert slices == {"clear+hint": 47, "rarer values": 12}
    assert {one["column"] for one in evidence["side"]["slices"]} == {"modalities present"}


@pytest.mark.slow
def test_p_values_are_adjusted_for_every_look(embedded):
    write_towns(embedded)
    slices = run(embedded)[2]["side"]["slices"]
    assert len(slices) == 4
    least = min(slices, key=lambda one: one["p_value"])
    assert least["p_adjusted"] == pytest.approx(min(1, 4 * least["p_value"]), abs=1e-5)


def test_an_unknown_slice_is_named_before_any_work(embedded):
    write_towns(embedded)
    embedded.params["evaluation"]["slices"] = ["town", "twon"]
    project = embedded.load()  # there is no model yet
    message = r"`evaluation\.slices` must name columns of samples\.csv \(id, town\), got 'twon'"
    with pytest.raises(ConfigError, match=message):
        evaluate(project)


def read_answers(project):
    path = project.workspace.evaluation / "errors.json"
    return json.loads(path.read_text())["targets"]["side"]


@pytest.mark.slow
def test_the_most_confident_errors_are_shown_with_what_the_model_saw(solved):
    embedded, project, report, _ = solved
    found = read_answers(project)["errors"]
    answers = pd.read_parquet(project.workspace.evaluation / "predictions.parquet")
    sure = answers["probabilities"].map(max)
    wrong = answers.assign(sure=sure)[answers["true"] != answers["predicted"]]
    expected = wrong.sort_values("sure", ascending=False, kind="stable")[:MOST_ERRORS]
    assert [one["id"] for one in found] == expected["id"].tolist()
    assert [one["surprise"] for one in found] == pytest.approx(expected["sure"].tolist(), abs=1e-6)
    for one, true, predicted in zip(found, expected["true"], expected["predicted"], strict=True):
        assert (one["true"], one["predicted"]) == (true, predicted)
        row = int(one["id"][1:])
        assert one["group"] == f"g{row // 3}"
        for key, (present, matrix) in embedded.vectors.items():
            shown = f"{matrix[row, 0]:.4g}" if present[row] else "missing"
            assert shown in one["previews"][key]
    assert [row[1] for row in report.tables[-1].rows] == expected["id"].tolist()


@pytest.mark.slow
def test_calibration_is_measured_with_and_without_the_temperature(solved):
    _, project, _, evidence = solved
    answers = pd.read_parquet(project.workspace.evaluation / "predictions.parquet")
    calibrated = np.stack(answers["probabilities"]).astype(float)
    temperature = load_model(project.workspace.model).temperature.item()
    assert temperature != 1
    # softmax(z) is softmax(z / T) to the power T, made to sum to 1 again
    uncalibrated = calibrated**temperature
    uncalibrated /= uncalibrated.sum(axis=1, keepdims=True)
    right = (answers["true"] == answers["predicted"]).to_numpy()
    for when, probabilities in (("calibrated", calibrated), ("uncalibrated", uncalibrated)):
        sure = probabilities.max(axis=1)
        bins = np.ceil(sure * 10)
        gaps = [abs((right[bins == b] - sure[bins == b]).sum()) for b in range(1, 11)]
        found = evidence["side"]["reliability"][when]
        assert found["ece"] == pytest.approx(sum(gaps) / 59, abs=1e-5)
        assert found["ece_low"] <= found["ece"] <= found["ece_high"]


@pytest.mark.slow
def test_recalls_are_those_of_sklearn(solved):
    _, project, _, evidence = solved
    answers = pd.read_parquet(project.workspace.evaluation / "predictions.parquet")
    expected = recall_score(
        answers["true"], answers["predicted"], labels=["left", "right"], average=None
    )
    found = evidence["side"]["recalls"]
    assert [one["class"] for one in found] == ["left", "right"]
    assert [one["recall"] for one in found] == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.slow
def test_the_metrics_file_holds_what_is_followed_from_run_to_run_and_no_more(solved):
    _, project, report, evidence = solved
    metrics = json.loads((project.workspace.evaluation / "metrics.json").read_text())["side"]
    assert metrics.keys() == {
        "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1",
        "weighted_f1", "brier", "log_loss", "majority_accuracy",
        "best_single_accuracy", "fusion_gain", "ece", "ece_uncalibrated", "worst_slice_accuracy",
        "worst_subset_accuracy", "recall", "subsets", "absence_area", "absence_0.7_accuracy", "worth",
        "auroc", "average_precision", "linear_accuracy", "gain_over_linear", "best_alone_accuracy",
        "gain_over_best_alone", "worst_gap", "aurc", "likely_label_errors",
    }  # fmt: skip
    side = evidence["side"]
    assert metrics["accuracy"] == side["as_given"]["accuracy"]
    assert metrics["ece"] == side["reliability"]["calibrated"]["ece"]
    assert metrics["recall"].keys() == {"left", "right"}
    assert metrics["subsets"]["hint"] == side["subsets"]["hint"]["accuracy"]
    plain = {f"side_{key}": value for key, value in metrics.items() if not isinstance(value, dict)}
    assert report.metrics == plain


@pytest.mark.slow
def test_what_dvc_plots_is_what_is_written(solved):
    _, project, _, _ = solved
    declared = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["plots"]
    options = {path: given for entry in declared for path, given in entry.items()}
    written = list((project.workspace.evaluation / "plot_data").glob("*/*.json"))
    assert {path.parent.relative_to(project.workspace.root).as_posix() for path in written} == {
        path for path in options if not path.endswith(".csv")
    }
    for path in written:
        given = options[path.parent.relative_to(project.workspace.root).as_posix()]
        fields = {given["x"], *([given["y"]] if isinstance(given["y"], str) else given["y"])}
        assert all(fields <= record.keys() for record in json.loads(path.read_text()))


@pytest.mark.slow
def test_the_curve_of_random_absence_starts_at_the_rows_as_given_on_masks_that_are_kept(solved):
    _, project, _, evidence = solved
    side = evidence["side"]
    curve = side["absence"]["curve"]
    for end in ("", "_low", "_high"):
        assert curve[0][f"accuracy{end}"] == side["as_given"][f"accuracy{end}"]
    masks = pd.read_parquet(project.workspace.evaluation / "absence_masks.parquet")
    assert len(masks) == 60 * (1 + 7 * 8)
    assert masks[["clear", "hint"]].any(axis=1).all()
    # Of rows that have both, a share of rate - rate² / 2 loses one: the last one stays.
    both = masks["id"].isin([f"s{n}" for n in range(300) if n % 10 > 1])
    lost = (~masks.loc[both, "clear"]).groupby(masks["rate"]).mean()
    expected = lost.index - lost.index**2 / 2
    assert lost.to_numpy() == pytest.approx(expected.to_numpy(), abs=0.1)


@pytest.mark.slow
def test_what_moved_an_answer_adds_up_to_its_confidence(solved):
    embedded, project, _, evidence = solved
    shown = read_answers(project)
    predictions = pd.read_parquet(project.workspace.evaluation / "predictions.parquet")
    sure = predictions.set_index("id")["probabilities"].map(max)
    training = embedded.rows.loc[embedded.rows["split"] == "train", "side"]
    shares = training.value_counts(normalize=True)
    assert len(shown["right"]) == 2
    for one in (*shown["errors"], *shown["right"]):
        moved = one["moved"]
        assert moved["all"] == pytest.approx(sure[one["id"]], abs=1e-5)
        assert moved["none"] == pytest.approx(shares[one["predicted"]], abs=1e-5)
        assert moved["none"] + sum(moved["worth"].values()) == pytest.approx(moved["all"], abs=1e-5)
        row = int(one["id"][1:])
        assert moved["worth"].keys() == {
            key for key, (present, _) in embedded.vectors.items() if present[row]
        }
    worth = {one["modality"]: one["worth"] for one in evidence["side"]["shapley"]["modalities"]}
    assert worth["clear"] > worth["hint"]
    complete = evidence["side"]["shapley"]
    assert complete["rows"] == evidence["side"]["subsets"]["clear+hint"]["rows"]
    assert complete["all"] == evidence["side"]["subsets"]["clear+hint"]["accuracy"]
