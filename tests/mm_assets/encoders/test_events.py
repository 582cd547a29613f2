"""The three encoders of histories."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mm_assets.modalities.base import load_modality
from mm_assets.training.encoder_fitting import fit_encoder

EVENTS = load_modality("events", {}, {}, where="modalities.visits")
HISTORIES = [
    EVENTS.decode(cell, Path())
    for cell in (
        [[0, "view"], [30, "view"], [90, "buy", 20.0], [86_490, "buy", 5.0]],
        [[0, "view"], [1, "search"], [2, "return", -3.0], [3, "view"], [7200, "view"]],
        [],
    )
]
LEARNED = ["event_gru", "event_transformer"]


def fit_counts(build, **options):
    encoder = build("event_counts", "events", **options)
    return encoder, fit_encoder(encoder, [EVENTS.collate(HISTORIES, encoder.inputs())])


def test_counts_are_those_of_a_person(build, encode):
    encoder, state = fit_counts(build, windows_s=[3600.0], max_types=2)
    vector = encode(encoder, encoder.network(state), HISTORIES)[0]
    # Slots: view (4 of 9 events in all), buy (2), all others. Windows: everything, the last hour.
    gaps = np.log1p([30, 60, 86_400])
    expected = [
        *np.log1p([2, 2, 0]),
        *np.log1p([0, 1, 0]),
        *np.log1p([0, 25, 0]),
        np.log1p(4),
        gaps.mean(),
        gaps.std(),
        gaps.max(),
        np.log1p(86_490),
    ]
    np.testing.assert_allclose(vector, expected, rtol=1e-5)
    assert encoder.dim(state) == len(expected)


def test_rare_and_unknown_types_are_counted_together(build, encode):
    encoder, state = fit_counts(build, windows_s=[], max_types=1)
    histories = [EVENTS.decode([[0, kind], [1, "view"]], Path()) for kind in ("search", "new")]
    one, two = encode(encoder, encoder.network(state), histories)
    np.testing.assert_array_equal(one, two)


def test_no_event_is_a_vector_of_zeros(build, encode):
    encoder, state = fit_counts(build)
    assert not encode(encoder, encoder.network(state), HISTORIES[2:]).any()


def test_the_golden_counts_are_unchanged(build, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder, state = fit_counts(build)
    vector = encode(encoder, encoder.network(state), HISTORIES[1:2])[0]
    np.testing.assert_allclose(
        vector[[0, 1, -9, -5, -4, -3, -2, -1]],
        [1.386294, 0.0, 0.0, 1.791759, 2.74025, 3.545686, 8.881558, 8.881975],
        rtol=1e-5,
    )
    assert encoder.version == 1


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("outputs", [None, 3])
def test_a_vector_does_not_depend_on_its_neighbours(name, outputs, build, give_state, encode):
    objective = "supervised" if outputs else "masked"
    encoder = build(name, "events", dim=16, objective=objective)
    state = give_state(encoder, outputs=outputs)
    network = encoder.network(state)
    beside = encode(encoder, network, HISTORIES)
    assert beside.shape == (3, outputs or 16) == (3, encoder.dim(state))
    for place in range(3):
        alone = encode(encoder, network, HISTORIES[place : place + 1])[0]
        np.testing.assert_allclose(beside[place], alone, atol=1e-6)


@pytest.mark.parametrize("name", LEARNED)
def test_the_order_of_events_matters(name, build, give_state, encode):
    encoder = build(name, "events", dim=16, objective="masked")
    network = encoder.network(give_state(encoder))
    orders = [[[0, "a"], [10, "b"], [20, "a"]], [[0, "b"], [10, "a"], [20, "a"]]]
    one, two = encode(encoder, network, [EVENTS.decode(order, Path()) for order in orders])
    assert np.abs(one - two).max() > 1e-3


@pytest.mark.parametrize("name", LEARNED)
def test_masked_types_are_learnt(name, build):
    """An event's value tells its type, so a masked one can be told: the loss goes far below ln 2."""
    rng = np.random.default_rng(0)
    histories = [
        EVENTS.decode(
            [[t, "ab"[k], 2 * k - 1] for t, k in enumerate(rng.integers(2, size=12))], Path()
        )
        for _ in range(16)
    ]
    encoder = build(name, "events", dim=16, objective="masked", dropout=0.0)
    arrays = EVENTS.collate(histories, encoder.inputs())
    tensors = [torch.from_numpy(array) for array in arrays.values()]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = encoder.body({})
        optimizer = torch.optim.Adam(body.parameters(), lr=1e-2)
        losses = []
        for _ in range(60):
            loss = body.self_supervised_loss(*tensors)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert np.mean(losses[:5]) > 0.6
    assert np.mean(losses[-10:]) < 0.1


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("event_gru", [-0.421211, -0.247786, -0.257913, -0.074861]),
        ("event_transformer", [0.073479, -0.687444, -0.125271, 0.290963]),
    ],
)
def test_the_golden_vector_is_unchanged(name, golden, build, give_state, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder = build(name, "events", dim=16)
    vector = encode(encoder, encoder.network(give_state(encoder, outputs=4)), HISTORIES[:1])[0]
    np.testing.assert_allclose(vector, golden, atol=1e-4)
    assert encoder.version == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["event_counts", *LEARNED])
def test_the_exported_graph_agrees(name, build, give_state, compare_export):
    if name == "event_counts":
        encoder, state = fit_counts(build)
    else:
        encoder = build(name, "events", dim=16)
        state = give_state(encoder, outputs=4)
    assert (
        compare_export(encoder, encoder.network(state), [HISTORIES[place] for place in (0, 2, 1)])
        < 1e-5
    )


def test_heads_that_do_not_fit_are_refused(build):
    with pytest.raises(Exception, match=r"`dim` 20 must be a multiple of 2 `heads` = 8"):
        build("event_transformer", "events", dim=20)
