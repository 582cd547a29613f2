import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.special import erf, softmax
from tokenizers import Tokenizer

SENTENCES = [
    "That is a happy person",
    "That is a happy dog",
    "That is a very happy person",
    "Today is a sunny day",
]

GOLDEN = [-0.033877, 0.091942, 0.048701, -0.034884]


@pytest.fixture(scope="module")
def network(weights):
    from mm_assets.encoders.minilm import MiniLM, MiniLMOptions

    return MiniLM(MiniLMOptions(), weights).network()


@pytest.fixture
def encoder(build, weights):
    return build("minilm", "text", weights)


def test_similarities_are_those_of_the_model_card(encoder, network, encode):
    vectors = encode(encoder, network, SENTENCES)
    # The inference widget of https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
    np.testing.assert_allclose(vectors[0] @ vectors[1:].T, [0.695, 0.943, 0.257], atol=6e-4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert vectors.shape == (4, encoder.dim())


def embed_with_numpy(text, folder):
    """BERT by its paper's formulas (Devlin et al. 2018), sharing no code with the network."""
    state = load_file(folder / "model.safetensors")
    heads = json.loads((folder / "config.json").read_text())["num_attention_heads"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def normalize(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-12)
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def split(x):  # (steps, dim) -> (head, steps, dim / head)
        return x.reshape(len(x), heads, -1).transpose(1, 0, 2)

    ids = tokenizer.encode(text).ids
    x = state["embeddings.word_embeddings.weight"][ids]
    x = x + state["embeddings.position_embeddings.weight"][: len(ids)]
    x = normalize(x + state["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(6):
        at = f"encoder.layer.{layer}"
        query, key, value = (
            split(linear(x, f"{at}.attention.self.{part}")) for part in ("query", "key", "value")
        )
        scores = softmax(query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1]), axis=-1)
        mixed = (scores @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        mixed = linear(mixed, f"{at}.attention.output.dense")
        x = normalize(x + mixed, f"{at}.attention.output.LayerNorm")
        inner = linear(x, f"{at}.intermediate.dense")
        inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
        x = normalize(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_the_network_agrees_with_the_formulas_of_the_paper(weights, encoder, network, encode):
    text = "My parcel (No. 4711) is broken; who pays?"
    expected = embed_with_numpy(text, weights / "minilm")
    np.testing.assert_allclose(encode(encoder, network, [text])[0], expected, atol=2e-6)


def test_a_vector_does_not_depend_on_its_neighbours(encoder, network, encode):
    alone = encode(encoder, network, SENTENCES[:1])
    beside = encode(encoder, network, [SENTENCES[0], "a much longer sentence " * 20])
    np.testing.assert_allclose(beside[:1], alone, atol=1e-6)


def test_the_mean_of_a_sequence_points_where_the_vector_does(encoder, network, encode):
    import torch

    from mm_assets.modalities.base import load_modality

    arrays = load_modality("text", {}, {}, where="x").collate(SENTENCES, encoder.inputs())
    with torch.inference_mode():
        steps, mask = encoder.sequence_network()(*map(torch.from_numpy, arrays.values()))
    assert steps.shape == (*arrays["ids"].shape, 384)
    np.testing.assert_array_equal(mask, arrays["mask"] == 1)
    mean = np.stack([one[real].mean(dim=0) for one, real in zip(steps, mask, strict=True)])
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(encode(encoder, network, SENTENCES), unit, atol=1e-6)


def test_text_beyond_max_tokens_is_not_read(build, weights, network, encode):
    short = build("minilm", "text", weights, max_tokens=5)
    vectors = encode(short, network, ["one two three four", "one two three five six"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_the_golden_vector_is_unchanged(encoder, network, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    vector = encode(encoder, network, SENTENCES[:1])[0]
    np.testing.assert_allclose(vector[:4], GOLDEN, atol=1e-5)
    assert encoder.version == 1


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, network, compare_export):
    assert (
        compare_export(encoder, network, ["short", "a longer text", "the longest text here"]) < 1e-5
    )
