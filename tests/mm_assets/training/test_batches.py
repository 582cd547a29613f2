import torch
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.training.batches import cut_batches, share_out
from mm_assets.training.examples import Examples


def make_rows(groups):
    count = len(groups)
    return Examples({}, torch.ones(count, 0, dtype=torch.bool), {}, torch.tensor(groups).long())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 20), st.booleans())
def test_every_row_is_in_one_batch_and_groups_stay_whole_and_in_order(groups, size, shuffled):
    generator = torch.Generator().manual_seed(0) if shuffled else None
    batches = cut_batches(make_rows(groups), size, generator=generator)

    assert sorted(torch.cat(batches).tolist()) == list(range(len(groups)))
    numbers = torch.tensor(groups)
    for group in set(groups):
        holders = [batch for batch in batches if (numbers[batch] == group).any()]
        assert len(holders) == 1
        kept = holders[0][numbers[holders[0]] == group]
        assert torch.equal(kept, kept.sort().values)
    assert all(len(batch) >= size for batch in batches[:-1])


def test_groups_come_in_another_order_each_time_they_are_shuffled():
    generator = torch.Generator().manual_seed(0)
    rows = make_rows([0, 0, 1, 1, 2, 2, 3, 3])
    seen = {tuple(torch.cat(cut_batches(rows, 3, generator=generator)).tolist()) for _ in range(20)}
    assert len(seen) > 5


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 4), st.booleans())
def test_processes_share_a_batch_without_rest(groups, parts, grouped):
    numbers = torch.tensor(groups) if grouped else None
    batch = torch.arange(len(groups))
    shares = [share_out(batch, numbers, part=part, parts=parts) for part in range(parts)]
    assert sorted(torch.cat(shares).tolist()) == batch.tolist()
    if grouped:
        owners = [{groups[row] for row in share.tolist()} for share in shares]
        assert sum(map(len, owners)) == len(set(groups))
