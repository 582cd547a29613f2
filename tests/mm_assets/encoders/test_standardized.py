import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from mm_assets.contracts.errors import DataContractError
from mm_assets.training.encoder_fitting import fit_encoder

ROWS = np.random.default_rng(0).normal(3, [1, 10, 0.1], (50, 3)).astype(np.float32)


def test_it_agrees_with_scikit_learn(build, encode):
    encoder = build("standardized", "features")
    state = fit_encoder(encoder, [{"vector": ROWS[:30]}, {"vector": ROWS[30:]}])
    vectors = encode(encoder, encoder.network(state), list(ROWS), dim=3)
    np.testing.assert_allclose(vectors, StandardScaler().fit_transform(ROWS), atol=2e-5)
    assert encoder.dim(state) == 3


def test_it_needs_its_state(build):
    encoder = build("standardized", "features")
    with pytest.raises(DataContractError, match=r"needs its fitted state, got none"):
        encoder.network()
    with pytest.raises(DataContractError, match=r"read_embeddings\(...\).state"):
        encoder.dim()


def test_another_state_is_another_fingerprint(build):
    encoder = build("standardized", "features")
    one, two = (fit_encoder(encoder, [{"vector": rows}]) for rows in (ROWS, ROWS[1:]))
    assert encoder.fingerprint(one, preprocessing={}) == encoder.fingerprint(one, preprocessing={})
    assert encoder.fingerprint(one, preprocessing={}) != encoder.fingerprint(two, preprocessing={})


def test_the_golden_vector_is_unchanged(build, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder = build("standardized", "features")
    state = {"mean": np.float32([1, 2, 3]), "scale": np.float32([2, 4, 0.5])}
    vectors = encode(encoder, encoder.network(state), [np.float32([2, 0, 3])], dim=3)
    np.testing.assert_allclose(vectors, [[0.5, -0.5, 0]])
    assert encoder.version == 1


@pytest.mark.slow
def test_the_exported_graph_agrees(build, compare_export):
    encoder = build("standardized", "features")
    state = fit_encoder(encoder, [{"vector": ROWS}])
    assert compare_export(encoder, encoder.network(state), list(ROWS[:3]), dim=3) < 1e-6
