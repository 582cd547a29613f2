import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from mm_assets.evaluation.answers import Answers
from mm_assets.evaluation.baselines import (
    follow_baselines,
    measure_baselines,
    plot_baselines,
    tabulate_baselines,
)
from mm_assets.targets.multiclass import Multiclass

COIN = Multiclass(("heads", "tails"))
DRAWS = {"resamples": 500, "confidence": 0.95, "seed": 0}
TRUE = np.random.default_rng(0).integers(0, 2, 200)
GROUPS = np.arange(200)
HAS = {"text": GROUPS % 4 != 0, "photo": GROUPS % 5 != 0}
EVERYWHERE = np.ones(200, dtype=bool)


def answer(wrong, rows=EVERYWHERE):
    """Answer some of the rows, every n-th wrongly."""
    predicted = np.where(GROUPS % wrong == 0, 1 - TRUE, TRUE)[rows]
    probabilities = np.eye(2, dtype=np.float32)[predicted]
    return Answers(np.flatnonzero(rows), probabilities, COIN.tally(TRUE[rows], probabilities))


def measure(*, linear=7, text=3, photo=6, fused=10, **changes):
    given = {
        "majority": answer(2),
        "linear": answer(linear),
        "specialists": {"text": answer(text, HAS["text"]), "photo": answer(photo, HAS["photo"])},
        "subsets": {
            "text": answer(fused, HAS["text"]),
            "photo": answer(fused, HAS["photo"]),
            "text+photo": answer(fused, HAS["text"] & HAS["photo"]),
        },
        "as_given": answer(fused),
    }
    return measure_baselines(COIN, *(given | changes).values(), GROUPS, **DRAWS)


def accuracy(wrong, rows):
    predicted = np.where(GROUPS % wrong == 0, 1 - TRUE, TRUE)
    return accuracy_score(TRUE[rows], predicted[rows])


def test_all_are_scored_on_the_same_rows_those_that_have_every_modality():
    found, complete = measure(), HAS["text"] & HAS["photo"]
    lines = {"fused": 10, "linear": 7, "majority": 2}
    for name, wrong in lines.items():
        assert found[name]["accuracy"] == pytest.approx(accuracy(wrong, complete))
    for name, wrong in {"text": 3, "photo": 6}.items():
        alone = found["alone"][name]
        assert alone["accuracy"] == pytest.approx(accuracy(wrong, complete))
        gain = accuracy(10, complete) - accuracy(wrong, complete)
        assert alone["difference"] == pytest.approx(gain)
    assert {one["rows"] for one in (found["fused"], found["linear"], *found["alone"].values())} == {
        complete.sum()
    }
    assert found["rows_are"] == "rows with every modality"
    assert found["best_alone"] == "photo"


def test_a_gap_is_taken_on_the_rows_that_have_the_subset():
    gaps = measure()["gaps"]
    for name, wrong in {"text": 3, "photo": 6}.items():
        assert gaps[name]["rows"] == HAS[name].sum()
        assert gaps[name]["one_model"] == pytest.approx(accuracy(10, HAS[name]))
        assert gaps[name]["specialist"] == pytest.approx(accuracy(wrong, HAS[name]))


def test_only_a_baseline_that_beats_the_model_beyond_chance_is_said_to_be_better():
    found = measure(fused=3, linear=1000, text=1000, photo=4)
    assert found["linear"]["is_better"]
    assert found["gaps"]["text"]["is_better"]
    assert not found["majority"]["is_better"]
    assert found["worst_gap"] == "text"
    barely = measure(fused=50, linear=60, text=60, photo=60)
    assert not barely["linear"]["is_better"]
    assert not any(gap["is_better"] for gap in barely["gaps"].values())


def test_p_values_are_adjusted_for_every_comparison():
    found = measure(linear=9)
    looks = [found["majority"], found["linear"], *found["alone"].values(), *found["gaps"].values()]
    # Bonferroni's bound is Holm's for the smallest, and never below it.
    assert len(looks) == 6
    assert min(one["p_adjusted"] for one in looks) == pytest.approx(
        6 * min(one["p_value"] for one in looks)
    )
    assert all(one["p_value"] <= one["p_adjusted"] <= 1 for one in looks)


def test_where_no_row_has_every_modality_all_rows_count_and_none_stands_alone():
    nothing = answer(10, ~EVERYWHERE)
    found = measure(subsets={"text": answer(10, HAS["text"]), "photo": answer(10, HAS["photo"]),
                             "text+photo": nothing})  # fmt: skip
    assert found["rows_are"] == "rows as given"
    assert found["fused"]["rows"] == 200
    assert "best_alone" not in found
    assert set(found["gaps"]) == {"text", "photo"}


def test_a_single_modality_stands_beside_majority_and_linear_model():
    found = measure(specialists={}, subsets={"text": answer(10)})
    assert "gaps" not in found
    assert follow_baselines({"headline": "accuracy", "baselines": found}).keys() == {
        "linear_accuracy",
        "gain_over_linear",
    }


def test_what_is_followed_shown_and_drawn(tmp_path):
    evidence = {"headline": "accuracy", "baselines": measure()}
    numbers = follow_baselines(evidence)
    assert numbers["best_alone_accuracy"] == evidence["baselines"]["alone"]["photo"]["accuracy"]
    assert numbers["worst_gap"] == evidence["baselines"]["gaps"]["photo"]["difference"]
    lines, gaps = tabulate_baselines("mood", evidence)
    assert [row[0] for row in lines.rows] == [
        "majority answer", "text alone", "photo alone", "linear model", "fused model",
    ]  # fmt: skip
    assert [row[0] for row in gaps.rows] == ["text", "photo"]
    plot_baselines("mood", evidence, tmp_path / "plot.svg")
    assert "photo alone" in (tmp_path / "plot.svg").read_text()
