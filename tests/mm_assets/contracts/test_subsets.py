import pytest

from mm_assets.contracts.subsets import list_specialists, list_subsets


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_up_to_five_modalities_every_subset_is_reported(count):
    names = [f"m{i}" for i in range(count)]
    subsets = list_subsets(names)
    assert len(set(subsets)) == len(subsets) == 2**count - 1
    assert subsets[-1] == tuple(names)
    assert all(list(subset) == sorted(subset) for subset in subsets)


def test_beyond_five_each_alone_all_but_one_and_all_are_reported():
    names = [f"m{i}" for i in range(7)]
    assert [len(subset) for subset in list_subsets(names)] == [1] * 7 + [6] * 7 + [7]


def test_up_to_three_modalities_every_proper_subset_has_a_specialist_beyond_that_each_alone():
    assert list_specialists(["a"]) == []
    assert list_specialists(["a", "b"]) == [("a",), ("b",)]
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    assert list_specialists(["a", "b", "c"]) == [("a",), ("b",), ("c",), *pairs]
    assert list_specialists("abcdef") == [(name,) for name in "abcdef"]
