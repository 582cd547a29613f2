import math
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from mm_assets.contracts.errors import ConfigError, DataContractError, TrainingError
from mm_assets.modalities.base import load_modality
from mm_assets.training.encoder_fitting import fit_encoder

TEXTS = [
    "我的包裹还没有到。",
    "包裹三天前就应该到了。",
    "发票上的金额不对。",
    "الطرد لم يصل بعد",
    "الفاتورة غير صحيحة",
    "พัสดุยังไม่มาถึง",
    "ใบแจ้งหนี้ไม่ถูกต้อง",
    "The parcel has not arrived.",
    "The invoice is wrong, wrong, WRONG.",
    "पार्सल अभी तक नहीं आया",
    "😀😀👍🏽 super 👩\u200d🔧",
    "\N{FULLWIDTH LATIN CAPITAL LETTER A}\N{FULLWIDTH LATIN CAPITAL LETTER B}C full width",
]


@pytest.fixture
def encoder(build):
    return build("hashed_ngrams", "text", dim=4)


def fit(encoder, texts):
    modality = load_modality("text", {}, {}, where="x")
    batches = [
        modality.collate(texts[at : at + 5], encoder.inputs()) for at in range(0, len(texts), 5)
    ]
    return fit_encoder(encoder, batches)


def hash_slowly(ngram, bits):
    """FNV-1a with Python's own integers, folded twice."""
    value = 0xCBF29CE484222325
    for char in ngram:
        value = (value ^ ord(char)) * 0x100000001B3 % 2**64
    value = (value >> 32) ^ (value % 2**32)
    return ((value >> bits) ^ value) % 2**bits


def weigh_slowly(texts, bits):
    """Count n-grams with scikit-learn, hash them one by one, 1 + ln(count)."""
    analyze = CountVectorizer(analyzer="char", ngram_range=(1, 4), lowercase=False).build_analyzer()
    matrix = np.zeros((len(texts), 2**bits))
    for row, text in enumerate(texts):
        for bucket, count in Counter(hash_slowly(n, bits) for n in analyze(text)).items():
            matrix[row, bucket] = 1 + math.log(count)
    return matrix


def test_it_is_tf_idf_and_a_truncated_svd_of_character_ngrams(encoder, encode):
    folded = [f" {text.casefold()} " for text in TEXTS[:-1]] + [" abc full width "]
    counts = weigh_slowly(folded, bits=16)
    present = (counts > 0).sum(axis=0)
    rows = counts * (np.log((1 + len(TEXTS)) / (1 + present)) + 1)
    _, _, directions = np.linalg.svd(
        rows / np.linalg.norm(rows, axis=1, keepdims=True), full_matrices=False
    )
    expected = rows @ directions[:4].T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)

    state = fit(encoder, TEXTS)
    vectors = encode(encoder, encoder.network(state), TEXTS)

    # A direction's sign is nobody's choice, so angles between texts are compared.
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert encoder.dim(state) == 4
    assert state["table"].shape == (1 + (present > 0).sum(), 4)


@pytest.mark.parametrize(
    ("one", "alike", "other"),
    [
        ("包裹没有到", "包裹还没有到", "发票金额不对"),
        ("الطرد لم يصل", "لم يصل الطرد بعد", "الفاتورة غير صحيحة"),
        ("พัสดุยังไม่มา", "พัสดุยังไม่มาถึง", "ใบแจ้งหนี้ไม่ถูกต้อง"),
        ("parcel arrived", "PARCELS arrive", "invoice wrong"),
        ("😀👍🏽", "😀😀", "पार्सल"),
    ],
)
def test_texts_that_share_characters_are_nearer_in_any_script(build, encode, one, alike, other):
    encoder = build("hashed_ngrams", "text", dim=11)
    vectors = encode(encoder, encoder.network(fit(encoder, TEXTS)), [one, alike, other])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_empty_and_unseen_texts_are_zero_and_neighbours_do_not_matter(build, encode):
    encoder = build("hashed_ngrams", "text", shortest=2)
    network = encoder.network(fit(encoder, TEXTS[:3]))
    alone = encode(encoder, network, [TEXTS[0]])
    beside = encode(encoder, network, ["", TEXTS[0], "zq", TEXTS[1] * 9])
    np.testing.assert_array_equal(beside[[0, 2]], 0)
    np.testing.assert_allclose(beside[1], alone[0], atol=1e-6)


def test_few_rows_or_equal_ones_give_fewer_numbers(build):
    encoder = build("hashed_ngrams", "text")
    assert encoder.dim(fit(encoder, TEXTS)) == 12
    assert encoder.dim(fit(encoder, TEXTS[:3] * 3)) == 3
    assert encoder.dim(fit(encoder, ["好"])) == 1
    many = [TEXTS[0]] * 200 + [TEXTS[1]] * 200
    assert encoder.dim(fit(encoder, many)) == 2


def test_fitting_twice_gives_equal_states(encoder):
    one, two = fit(encoder, TEXTS), fit(encoder, TEXTS)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    three = fit(encoder, TEXTS[1:])
    assert encoder.fingerprint(one, preprocessing={}) != encoder.fingerprint(
        three, preprocessing={}
    )


def test_what_lies_beyond_max_chars_is_not_read(build, encode):
    encoder = build("hashed_ngrams", "text", max_chars=4)
    network = encoder.network(fit(encoder, TEXTS))
    vectors = encode(encoder, network, ["包裹没有到", "包裹没有钱"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_of_a_great_many_texts_evenly_spaced_batches_are_taken(encoder, monkeypatch):
    from mm_assets.training import encoder_fitting

    monkeypatch.setattr(encoder_fitting, "MOST_TEXT_BATCHES", 4)
    kept = encoder_fitting._thin({"n": np.array(n)} for n in range(19))
    assert [int(batch["n"]) for batch in kept] == [0, 8, 16]
    assert len(encoder_fitting._thin({"n": np.array(n)} for n in range(4))) == 4


def test_texts_shorter_than_the_shortest_ngram_cannot_be_learnt_from(build):
    encoder = build("hashed_ngrams", "text", shortest=8, longest=8)
    with pytest.raises(
        TrainingError, match=r"found no run of 8 to 8 characters .* lower `shortest`"
    ):
        fit(encoder, ["短"])


def test_it_needs_its_state(encoder):
    with pytest.raises(DataContractError, match=r"fitted state, got none"):
        encoder.network()
    with pytest.raises(DataContractError, match=r"read_embeddings\(...\).state"):
        encoder.dim()


def test_ngrams_in_the_wrong_order_are_named(build):
    with pytest.raises(
        ConfigError, match=r"`modalities.x.encoder`: `shortest` 5 must not exceed `longest` 4"
    ):
        build("hashed_ngrams", "text", shortest=5)


def test_the_golden_vector_is_unchanged(build, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder = build("hashed_ngrams", "text", longest=2, bits=8)
    lookup = np.arange(256, dtype=np.int32)
    table = np.stack([np.cos(lookup), np.sin(lookup), lookup / 256], axis=1).astype(np.float32)
    vectors = encode(encoder, encoder.network({"lookup": lookup, "table": table}), ["Ünï 你好"])
    np.testing.assert_allclose(vectors, [[-0.41239, -0.01712, 0.91085]], atol=1e-5)
    assert encoder.version == 1


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, compare_export):
    network = encoder.network(fit(encoder, TEXTS))
    assert compare_export(encoder, network, [TEXTS[0], TEXTS[8], TEXTS[5]]) < 1e-5
