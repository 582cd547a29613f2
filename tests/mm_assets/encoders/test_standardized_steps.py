import numpy as np
import pytest
import torch

from mm_assets.modalities.base import load_modality
from mm_assets.training.encoder_fitting import fit_encoder

OPTIONS = {"dim": 2, "sequence": True}
MODALITY = load_modality("features", OPTIONS, {}, where="modalities.x")
RNG = np.random.default_rng(0)
ROWS = [RNG.normal(3, 5, (steps, 2)).astype(np.float32) for steps in (4, 1, 6)]


@pytest.fixture
def encoder(build):
    return build("standardized_steps", "features")


@pytest.fixture
def state(encoder):
    return fit_encoder(
        encoder, [MODALITY.collate(part, encoder.inputs()) for part in (ROWS[:2], ROWS[2:])]
    )


def test_steps_are_z_scores_and_padding_is_masked(encoder, state):
    steps, there = encoder.sequence_network(state)(
        *map(torch.from_numpy, MODALITY.collate(ROWS, encoder.inputs()).values())
    )
    every = np.concatenate(ROWS).astype(np.float64)
    expected = (every - every.mean(axis=0)) / every.std(axis=0)
    np.testing.assert_allclose(steps[there].numpy(), expected, atol=1e-5)
    assert there.sum(dim=1).tolist() == [4, 1, 6]


def test_the_vector_is_mean_and_deviation_of_a_rows_own_steps(encoder, state, encode):
    vectors = encode(encoder, encoder.network(state), ROWS, **OPTIONS)
    every = np.concatenate(ROWS).astype(np.float64)
    for row, vector in zip(ROWS, vectors, strict=True):
        scaled = (row - every.mean(axis=0)) / every.std(axis=0)
        np.testing.assert_allclose(vector, [*scaled.mean(axis=0), *scaled.std(axis=0)], atol=1e-5)
    assert encoder.dim(state) == 4


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, state, compare_export):
    assert compare_export(encoder, encoder.network(state), ROWS, **OPTIONS) < 1e-5
