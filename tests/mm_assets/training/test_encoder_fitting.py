from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mm_assets.contracts.errors import TrainingError
from mm_assets.encoders.base import find_encoder, list_encoders, load_encoder
from mm_assets.encoders.learned import LearnedEncoder
from mm_assets.training.encoder_fitting import FITTERS, fit_encoder

ENCODER = load_encoder("standardized", {}, kind="features", weights=Path(), where="x")


def test_every_encoder_that_takes_statistics_has_a_fitter():
    found = {name: find_encoder(name) for name in list_encoders()}
    fitted = {name for name, encoder in found.items() if encoder.fitted}
    networks = {name for name in fitted if issubclass(found[name], LearnedEncoder)}
    assert fitted - networks <= set(FITTERS) <= fitted  # a network may need constants


@given(arrays(np.float32, (7, 3), elements=st.floats(-1e3, 1e3, width=32)))
def test_standardised_training_rows_have_mean_0_and_deviation_1_or_0(rows):
    state = fit_encoder(ENCODER, [{"vector": rows[:4]}, {"vector": rows[4:]}])
    scaled = (rows.astype(np.float64) - state["mean"]) / state["scale"]
    deviation = scaled.std(axis=0)
    varies = rows.std(axis=0) > 1e-2  # below that, float32 rounding of the mean shows
    np.testing.assert_allclose(deviation[varies], 1, rtol=1e-3)
    np.testing.assert_allclose(scaled.mean(axis=0)[varies], 0, atol=1e-2)
    assert (state["scale"] > 0).all()


def test_a_number_that_never_varies_becomes_zero():
    rows = np.tile(np.float32([0.1, 0, 1e6]), (9, 1))
    state = fit_encoder(ENCODER, [{"vector": rows}])
    np.testing.assert_array_equal(state["scale"], 1)
    np.testing.assert_array_equal(rows - state["mean"], 0)
    assert {value.dtype for value in state.values()} == {np.dtype(np.float32)}


def test_no_training_row_is_an_error():
    with pytest.raises(TrainingError, match=r"standardized is fitted on training rows, but none"):
        fit_encoder(ENCODER, [])


def fit_columns(numbers, categories, **options):
    encoder = load_encoder("tabular", options, kind="tabular", weights=Path(), where="x")
    arrays = {
        "numbers": np.array(numbers, np.float32),
        "categories": np.array(categories, np.int64),
    }
    return fit_encoder(encoder, [arrays])


def test_the_scale_of_a_number_is_its_interquartile_range_or_what_is_left_of_it():
    numbers = [[n, 5, 10.0 * (n == 8), np.nan] for n in range(9)]
    state = fit_columns(numbers, np.empty((9, 0)))
    np.testing.assert_array_equal(state["median"], [4, 5, 0, 0])
    # Quartiles of 0..8 are 2 and 6; one 10 among nine numbers deviates by 10 sqrt(8) / 9.
    np.testing.assert_allclose(state["scale"], [4, 1, 10 * 8**0.5 / 9, 1], rtol=1e-6)
    assert len(state["categories"]) == len(state["categories_per_column"]) == 0


def test_missing_numbers_are_left_out_of_the_statistics():
    state = fit_columns([[1], [np.nan], [2], [3], [np.nan]], np.empty((5, 0)))
    assert (state["median"].tolist(), state["scale"].tolist()) == ([2], [1])


def test_the_most_frequent_categories_of_each_column_have_slots():
    categories = [[7, 1], [7, 2], [0, 3], [5, 3], [9, 0], [5, 4]]
    state = fit_columns(np.empty((6, 0)), categories, max_categories=2)
    assert state["categories"].tolist() == [5, 7, 3, 1]
    assert state["categories_per_column"].tolist() == [2, 2]
