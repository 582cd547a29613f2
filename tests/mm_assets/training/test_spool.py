import gc
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.contracts.errors import DataContractError
from mm_assets.training.spool import Spool


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path / "spool") as spool:
        yield spool


def make_row(steps, value=1):
    return {
        "ids": np.full((1, steps), value, dtype=np.int64),
        "sound": np.full((1, 2, steps), value / 2, dtype=np.float32),
        "length": np.array([steps], dtype=np.int32),
    }


def test_rows_come_back_in_any_order_with_zeros_behind_shorter_ones(spool):
    for steps in (3, 1, 2):
        spool.add(make_row(steps, value=steps))

    batch = spool.take(np.array([2, 1, 2]))

    assert len(spool) == 3
    assert batch["ids"].tolist() == [[2, 2], [1, 0], [2, 2]]
    assert batch["sound"].tolist() == [[[1, 1]] * 2, [[0.5, 0]] * 2, [[1, 1]] * 2]
    assert batch["length"].tolist() == [2, 1, 2]
    assert [a.dtype for a in batch.values()] == [np.int64, np.float32, np.int32]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6))
def test_a_row_alone_is_what_was_added(tmp_path_factory, shapes):
    rng = np.random.default_rng(0)
    rows = [{"a": rng.normal(size=(1, *shape))} for shape in shapes]
    with Spool(tmp_path_factory.getbasetemp()) as spool:
        for row in rows:
            spool.add(row)
        for number, row in enumerate(rows):
            np.testing.assert_array_equal(spool.take([number])["a"], row["a"], strict=True)


def test_sizes_leave_padding_out(spool):
    for steps in (3, 1):
        spool.add(make_row(steps))

    assert spool.measure([1, 0, 0]).tolist() == [1 + 2 + 1, 3 + 6 + 1, 10]


def test_nothing_is_left_on_disk_and_nothing_is_visible_meanwhile(tmp_path):
    with Spool(tmp_path / "spool") as spool:
        spool.add(make_row(3))
        assert list((tmp_path / "spool").iterdir()) == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_memory_does_not_grow_with_the_rows(spool):
    row = {"a": np.ones((1, 100_000), dtype=np.float32)}
    tracemalloc.start()
    for _ in range(50):
        spool.add(row)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 1_000_000  # of 20 MB


@pytest.mark.parametrize(
    "second",
    [
        {"ids": np.zeros((2, 3), dtype=np.int64)},
        {"ids": np.zeros((1, 3), dtype=np.int32)},
        {"ids": np.zeros((1, 3, 1), dtype=np.int64)},
        {"tokens": np.zeros((1, 3), dtype=np.int64)},
    ],
)
def test_rows_of_another_kind_are_refused(spool, second):
    spool.add({"ids": np.zeros((1, 5), dtype=np.int64)})

    with pytest.raises(
        DataContractError, match=re.escape("needs one row of (rows, dtype, axes) ids (1, int64, 2)")
    ):
        spool.add(second)
