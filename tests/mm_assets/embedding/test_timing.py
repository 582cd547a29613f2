import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mm_assets.contracts.config import ComputeConfig
from mm_assets.contracts.errors import DataContractError
from mm_assets.embedding.cells import Cells
from mm_assets.embedding.timing import time_encoder, weigh_network
from mm_assets.encoders.base import load_encoder
from mm_assets.modalities.base import load_modality


@pytest.fixture
def cells():
    rows = pd.DataFrame({"id": [f"s{n}" for n in range(5)], "copy": 0, "x": "[1, 2, 3]"})
    return Cells(
        "x",
        rows.assign(split="test", group=None, render=None),
        modality=load_modality("features", {"dim": 3}, {}, where="modalities.x"),
        encoder=load_encoder("standardized", {}, kind="features", weights=Path(), where="x"),
        folder=Path(),
        compute=ComputeConfig(threads=1),
    )


class Slow(nn.Module):
    """Waits, the first two times for long: a machine that warms up, and one hiccup."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, vectors):
        assert vectors.shape == (1, 3)
        self.calls += 1
        time.sleep(0.2 if self.calls < 3 else 0.02)
        return vectors


def test_the_median_row_is_timed_and_the_first_is_met_twice(cells):
    network = Slow()
    found = time_encoder(cells, network, np.arange(5))
    assert network.calls == 6
    assert 20 <= found["network_ms"] < 150
    assert found["decode_ms"] > 0
    assert found["row_ms"] >= found["network_ms"]


def test_no_row_is_refused(cells):
    with pytest.raises(DataContractError, match=r"encoder standardized needs at least 1 row .*'x'"):
        time_encoder(cells, Slow(), np.arange(0))


def test_weights_and_buffers_weigh():
    network = nn.Sequential(nn.Linear(1000, 250, bias=False), nn.BatchNorm1d(250))
    # 250,000 weights; of the norm 4 times 250 numbers, and an int64 that counts batches.
    assert weigh_network(network) == pytest.approx((4 * (250_000 + 1000) + 8) / 1e6)
    assert weigh_network(nn.Linear(1, 1).to(torch.float64)) == pytest.approx(16 / 1e6)
