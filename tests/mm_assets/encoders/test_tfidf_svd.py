from itertools import pairwise

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from mm_assets.contracts.errors import ConfigError
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.text import split_words
from mm_assets.training.encoder_fitting import fit_encoder

TEXTS = [
    "The parcel has not arrived.",
    "The parcel arrived broken, and the box was not closed!",
    "Is the invoice wrong?",
    "The invoice is wrong, wrong, WRONG.",
    "I was charged twice on one invoice.",
    "包裹还没有到。",
    "包裹三天前就应该到了。",
    "发票上的金额不对。",
    "الطرد لم يصل بعد",
    "الفاتورة غير صحيحة",
]


@pytest.fixture
def encoder(build):
    return build("tfidf_svd", "text", dim=4)


def fit(encoder, texts):
    modality = load_modality("text", {}, {}, where="x")
    return fit_encoder(encoder, [modality.collate(texts, encoder.inputs())])


def list_runs(text):
    words = split_words(text, 500)
    return words + [" ".join(pair) for pair in pairwise(words)]


def test_it_is_scikit_learns_tf_idf_and_truncated_svd(encoder, encode):
    rows = TfidfVectorizer(analyzer=list_runs, sublinear_tf=True).fit_transform(TEXTS)
    expected = TruncatedSVD(4, algorithm="arpack", random_state=0).fit_transform(rows)
    expected = normalize(expected)

    vectors = encode(encoder, encoder.network(fit(encoder, TEXTS)), TEXTS)

    # A direction's sign is nobody's choice, so angles between texts are compared.
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-5)


def test_pairs_of_words_tell_orders_apart(build, encode):
    texts = ["dog bites man", "man bites dog", "cat sleeps", "sun shines"]
    for longest, same in ((1, True), (2, False)):
        encoder = build("tfidf_svd", "text", longest=longest)
        one, two = encode(encoder, encoder.network(fit(encoder, texts)), texts[:2])
        assert np.allclose(one, two, atol=1e-5) is same


def test_empty_and_unseen_texts_are_zero_and_neighbours_do_not_matter(encoder, encode):
    network = encoder.network(fit(encoder, TEXTS))
    alone = encode(encoder, network, [TEXTS[0]])
    beside = encode(encoder, network, ["", TEXTS[0], "zq", TEXTS[1] * 9])
    np.testing.assert_array_equal(beside[[0, 2]], 0)
    np.testing.assert_allclose(beside[1], alone[0], atol=1e-6)


def test_runs_in_the_wrong_order_are_named(build):
    with pytest.raises(ConfigError, match=r"`shortest` 3 must not exceed `longest` 2"):
        build("tfidf_svd", "text", shortest=3)


def test_the_golden_vector_is_unchanged(build, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder = build("tfidf_svd", "text", bits=8)
    lookup = np.arange(256, dtype=np.int32)
    table = np.stack([np.cos(lookup), np.sin(lookup), lookup / 256], axis=1).astype(np.float32)
    network = encoder.network({"lookup": lookup, "table": table})
    vectors = encode(encoder, network, ["Ünï 你好, ünï!"])
    np.testing.assert_allclose(vectors, [[0.36486, 0.24145, 0.89921]], atol=1e-5)
    assert encoder.version == 1


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, compare_export):
    network = encoder.network(fit(encoder, TEXTS))
    assert compare_export(encoder, network, TEXTS[:3]) < 1e-5
