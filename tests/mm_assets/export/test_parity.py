import numpy as np
import pytest

from mm_assets.export.parity import compare, round_up


def batches(subset, size):
    return {"x": np.full((size, 1), len(subset), np.float32)}, np.ones((size, 2), bool)


def test_the_largest_difference_of_any_target_and_row_is_found():
    def first(arrays, presence):
        return {"p": arrays["x"], "q": arrays["x"]}

    def second(arrays, presence):
        shifted = arrays["x"].copy()
        shifted[-1] += 0.25 * len(shifted)
        return {"p": arrays["x"], "q": shifted}

    found = compare(first, second, batches, [("a",), ("b",), ("a", "b")], sizes=(1, 3))

    assert [(d.subset, d.batch, d.largest) for d in found] == [
        ("a", 1, 0.25), ("a", 3, 0.75), ("b", 1, 0.25), ("b", 3, 0.75), ("a+b", 1, 0.25), ("a+b", 3, 0.75),
    ]  # fmt: skip


def test_a_value_that_is_not_finite_is_an_infinite_difference():
    def broken(arrays, presence):
        return {"p": arrays["x"] * np.nan}

    def fine(arrays, presence):
        return {"p": arrays["x"]}

    assert compare(broken, fine, batches, [("a",)], sizes=(1,))[0].largest == np.inf


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 0.0), (2.1e-7, 3e-7), (3e-7, 3e-7), (9.5e-5, 1e-4), (np.inf, np.inf)],
)
def test_rounding_goes_up_to_one_digit(value, expected):
    assert round_up(value) == expected
