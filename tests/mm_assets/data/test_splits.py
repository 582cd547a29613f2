import hashlib

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.contracts.config import SplitConfig
from mm_assets.data.splits import assign_splits, place_on_unit_interval

SHARES = SplitConfig()
names = st.text(min_size=1, max_size=8)


def split(groups, *, seed=0, shares=SHARES):
    return assign_splits(pd.Series(groups, dtype="str"), shares=shares, seed=seed)


def test_a_place_is_the_first_eight_bytes_of_a_digest():
    expected = int(hashlib.sha256(b"3:anna").hexdigest()[:16], 16) / 16**16
    assert place_on_unit_interval("anna", seed=3) == pytest.approx(expected, abs=0)


def test_many_groups_fall_by_the_shares():
    found = split([f"group {n}" for n in range(20_000)]).value_counts(normalize=True)
    # Standard deviation of a share: at most 0.0033.
    assert found["train"] == pytest.approx(0.7, abs=0.013)
    assert found["validation"] == pytest.approx(0.15, abs=0.01)
    assert found["test"] == pytest.approx(0.15, abs=0.01)


@pytest.mark.slow
@given(st.lists(names, min_size=1), st.lists(names), st.integers(0, 2**32))
def test_further_rows_move_no_row_to_another_split(old, new, seed):
    before = split(old, seed=seed)
    after = split([*new, *old], seed=seed)
    assert after.iloc[len(new) :].tolist() == before.tolist()


@given(st.lists(names, min_size=1))
def test_a_group_is_in_one_split(groups):
    found = split(groups * 2)
    assert found.iloc[: len(groups)].tolist() == found.iloc[len(groups) :].tolist()


@given(st.lists(names, min_size=1), st.floats(0.05, 0.7))
def test_test_rows_stay_while_its_share_does(groups, validation):
    shares = SplitConfig(train=1 - 0.15 - validation, validation=validation, test=0.15)
    before, after = split(groups), split(groups, shares=shares)
    assert ((before == "test") == (after == "test")).all()


def test_another_seed_splits_otherwise():
    groups = [f"group {n}" for n in range(100)]
    assert not split(groups, seed=1).equals(split(groups, seed=2))


def test_rows_keep_their_index():
    groups = pd.Series(["a", "b"], index=[5, 2])
    assert assign_splits(groups, shares=SHARES, seed=0).index.tolist() == [5, 2]
