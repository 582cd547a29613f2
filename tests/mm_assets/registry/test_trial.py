"""How a candidate and the champion are set side by side."""

import pandas as pd
import pytest

from mm_assets.registry.trial import time_rows
from mm_assets.serving.predictor import Predictor


class Timed(Predictor):
    """Its rows take a time of their own on a clock that only such predictors move."""

    def __init__(self, clock, *, ms, first_ms=None):
        self.clock, self.ms, self.first_ms, self.asked = clock, ms, first_ms, []
        self.modalities = {"left": None, "right": None}

    def predict(self, rows, *, folder):
        self.asked += rows
        warm = len(self.asked) > 3
        self.clock.now += (self.ms if warm else self.first_ms or self.ms) / 1000


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


def test_median_times_of_both_models_without_their_first_rows(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("mm_assets.registry.trial.time", clock)
    ours, theirs = Timed(clock, ms=3.0, first_ms=400.0), Timed(clock, ms=2.0)
    rows = pd.DataFrame({"left": ["a", "b", None], "right": ["c", "d", "e"], "mood": ["glad"] * 3})
    assert time_rows(ours, theirs, rows, folder=tmp_path) == pytest.approx((3.0, 2.0))
    assert ours.asked == theirs.asked
    cells = [{"left": "a", "right": "c"}, {"left": "b", "right": "d"}, {"right": "e"}]
    assert ours.asked[:3] == cells
