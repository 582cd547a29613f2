import hashlib
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mm_assets.contracts.errors import BadSampleError
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.text import clean_text

HERE = Path()


def make(augment=None, **options):
    return load_modality("text", options, augment or {}, where="modalities.text")


@pytest.fixture
def tokenizer(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "morning", "all"]
    built = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    built.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    built.enable_padding(length=9)  # as published tokenizers often are; must not win
    built.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("  a\t b\r\n c ", "a b c"),
        ("a\x00b\x07c\x1b[0m", "abc[0m"),
        ("e\u0301", "é"),
        ("ab\u3000 c\u00a0d", "ab c d"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # noqa: RUF001 - Persian, with its joiner
        ("क\u094d\u200dष", "क\u094d\u200dष"),  # Devanagari
        ("👩\u200d🔧 ok", "👩\u200d🔧 ok"),
        ("你好，世界", "你好，世界"),  # noqa: RUF001
        ("مرحبا", "مرحبا"),
        ("a\ud800b", "ab"),
    ],
)
def test_cleaning_harms_no_script(given, cleaned):
    assert clean_text(given) == cleaned


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text):
    once = clean_text(text)
    assert clean_text(once) == once
    assert unicodedata.is_normalized("NFC", once)


def test_texts_that_read_alike_are_one_content():
    # "é" as one code point and as two.
    assert make().probe(" H\u00e9  there\n", HERE) == make().probe("He\u0301 there", HERE)
    assert make().probe("Hé there", HERE)["content"] != make().probe("He there", HERE)["content"]


def test_probe_measures_and_digests_the_cleaned_text():
    assert make().probe(" Hé  there\n", HERE) == {
        "content": hashlib.sha256("Hé there".encode()).hexdigest(),
        "chars": 8,
        "words": 2,
    }


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("", "text_empty"),
        (" \n\t", "text_empty"),
        ("\u200b\u200d\ufeff", "text_empty"),
        (3.5, "text_not_text"),
        ("long text", "text_too_long"),
    ],
)
def test_a_bad_text_has_its_reason(cell, reason):
    modality = make(max_chars=5)
    for look in (modality.probe, modality.decode):
        with pytest.raises(BadSampleError) as caught:
            look(cell, HERE)
        assert caught.value.reason == reason


def test_the_limit_is_named():
    with pytest.raises(BadSampleError, match=r"the text has 6 characters, the limit is 5"):
        make(max_chars=5).decode("sixsix", HERE)


def test_a_batch_is_padded_to_its_longest_text(tokenizer):
    arrays = make().collate(["good morning all", "good"], {"tokenizer": tokenizer, "max_tokens": 8})
    np.testing.assert_array_equal(arrays["ids"], [[2, 4, 5, 6, 3], [2, 4, 3, 0, 0]])
    np.testing.assert_array_equal(arrays["mask"], [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    assert list(arrays) == ["ids", "mask"]
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int64)}


def test_a_long_text_is_cut_and_keeps_its_end_token(tokenizer):
    arrays = make().collate(["good morning all"], {"tokenizer": tokenizer, "max_tokens": 4})
    np.testing.assert_array_equal(arrays["ids"], [[2, 4, 5, 3]])


def test_the_placeholder_is_the_special_tokens(tokenizer):
    inputs = {"tokenizer": tokenizer, "max_tokens": 4}
    modality = make()
    arrays = modality.collate([modality.placeholder(inputs)], inputs)
    np.testing.assert_array_equal(arrays["ids"], [[2, 3]])


def test_no_chance_of_change_changes_nothing():
    modality = make({"drop": 0.0, "swap": 0.0, "typo": 0.0})
    plan = modality.plan(np.random.default_rng(0))
    assert modality.render("not one word moves", plan) == "not one word moves"


def test_dropping_everything_leaves_one_word():
    modality = make({"drop": 1.0, "swap": 0.0, "typo": 0.0})
    words = {
        modality.render("a b c", modality.plan(np.random.default_rng(seed))) for seed in range(40)
    }
    assert words == {"a", "b", "c"}


def test_swapping_and_misspelling_keep_every_letter():
    modality = make({"drop": 0.0, "swap": 0.5, "typo": 1.0})
    text = "wonderful parcels नमस्ते arrive 12345 tomorrow"
    rendered = modality.render(text, modality.plan(np.random.default_rng(1)))
    assert rendered != text
    assert sorted(rendered) == sorted(text)
    assert {"नमस्ते", "12345"} <= set(rendered.split()), "words with marks or digits stay whole"


@given(st.text(min_size=1), st.integers(0, 2**31))
def test_a_rendering_is_the_same_each_time_and_still_legal(text, seed):
    modality = make({"drop": 0.3, "swap": 0.3, "typo": 0.3})
    try:
        value = modality.decode(text, HERE)
    except BadSampleError:
        return
    plan = json.loads(json.dumps(modality.plan(np.random.default_rng(seed))))
    once = modality.render(value, plan)
    assert once == modality.render(value, plan)
    assert once == clean_text(once) != ""
