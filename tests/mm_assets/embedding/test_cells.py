from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.config import ComputeConfig
from mm_assets.contracts.errors import StageError
from mm_assets.embedding.cells import BATCH, BATCH_BYTES, Cells
from mm_assets.encoders.base import load_encoder
from mm_assets.modalities.base import load_modality


def make_cells(cells, render=None):
    rows = pd.DataFrame({"x": cells, "split": "train", "copy": 0, "group": None, "render": render})
    rows["id"] = [f"s{n}" for n in range(len(cells))]
    return Cells(
        "x",
        rows,
        modality=load_modality("features", {"dim": 1}, {}, where="modalities.x"),
        encoder=load_encoder("standardized", {}, kind="features", weights=Path(), where="x"),
        folder=Path(),
        compute=ComputeConfig(threads=2),
    )


def test_equal_contents_have_one_name_and_their_renderings_another():
    render = [None, None, None, '{"x": {"seed": 1}}', '{"other": {"seed": 1}}']
    keys = make_cells(["[1]", "[1.0]", "[2]", "[1]", "[1]"], render).keys
    assert keys[0] == keys[1] == keys[4]
    assert len(set(keys)) == 3


def test_batches_hold_so_many_cells_and_bytes_and_every_row_once():
    cells = make_cells([f"[{n}]" for n in range(70)])
    rows = np.arange(70)[::-1].copy()
    assert [len(batch) for batch in cells.cut(rows)] == [BATCH, BATCH, 70 - 2 * BATCH]
    cells.sizes[5] = BATCH_BYTES
    batches = list(cells.cut(rows))
    np.testing.assert_array_equal(np.concatenate(batches), rows)
    assert all(cells.sizes[batch].sum() <= BATCH_BYTES or len(batch) == 1 for batch in batches)


def test_a_cell_that_broke_names_stage_sample_and_cell():
    with pytest.raises(StageError, match=r"embed@x: sample 's1' \(no list\) was valid and cannot"):
        make_cells(["[1]", "no list"])
