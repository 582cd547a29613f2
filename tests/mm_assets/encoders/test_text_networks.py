"""The encoders that read texts word by word."""

import numpy as np
import pytest
import torch

from mm_assets.contracts.errors import ConfigError
from mm_assets.encoders.networks.words import KNOWN, PADDING, UNKNOWN
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.text import hash_word
from mm_assets.training.encoder_fitting import fit_encoder
from mm_assets.training.network_fitting import fit_network
from mm_assets.training.spool import Spool

TEXT = load_modality("text", {}, {}, where="modalities.text")
NAMES = ["text_cnn", "text_gru"]
VALUES = ["the film was not bad at all", "好电影。", ""]
LOOKUP = np.arange(2**8 + 1, dtype=np.int32) % 20  # 17 words known, others alike


@pytest.fixture
def small(build):
    """Build with vectors of 8 numbers and words of 8 bits."""

    def small(name, **options):
        return build(name, "text", **{"dim": 8, "bits": 8} | options)

    return small


def read(encoder, texts):
    arrays = TEXT.collate(texts, encoder.inputs())
    return [torch.from_numpy(array) for array in arrays.values()]


def test_words_that_occur_often_enough_get_vectors_of_their_own(small):
    encoder = small("text_cnn", bits=16, least_count=2)
    batches = [TEXT.collate(texts, encoder.inputs()) for texts in (["a b", "a"], ["c c d", ""])]

    lookup = fit_encoder(encoder, batches)["lookup"]

    rows = [lookup[1 + hash_word(word, 16)] for word in "abcd"]
    assert sorted([rows[0], rows[2]]) == [KNOWN, KNOWN + 1]
    assert rows[1] == rows[3] == UNKNOWN
    assert lookup[0] == PADDING
    assert (lookup > UNKNOWN).sum() == 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [None, 3])
