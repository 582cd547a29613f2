import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.contracts.errors import TrainingError
from mm_assets.training.folds import assign_folds


def test_groups_go_the_largest_first_into_the_emptiest_fold():
    groups = list("aaaaabbbbcccdd")

    folds = assign_folds(groups, [bytes([i]) for i in range(14)], folds=2)

    # 5 | 4, then 3 to the 4 (5 | 7), then 2 to the 5 (7 | 7)
    assert "".join(map(str, folds)) == "00000111111100"


def test_equal_contents_tie_groups_together_through_other_rows():
    #       a-1  a-2  b-2  b-3  c-3  d-4
    folds = assign_folds(list("aabbcd"), [b"1", b"2", b"2", b"3", b"3", b"4"], folds=3)

    assert folds.tolist() == [0, 0, 0, 0, 0, 1]


rows = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 20)), min_size=2, max_size=40)


@given(rows, st.integers(2, 6), st.randoms(use_true_random=False))
def test_nothing_straddles_folds_in_whatever_order_the_rows_come(rows, folds, random):
    def assign(rows):
        return assign_folds([f"g{g}" for g, _ in rows], [bytes([c]) for _, c in rows], folds=folds)

    try:
        found = assign(rows)
    except TrainingError:
        return
    for column in (0, 1):
        values = np.array([row[column] for row in rows])
        assert all(len(set(found[values == value])) == 1 for value in values)
    numbers = set(found.tolist())
    assert numbers == set(range(len(numbers)))
    assert 2 <= len(numbers) <= folds
    order = list(range(len(rows)))
    random.shuffle(order)
    assert assign([rows[i] for i in order]).tolist() == found[order].tolist()


def test_rows_that_are_all_tied_together_are_refused():
    with pytest.raises(TrainingError, match=r"at least 2 groups.* got 1 .*set `data.group`"):
        assign_folds(["a", "b", "b"], [b"1", b"1", b"2"], folds=5)
