import numpy as np
import pytest

from mm_assets.export.parity import compare, largest_gap, round_up


def batches(subset, size):
    return {"x": np.full((size, 1), len(subset), np.float32)}, np.ones((size, 2), bool)


def test_the_largest_difference_of_any_target_and_row_is_found():
    def first(arrays, presence):
        return {"p": arrays["x"], "q": arrays["x"]}

    def second(arrays, presence):
        shifted = arrays["x"].copy()
        shifted[-1] += 0.25 * len(shifted)
        return {"p": arrays["x"], "q": shifted}

    units = {"p": 1.0, "q": 1.0}
    subsets = [("a",), ("b",), ("a", "b")]
    found = compare(first, second, batches, subsets, units=units, sizes=(1, 3))

    assert [(d.subset, d.batch, d.largest) for d in found] == [
        ("a", 1, 0.25), ("a", 3, 0.75), ("b", 1, 0.25), ("b", 3, 0.75), ("a+b", 1, 0.25), ("a+b", 3, 0.75),
    ]  # fmt: skip


def test_a_value_that_is_not_finite_is_an_infinite_difference():
    def broken(arrays, presence):
        return {"p": arrays["x"] * np.nan}

    def fine(arrays, presence):
        return {"p": arrays["x"]}

    found = compare(broken, fine, batches, [("a",)], units={"p": 1.0}, sizes=(1,))
    assert found[0].largest == np.inf


def test_a_number_differs_in_units_of_its_spread():
    ours = {"share": np.array([[0.25]]), "grams": np.array([[70_000.0], [80_000.0]])}
    theirs = {"share": np.array([[0.5]]), "grams": np.array([[70_000.0], [80_010.0]])}
    assert largest_gap(ours, theirs, units={"share": 1.0, "grams": 20_000.0}) == 0.25
    assert largest_gap(ours, theirs, units={"share": 1.0, "grams": 20.0}) == 0.5


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 0.0), (2.1e-7, 3e-7), (3e-7, 3e-7), (9.5e-5, 1e-4), (np.inf, np.inf)],
)
def test_rounding_goes_up_to_one_digit(value, expected):
    assert round_up(value) == expected
