import numpy as np
import pytest
import torch

from mm_assets.contracts.errors import ConfigError
from mm_assets.modalities.base import load_modality
from mm_assets.training.encoder_fitting import FITTERS

COLUMNS = {"age": "numeric", "plan": "categorical"}
MODALITY = load_modality("tabular", {"columns": COLUMNS}, {}, where="modalities.x")
ROWS = [{"age": 30.0, "plan": "pro"}, {"age": None, "plan": "free"}, {"age": 50.0, "plan": None}]


@pytest.fixture
def encoder(build):
    return build("tabular_mlp", "tabular", dim=8, hidden=16)


@pytest.fixture
def state(encoder, give_state):
    constants = FITTERS[encoder.name]([MODALITY.collate(ROWS, {})], encoder.options)
    return give_state(encoder, outputs=3, **constants)


def test_the_first_layer_adds_up_a_vector_per_category(encoder, state):
    """A row of one known category and nothing else has that category's column of the weights."""
    first = encoder.network(state).first.last[0]
    slots = encoder.network(state).first.first
    row = MODALITY.collate([{"age": None, "plan": "pro"}], {})
    other = MODALITY.collate([{"age": None, "plan": None}], {})
    one, two = (first(slots(*map(torch.from_numpy, arrays.values()))) for arrays in (row, other))
    # Slots: age scaled, age missing; free, pro (as hashes come), missing, other.
    columns = first.weight.T  # (slot, hidden)
    differences = [columns[place] - columns[4] for place in (2, 3)]
    assert min((one - two - wanted).abs().max().item() for wanted in differences) < 1e-6


def test_unseen_categories_are_alike_and_rows_do_not_depend_on_others(encoder, state, encode):
    network = encoder.network(state)
    rows = [{"age": 1.0, "plan": "new"}, {"age": 1.0, "plan": "newer"}, *ROWS]
    vectors = encode(encoder, network, rows, columns=COLUMNS)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    alone = encode(encoder, network, rows[:1], columns=COLUMNS)
    np.testing.assert_allclose(alone[0], vectors[0], atol=1e-6)


def test_the_golden_vector_is_unchanged(encoder, state, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    vector = encode(encoder, encoder.network(state), ROWS[:1], columns=COLUMNS)[0]
    np.testing.assert_allclose(vector, [0.162593, 0.341846, -0.19862], atol=1e-4)
    assert encoder.version == 1


def test_an_objective_that_it_does_not_have_is_refused(build):
    with pytest.raises(ConfigError, match=r"must be one of supervised, contrastive, got 'masked'"):
        build("tabular_mlp", "tabular", objective="masked")


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, state, compare_export):
    assert compare_export(encoder, encoder.network(state), ROWS, columns=COLUMNS) < 1e-5
