from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mm_assets.contracts.config import FusionConfig
from mm_assets.contracts.errors import DataContractError
from mm_assets.data.vectors import Embeddings
from mm_assets.evaluation.answers import answer_rows
from mm_assets.evaluation.noise_curves import (
    ALL,
    answer_disturbed,
    draw_groups,
    measure_noise,
    plot_noise,
)
from mm_assets.targets.multiclass import Multiclass
from mm_assets.training.examples import Examples
from mm_assets.training.model import FusionModel

DRAWS = {"resamples": 200, "confidence": 0.95, "seed": 0}
TARGET = Multiclass(("a", "b"))


def tally(right):
    """Give tallies of rows of class a that are answered rightly or not."""
    right = np.asarray(right)
    answers = np.stack([right, ~right], axis=1).astype(float)
    return TARGET.tally(np.zeros(len(right), np.int64), answers)


def measure(by_level, levels=(0.0, 0.5, 1.0), groups=None):
    tallies = {"text": [tally(right) for right in by_level]}
    groups = np.arange(len(by_level[0])) if groups is None else groups
    return measure_noise(TARGET, levels, tallies, groups, **DRAWS)


def test_by_hand():
    found = measure([[True] * 4, [True, True, True, False], [True, False, False, False]])
    curve = found["curves"]["text"]
    assert curve["values"] == [1, 0.75, 0.25]
    assert curve["area"] == pytest.approx(0.5 * (1 + 0.75) / 2 + 0.5 * (0.75 + 0.25) / 2)
    assert (found["levels"], found["rows"], found["groups"]) == ([0.0, 0.5, 1.0], 4, 4)
    assert curve["area_low"] < curve["area"] < curve["area_high"]


def test_levels_need_not_reach_from_0_to_1():
    always = measure([[True] * 3] * 2, levels=(0.2, 0.6))["curves"]["text"]
    assert (always["area"], always["area_low"], always["area_high"]) == (1, 1, 1)
    falling = measure([[True] * 2, [True, False], [False] * 2], levels=(0.0, 0.1, 1.0))
    assert falling["curves"]["text"]["area"] == pytest.approx(0.1 * 0.75 + 0.9 * 0.25)


def test_every_curve_and_level_meets_the_same_draws():
    rng = np.random.default_rng(0)
    right = rng.random(40) < 0.6
    found = measure([right, right, right], groups=np.arange(40) // 4)["curves"]["text"]
    # Were levels drawn apart, the area would vary less than its points.
    assert len(set(found["low"])) == len(set(found["high"])) == 1
    assert found["area_low"] == pytest.approx(found["low"][0])
    assert found["area_high"] == pytest.approx(found["high"][0])


@pytest.mark.parametrize("levels", [(0.5,), (0.0, 0.5, 0.5), (1.0, 0.5, 0.0)])
def test_levels_must_rise(levels):
    with pytest.raises(DataContractError, match=r"at least 2 levels, rising, got .*noise_levels"):
        measure([[True]] * len(levels), levels=levels)


def test_groups_are_drawn_whole_and_fit():
    groups = np.repeat(list("abcdefgh"), [1, 2, 3, 4, 5, 6, 7, 8])
    for seed in range(20):
        rows = draw_groups(groups, 15, seed=seed)
        assert len(rows) <= 15
        assert sorted(rows) == rows.tolist()
        assert set(groups[rows]) & set(np.delete(groups, rows)) == set()
    drawn = [tuple(draw_groups(groups, 15, seed=seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(draw_groups(groups, 1000, seed=0)) == len(groups)
    assert draw_groups(np.array(["one"] * 9), 4, seed=0).tolist() == [0, 1, 2, 3]


def test_the_picture_shows_every_curve_with_its_area(tmp_path):
    found = measure([[True] * 4, [True, True, True, False], [True, False, False, False]])
    found["curves"][ALL] = found["curves"]["text"]
    for file in ("one.svg", "two.svg"):
        plot_noise("mood", {"headline": "accuracy", "noise": found}, tmp_path / file)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert "text: area 68.8 %" in text
    assert f"{ALL}: area 68.8 %" in text


def make_model_and_rows():
    torch.manual_seed(0)
    encoders = {"one": {"name": "standardized", "dim": 3}, "two": {"name": "x", "dim": 2}}
    model = FusionModel(encoders, {"mood": TARGET}, FusionConfig(dim=4)).eval()
    table = pd.DataFrame({"id": [f"s{n}" for n in range(6)], "copy": 0})
    presence = torch.tensor([[True, True]] * 4 + [[True, False], [False, True]])
    vectors = {"one": torch.randn(6, 3), "two": torch.randn(6, 2)}
    labels = {"mood": torch.tensor([0, 1, 0, 1, 0, -1])}
    return model, Examples(vectors, presence, labels), table


def test_one_modality_is_disturbed_at_a_time_and_all_together():
    model, rows, table = make_model_and_rows()
    noise = {key: torch.randn(6, matrix.shape[1]) for key, matrix in rows.vectors.items()}
    asked = []

    def disturb(name, given, levels):
        asked.append((name, list(levels)))
        there = rows.presence[:, list(rows.vectors).index(name)].numpy()
        ids = given["id"].to_numpy()[there]
        return {
            level: Embeddings(
                ids,
                np.zeros(len(ids), np.int64),
                (rows.vectors[name] + level * noise[name]).numpy()[there],
                {"name": "x"},
                {},
            )
            for level in levels
        }

    found = answer_disturbed(model, rows, table, [0.0, 1.0], disturb)
    assert asked == [("one", [1.0]), ("two", [1.0])]
    assert list(found) == ["one", "two", ALL]
    for name, keys in {"one": ["one"], "two": ["two"], ALL: ["one", "two"]}.items():
        for level, answers in zip((0.0, 1.0), found[name], strict=True):
            vectors = {
                key: matrix + (level * noise[key] if key in keys else 0)
                for key, matrix in rows.vectors.items()
            }
            expected = answer_rows(model, replace(rows, vectors=vectors))["mood"]
            np.testing.assert_allclose(
                answers["mood"].probabilities, expected.probabilities, atol=1e-6
            )
            assert answers["mood"].rows.tolist() == [0, 1, 2, 3, 4]
