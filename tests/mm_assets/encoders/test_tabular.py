import numpy as np
import pytest
from sklearn.preprocessing import OneHotEncoder, RobustScaler

from mm_assets.contracts.errors import DataContractError
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.tabular import hash_category
from mm_assets.training.encoder_fitting import fit_encoder

COLUMNS = {"age": "numeric", "debt": "numeric", "plan": "categorical", "town": "categorical"}
RNG = np.random.default_rng(0)


def draw(rows):
    """Draw rows of which some values are missing; the most frequent town is t0."""
    values = {
        "age": RNG.normal(40, 10, rows),
        "debt": np.exp(RNG.normal(5, 2, rows)),
        "plan": RNG.choice(["free", "pro"], rows),
        "town": np.array([f"t{n}" for n in RNG.geometric(0.4, rows) - 1]),
    }
    return [
        {name: None if RNG.random() < 0.1 else values[name][n] for name in COLUMNS}
        for n in range(rows)
    ]


TRAIN, TEST = draw(200), draw(50)


def fit(build, rows=TRAIN, columns=COLUMNS, **options):
    encoder = build("tabular", "tabular", **options)
    modality = load_modality("tabular", {"columns": columns}, {}, where="modalities.x")
    half = len(rows) // 2
    batches = [modality.collate(part, {}) for part in (rows[:half], rows[half:])]
    return encoder, fit_encoder(encoder, batches)


def test_numbers_agree_with_scikit_learn(build, encode):
    columns = {"age": "numeric", "debt": "numeric"}
    encoder, state = fit(build, columns=columns, clip=1e9)
    vectors = encode(encoder, encoder.network(state), TEST, columns=columns)
    matrices = [
        np.array([[row["age"], row["debt"]] for row in rows], dtype=np.float64)
        for rows in (TRAIN, TEST)
    ]
    expected = RobustScaler().fit(matrices[0]).transform(matrices[1])
    np.testing.assert_allclose(vectors[:, :2], np.nan_to_num(expected), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(vectors[:, 2:], np.isnan(matrices[1]))


def test_categories_agree_with_scikit_learn(build, encode):
    """Its infrequent categories come last, and unknown ones count among them."""
    columns = {"town": "categorical"}
    encoder, state = fit(build, columns=columns, max_categories=3)
    vectors = encode(encoder, encoder.network(state), TEST, columns=columns)
    towns = [
        np.array([[row["town"]] for row in rows if row["town"]], dtype=object)
        for rows in (TRAIN, TEST)
    ]
    theirs = OneHotEncoder(
        max_categories=4, handle_unknown="infrequent_if_exist", sparse_output=False
    ).fit(towns[0])
    known = theirs.categories_[0][~np.isin(theirs.categories_[0], theirs.infrequent_categories_[0])]
    # Ours: by falling frequency, then missing, then other. Theirs: by name, then other.
    order = [list(state["categories"]).index(hash_category(name)) for name in known]
    present = np.array([row["town"] is not None for row in TEST])
    np.testing.assert_array_equal(vectors[present][:, [*order, 4]], theirs.transform(towns[1]))
    np.testing.assert_array_equal(vectors[:, 3], ~present)
    assert (vectors.sum(axis=1) == 1).all()


def test_a_vector_has_the_length_that_is_stated(build, encode):
    encoder, state = fit(build)
    vectors = encode(encoder, encoder.network(state), TEST, columns=COLUMNS)
    towns = len({row["town"] for row in TRAIN} - {None})
    assert vectors.shape[1] == encoder.dim(state) == 2 * 2 + (2 + 2) + (towns + 2)


def test_far_numbers_are_clipped(build, encode):
    columns = {"age": "numeric"}
    encoder, state = fit(build, columns=columns, clip=3.0)
    rows = [{"age": age} for age in (-3e38, 3e38, float(state["median"][0]), None)]
    vectors = encode(encoder, encoder.network(state), rows, columns=columns)
    np.testing.assert_array_equal(vectors, [[-3, 0], [3, 0], [0, 0], [0, 1]])


def test_they_need_their_state(build):
    encoder = build("tabular", "tabular")
    with pytest.raises(DataContractError, match=r"needs its fitted state, got none"):
        encoder.network()
    with pytest.raises(DataContractError, match=r"read_embeddings\(...\).state"):
        encoder.dim()


def test_another_state_is_another_fingerprint(build):
    (encoder, one), (_, two) = fit(build), fit(build, TRAIN[:-20])
    assert encoder.fingerprint(one, preprocessing={}) == encoder.fingerprint(one, preprocessing={})
    assert encoder.fingerprint(one, preprocessing={}) != encoder.fingerprint(two, preprocessing={})


def test_the_golden_vector_is_unchanged(build, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder = build("tabular", "tabular")
    state = {
        "median": np.float32([40, 100]),
        "scale": np.float32([10, 50]),
        "categories": np.array([hash_category(name) for name in ("pro", "free", "t0")]),
        "categories_per_column": np.array([2, 1]),
    }
    rows = [
        {"age": 45.0, "debt": None, "plan": "free", "town": "t9"},
        {"age": 0.0, "debt": 1e6, "plan": None, "town": "t0"},
    ]
    vectors = encode(encoder, encoder.network(state), rows, columns=COLUMNS)
    # age and debt, missing age and debt; pro, free, none; t0, none; other plan, other town
    np.testing.assert_allclose(
        vectors,
        [[0.5, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1], [-4, 10, 0, 0, 0, 0, 1, 1, 0, 0, 0]],
    )
    assert encoder.version == 1


@pytest.mark.slow
@pytest.mark.parametrize("kept", [("age", "debt", "plan", "town"), ("age",), ("plan",)])
def test_the_exported_graph_agrees(build, compare_export, kept):
    columns = {name: COLUMNS[name] for name in kept}
    encoder, state = fit(build, columns=columns)
    rows = [TRAIN[0], {"age": None, "debt": 7.0, "plan": "new", "town": None}, TEST[0]]
    assert compare_export(encoder, encoder.network(state), rows, columns=columns) < 1e-6