def test_a_vector_does_not_depend_on_its_neighbours(name, outputs, small, give_state, encode):
    objective = "supervised" if outputs else "contrastive"
    encoder = small(name, objective=objective)
    state = give_state(encoder, outputs=outputs, lookup=LOOKUP)
    network = encoder.network(state)

    beside = encode(encoder, network, [*VALUES, "word " * 200])

    assert beside.shape == (4, outputs or 8) == (4, encoder.dim(state))
    for place, value in enumerate(VALUES):
        alone = encode(encoder, network, [value])[0]
        np.testing.assert_allclose(beside[place], alone, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_words_matters(name, small, give_state, encode):
    encoder = small(name, objective="contrastive")
    network = encoder.network(give_state(encoder, lookup=LOOKUP))
    one, two = encode(encoder, network, ["good not bad", "bad not good"])
    assert np.abs(one - two).max() > 1e-3


def test_phrases_are_found_where_they_are_clearest(small, give_state):
    encoder = small("text_cnn", shortest=2, longest=3)
    body = encoder.network(give_state(encoder, lookup=LOOKUP)).first
    (ids, mask) = read(encoder, ["one two three four"])

    vectors = body.words.table.weight.detach().numpy()[LOOKUP[ids[0]]]  # (4 words, 8)
    vectors = np.concatenate([vectors, np.zeros((2, 8))])
    found = []
    for width, phrase in zip((2, 3), body.phrases, strict=True):
        weight, bias = phrase.weight.detach().numpy(), phrase.bias.detach().numpy()
        windows = [np.einsum("oiw,wi->o", weight, vectors[at : at + width]) for at in range(4)]
        found.append(np.maximum(np.array(windows) + bias, 0).max(axis=0))
    expected = body.narrow(torch.from_numpy(np.concatenate(found)).float())

    np.testing.assert_allclose(body(ids, mask)[0].detach(), expected.detach(), atol=1e-5)


@pytest.mark.parametrize(("cell", "reference"), [("gru", torch.nn.GRU), ("lstm", torch.nn.LSTM)])
def test_each_text_is_read_as_torch_reads_it_in_both_directions(cell, reference, small, give_state):
    encoder = small("text_gru", cell=cell)
    body = encoder.network(give_state(encoder, lookup=LOOKUP)).first
    both = reference(8, 4, batch_first=True, bidirectional=True)
    both.load_state_dict(
        dict(body.onward.state_dict())
        | {f"{name}_reverse": array for name, array in body.back.state_dict().items()}
    )
    ids, mask = read(encoder, VALUES[:2])  # 7 words and 4

    steps, there = body.sequence(ids, mask)

    for row, words in enumerate((7, 4)):
        expected, _ = both(body.words(ids[row : row + 1, :words]))
        np.testing.assert_allclose(steps[row, :words].detach(), expected[0].detach(), atol=1e-6)
        assert there[row].tolist() == [True] * words + [False] * (7 - words)


def test_the_answer_to_a_text_is_a_weighted_mean_of_the_answers_to_its_words(small, give_state):
    encoder = small("text_gru")
    state = give_state(encoder, outputs=3, lookup=LOOKUP)
    ids, mask = read(encoder, VALUES[:1])
    with torch.no_grad():
        steps, _ = encoder.sequence_network(state)(ids, mask)  # (1, 7, 3)
        answer = encoder.network(state)(ids, mask)

    weights = np.linalg.lstsq(
        np.vstack([steps[0].T.numpy(), np.ones(7)]), [*answer[0].tolist(), 1], rcond=None
    )[0]
    np.testing.assert_allclose(steps[0].T.numpy() @ weights, answer[0], atol=1e-5)
    assert answer.shape == (1, 3)
    assert (answer <= steps.amax(dim=1)).all()
    assert (answer >= steps.amin(dim=1)).all()


def test_a_text_without_words_is_zero(small, give_state, encode):
    encoder = small("text_gru", objective="masked")
    assert not encode(encoder, encoder.network(give_state(encoder, lookup=LOOKUP)), [""]).any()


@pytest.mark.slow
def test_masked_words_are_learnt(build, tmp_path):
    """Neighbours tell a word: the loss goes far below ln 6, that of guessing."""
    encoder = build("text_gru", "text", dim=32, objective="masked", dropout=0.0, epochs=60)
    ring = ["red", "green", "blue", "white", "black", "pink"] * 3
    texts = [" ".join(ring[at : at + 8]) for at in range(6)] * 8
    with Spool(tmp_path) as spool:
        for text in texts:
            spool.add(TEXT.collate([text], encoder.inputs()))
        state = fit_network(
            encoder,
            spool,
            np.arange(48),
            partners=np.full(48, -1),
            supervision=None,
            seed=0,
            device=torch.device("cpu"),
            title="fit",
        )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss = encoder.network(state).first.self_supervised_loss(*read(encoder, texts))
    assert loss.item() < 0.5 < np.log(6)


@pytest.mark.parametrize("name", NAMES)
def test_objectives_are_named(name, small):
    with pytest.raises(ConfigError, match=rf"encoder {name} must be one of supervised, .*'bert'"):
        small(name, objective="bert")


def test_phrases_in_the_wrong_order_are_named(small):
    with pytest.raises(ConfigError, match=r"`shortest` 5 must not exceed `longest` 4"):
        small("text_cnn", shortest=5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("text_cnn", [-0.143875, -0.119933, -0.654288]),
        ("text_gru", [-0.051836, -0.088791, 0.166284]),
    ],
)
def test_the_golden_vectors_are_unchanged(name, expected, small, give_state, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder = small(name)
    network = encoder.network(give_state(encoder, outputs=3, lookup=LOOKUP))
    vectors = encode(encoder, network, VALUES[:1])
    np.testing.assert_allclose(vectors, [expected], atol=1e-4)
    assert encoder.version == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("text_cnn", {}), ("text_gru", {}), ("text_gru", {"cell": "lstm"})]
)
def test_the_exported_graph_agrees(name, options, small, give_state, compare_export):
    encoder = small(name, **options)
    network = encoder.network(give_state(encoder, outputs=3, lookup=LOOKUP))
    values = [VALUES[0], VALUES[1], "a much longer text, with nine words or more in it"]
    assert compare_export(encoder, network, values) < 1e-5
