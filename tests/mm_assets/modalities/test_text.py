import hashlib
import json
import time
import unicodedata
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mm_assets.contracts.errors import BadSampleError, ConfigError, DataContractError
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.text import (
    CLUSTER,
    clean_text,
    hash_ngrams,
    hash_word,
    mistype,
    number_words,
    split_units,
    split_words,
    weigh_ngrams,
    weigh_word_ngrams,
)

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
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क\u094d\u200dष", "क\u094d\u200dष"),  # Devanagari
        ("👩\u200d🔧 ok", "👩\u200d🔧 ok"),
        ("你好，世界", "你好，世界"),
        ("مرحبا", "مرحبا"),
        ("مُحَمَّدٌ رَسُولٌ", "مُحَمَّدٌ رَسُولٌ"),  # Arabic with its vowels
        ("\u200fשלום\u200e abc", "\u200fשלום\u200e abc"),
        ("か\u3099ハ\u309aｶﾞ", "がパｶﾞ"),  # kana with a detached voicing mark; half width stays
        ("क्षत्रिय ज्ञान श्री", "क्षत्रिय ज्ञान श्री"),
        ("ที่นี่ น้ำ", "ที่นี่ น้ำ"),
        (
            "👨\u200d👩\u200d👧\u200d👦 👍🏽 🇨🇳 ❤\ufe0f 1\ufe0f\u20e3",
            "👨\u200d👩\u200d👧\u200d👦 👍🏽 🇨🇳 ❤\ufe0f 1\ufe0f\u20e3",
        ),
        ("a\u0328\u0301x", "ą\u0301x"),
        ("한\u1100\u1161", "한가"),
        ("ខ្មែរ မြန်မာ ລາວ", "ខ្មែរ မြန်မာ ລາວ"),
        ("a\ud800b", "ab"),
        ("\ud83d\ude00 in two halves", "😀 in two halves"),
        ("\ufeffa\u202egpj.exe\u202c", "agpj.exe\u202c"),
        ("a" + "\u0301\u0323" * 50 + "b", "ạ" + "\u0323" * 14 + "\u0301" * 15 + "b"),
    ],
)
def test_cleaning_harms_no_script(given, cleaned):
    assert clean_text(given) == cleaned


MANY_MARKS = st.text(st.sampled_from("a\u0301\u0323\u0344\u0f73\u1161\u093c"), max_size=200)


@given(st.text(st.characters()) | MANY_MARKS)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["a" * 10**7, "\ud800" * 10**7, "好" * 10**7, "a" + "\u0301\u0323" * 10**6, "<b>" * 660_000],
)
def test_a_text_of_megabytes_is_judged_at_once(text):
    started = time.process_time()
    with pytest.raises(BadSampleError, match=r"characters"):
        make(max_chars=100_000).probe(text, HERE)
    assert time.process_time() - started < 15


def test_a_text_far_too_long_is_not_even_cleaned():
    with pytest.raises(
        BadSampleError,
        match=r"the text has 101 characters before cleaning; after it, 5 are allowed",
    ):
        make(max_chars=5).decode(" " * 101, HERE)
    assert make(max_chars=5).decode(" " * 99 + "a", HERE) == "a"


def test_markup_goes_unless_it_is_to_be_kept():
    page = "<p>Fish &amp; chips<br>5 &lt; 6</p>"
    assert make().decode(page, HERE) == "Fish & chips 5 < 6"
    assert make(markup="keep").decode(page, HERE) == page
    assert make().preprocessing() != make(markup="keep").preprocessing()
    with pytest.raises(BadSampleError) as caught:
        make().decode("<br><hr/>", HERE)
    assert caught.value.reason == "text_empty"


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


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("two words", "two| words"),
        ("我的包裹，还没到", "我|的|包|裹|，|还|没|到"),
        ("用iPhone 15拍的", "用|iPhone| 15|拍|的"),
        ("ที่นี่น้ำ", "ที่|นี่|น้ำ"),
        ("か\u3099っこう", "か\u3099|っ|こ|う"),
        ("ខ្មែរ", "ខ្មែ|រ"),
        ("好👩\u200d👩\u200d👧好👍🏽", "好|👩\u200d👩\u200d👧|好|👍🏽"),
        ("葛\U000e0100飾", "葛\U000e0100|飾"),
        ("मेरा क्षत्रिय", "मेरा| क्षत्रिय"),
        ("مُحَمَّدٌ هنا", "مُحَمَّدٌ| هنا"),
        ("안녕 하세요", "안녕| 하세요"),
    ],
)
def test_units_are_words_or_where_there_are_none_characters_with_their_marks(text, units):
    found, spaces = split_units(text)
    assert "|".join(map("".join, zip(spaces, found, strict=True)))[1:] == units


@pytest.mark.parametrize(
    "text",
    [
        "我的包裹三天前就应该到了，可是现在还没有收到，请帮我查一下。",
        "พัสดุของฉันยังไม่มาถึงเลยที่นี่น้ำท่วม",
        "荷物がまだ届いていません。確認してください。",
    ],
)
def test_a_copy_of_a_text_without_spaces_loses_characters_not_sentences(text):
    modality, lengths = make(), []
    units = split_units(text)[0]
    for seed in range(60):
        rendered = modality.render(text, modality.plan(np.random.default_rng(seed)))
        left = split_units(rendered)[0]
        assert " " not in rendered
        assert not set(left) - set(units), "marks stay with their base"
        lengths.append(len(left))
    # 5 % are dropped: the mean of 60 copies lies within four standard errors.
    error = (len(units) * 0.05 * 0.95 / 60) ** 0.5
    assert abs(np.mean(lengths) - 0.95 * len(units)) < 4 * error + 1 / len(units)
    assert min(lengths) > 0.7 * len(units)


@pytest.mark.parametrize(
    ("text", "published"),
    [("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8)],  # FNV-1a, draft-eastlake-fnv
)
def test_a_hash_is_the_published_one_folded(text, published):
    folded = (published >> 32) ^ (published % 2**32)
    for bits in (8, 16, 20):
        expected = ((folded >> bits) ^ folded) % 2**bits
        assert hash_ngrams(text, (len(text), len(text)), bits).tolist() == [expected]


def test_every_run_of_characters_is_hashed_once_per_occurrence():
    assert len(hash_ngrams("包裹没有到", (1, 4), 16)) == 5 + 4 + 3 + 2
    assert len(hash_ngrams("包裹", (1, 4), 16)) == 2 + 1
    assert len(hash_ngrams("", (1, 4), 16)) == 0


def test_hashes_fill_the_buckets_evenly():
    from scipy.stats import chisquare

    han = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))
    for size in (1, 2, 3):
        counts = np.bincount(hash_ngrams(han, (size, size), 8), minlength=256)
        assert chisquare(counts).pvalue > 1e-4


def test_ngrams_are_counted_padded_and_blind_to_case_and_width():
    inputs = {"ngrams": [1, 2], "bits": 16, "max_chars": 3}
    arrays = weigh_ngrams(["aab tail is cut", "", "ＡＡＢ"], **inputs)
    # " aab ": " " twice, a twice, b; " a", aa, ab, "b "
    weights = sorted(arrays["weights"][0])
    np.testing.assert_allclose(weights, [1] * 5 + [1 + np.log(2)] * 2, rtol=1e-6)
    np.testing.assert_array_equal(arrays["weights"][1], 0)
    for name, dtype in (("buckets", np.int64), ("weights", np.float32)):
        np.testing.assert_array_equal(arrays[name][0], arrays[name][2])
        assert arrays[name].dtype == dtype
    assert list(make().collate(["x"], inputs)) == ["buckets", "weights"]
    assert weigh_ngrams([""], **inputs)["weights"].shape == (1, 2)


@pytest.mark.parametrize(
    ("inputs", "came"),
    [({}, "nothing"), ({"words": 5}, "words"), ({"ngrams": [1, 2], "bits": 8}, "ngrams, bits")],
)
def test_an_encoder_that_asks_for_neither_form_is_refused(inputs, came):
    with pytest.raises(DataContractError) as refused:
        make().collate(["x"], inputs)
    assert str(refused.value) == (
        "text: the encoder's `inputs()` must give `tokenizer, max_tokens` or `ngrams, bits, "
        "max_chars` or `word_ngrams, bits, max_words` or `word_bits, max_words`, "
        f"got {came}"
    )


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop: it's 3.5€!", ["don't", "stop", ":", "it's", "3.5", "€", "!"]),
        ("包裹没有到。 怎么办", ["包", "裹", "没", "有", "到", "。", "怎", "么", "办"]),
        ("पार्सल अभी नहीं आया।", ["पार्सल", "अभी", "नहीं", "आया", "।"]),
        ("الطرد لم يصل بعد؟", ["الطرد", "لم", "يصل", "بعد", "؟"]),
        ("great😀 👍🏽", ["great", "😀", "👍", "🏽"]),
        ("", []),
    ],
)
def test_words_of_any_script_stand_apart_from_punctuation(text, words):
    assert split_words(text, 99) == words
    assert split_words(text, 2) == words[:2]


def test_words_become_hashes_that_need_no_vocabulary():
    arrays = number_words(["b foobar B", ""], word_bits=8, max_words=9)

    # FNV-1a of `foobar` is published as 0x85944171f73967e8; folded to 32 bits and then to 8.
    folded = 0x85944171 ^ 0xF73967E8
    assert arrays["ids"][0, 1] == 1 + ((folded >> 8 ^ folded) & 0xFF)
    assert arrays["ids"][0, 0] == arrays["ids"][0, 2] != arrays["ids"][0, 1]
    assert arrays["ids"][1].tolist() == arrays["mask"][1].tolist() == [0, 0, 0]
    assert arrays["mask"][0].tolist() == [1, 1, 1]


def test_runs_of_words_are_counted():
    arrays = weigh_word_ngrams(["a b a b", "b"], word_ngrams=[1, 2], bits=20, max_words=4)

    twice = 1 + np.log(2)
    wanted = {"a": twice, "b": twice, "a b": twice, "b a": 1}
    expected = {hash_word(run, 20): pytest.approx(weight) for run, weight in wanted.items()}
    assert dict(zip(arrays["buckets"][0], arrays["weights"][0], strict=True)) == expected
    assert arrays["weights"][1].tolist() == [1, 0, 0, 0]


def test_a_word_without_end_is_hashed_in_no_time():
    assert number_words(["x" * 100_000], word_bits=8, max_words=3)["mask"].sum() == 1


# Whole characters as readers see them, of many scripts: none of them may come apart.
CLUSTERS = [
    *("a", "e\u0301", "ﬁ", "ß", "İ", "x\u0323\u0307", "我", "的", "葛\U000e0100", "が", "ｶﾞ"),
    *("한", "글", "م", "حَ", "ٱ", "ل\u0651\u064f", "क्षि", "मे", "ना\u0902", "ที่", "น้ำ", "เ", "ສີ"),
    *(
        "ခြ",
        "ខ្មែ",
        "👩\u200d👩\u200d👧",
        "👍🏽",
        "🇨🇳",
        "🇫🇷",
        "❤\ufe0f",
        "1\ufe0f\u20e3",
        "\U0001f3f4\U000e0067\U000e0062\U000e007f",
    ),
]
TEXTS = st.lists(st.sampled_from([*CLUSTERS, " ", " ", ", "]), min_size=1, max_size=40)
SYNONYMS = {
    "a": ["b"],
    "👍": ["👎"],
    "的": ["之"],
    "🇨🇳🇫🇷": ["🇩🇪"],
    "क": ["ख"],
    "م": ["ن"],
    "น": ["ม"],
}


@given(TEXTS.map("".join), st.integers(0, 2**31))
def test_no_character_of_any_script_comes_apart_in_a_copy(text, seed):
    chances = {"drop": 0.2, "swap": 0.5, "typo": 0.8}
    modality = make({**chances, "synonym": 1.0, "synonyms": SYNONYMS})
    try:
        value = modality.decode(text, HERE)
    except BadSampleError:
        return
    rendered = modality.render(value, modality.plan(np.random.default_rng(seed)))
    others = {one for many in SYNONYMS.values() for one in many}
    assert set(regex.findall(r"\X", rendered)) <= {*regex.findall(r"\X", value), *others, " "}
    assert rendered == clean_text(rendered)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("A good film.", "A great film."),
        ("GOOD! Good, goods, very-good", "GREAT! Great, goods, very-great"),
        ("I would not, well, NOT AT ALL", "I would not, well, BY NO MEANS"),
        ("我的包裹还没到", "我的快递还没到"),
        ("پیام می\u200cخواهم می خواهم", "پیام می\u200cخواهم همی خواهم"),
        ("नमस्ते नमस", "नमस्ते प्रणाम"),  # a prefix that ends before a mark is no word
        ("👍🏽 👍", "👍🏽 👏"),
        ("Cafe\u0301 ole", "Bistro ole"),
        ("用iPhone拍", "用手机拍"),
    ],
)
def test_synonyms_stand_where_whole_words_stood_and_as_they_were_written(text, rendered):
    synonyms = {
        "good": ["great"],
        "Not at all": ["by no means"],
        "包裹": ["快递"],
        "می": ["همی"],
        "नमस": ["प्रणाम"],
        "👍": ["👏"],
        "café": ["bistro"],
        "iPhone": ["手机"],
    }
    nothing = {"drop": 0.0, "swap": 0.0, "typo": 0.0}
    modality = make({**nothing, "synonym": 1.0, "synonyms": synonyms})
    assert modality.render(clean_text(text), modality.plan(np.random.default_rng(0))) == rendered


def test_synonyms_are_drawn_with_their_chance_and_each_as_often():
    augment = {"drop": 0.0, "swap": 0.0, "typo": 0.0, "synonym": 0.4}
    modality = make({**augment, "synonyms": {"good": ["great", "fine"]}})
    words = modality.render("good " * 6000, modality.plan(np.random.default_rng(0))).split()
    found = {word: words.count(word) for word in set(words)}
    assert found == pytest.approx({"good": 3600, "great": 1200, "fine": 1200}, abs=4 * 38)


def test_a_plan_names_its_list_of_synonyms_and_holds_to_it():
    plain, first = make(), make({"synonyms": {"good": ["great"]}})
    plan = first.plan(np.random.default_rng(0))
    assert set(plan) - set(plain.plan(np.random.default_rng(0))) == {"synonym", "synonyms"}
    assert len(json.dumps(plan)) < 150
    other = make({"synonyms": {"good": ["fine"]}})
    with pytest.raises(DataContractError, match=r"another list of `augment.synonyms`.*dvc repro"):
        other.render("good", plan)


@pytest.mark.parametrize("synonyms", [{"good": []}, {" ": ["x"]}, {"good": ["\t"]}])
def test_empty_synonyms_are_refused(synonyms):
    with pytest.raises(ConfigError, match=r"modalities\.text\.augment.*must not be empty"):
        make({"synonyms": synonyms})


def test_a_modality_with_synonyms_travels_to_other_processes():
    modality = make({"synonyms": {"good": ["great"]}})
    plan = modality.plan(np.random.default_rng(0))
    modality.render("good", plan)
    assert ForkingPickler.loads(ForkingPickler.dumps(modality)).render("good", plan)


def draw_words(count, length=6, seed=0):
    """Draw words of unlike letters, so that every typo shows."""
    rng = np.random.default_rng(seed)
    letters = np.tile(list("abcdefghijklmnopqrstuvwxyz"), (count, 1))
    return ["".join(row) for row in rng.permuted(letters, axis=1)[:, :length]]


def name_typo(word, typed):
    """Say which single typo makes one of the other."""
    if len(typed) == len(word):
        unlike = [at for at, (a, b) in enumerate(zip(word, typed, strict=True)) if a != b]
        if len(unlike) == 2 and unlike[1] == unlike[0] + 1 and sorted(word) == sorted(typed):
            return "swap"
        return ("none", "replace", "several")[min(len(unlike), 2)]
    longer, shorter = sorted((word, typed), key=len, reverse=True)
    if shorter in {longer[:at] + longer[at + 1 :] for at in range(len(longer))}:
        return "add" if longer == typed else "leave out"
    return "several"


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_each_typo_occurs_as_often_as_it_should(rate, require_share):
    words = draw_words(20_000)
    typed = mistype(" ".join(words), rate, np.random.default_rng(1)).split()
    found = [name_typo(*pair) for pair in zip(words, typed, strict=True)]
    once = rate * (1 - rate) ** 5 / 4  # one place alone is hit, by one of four
    # The last letter has no next one: it is replaced where it would be swapped.
    for typo, places in {"swap": 5, "replace": 7, "leave out": 6, "add": 6}.items():
        require_share(found.count(typo), len(words), places * once)
    require_share(found.count("none"), len(words), (1 - rate) ** 6)


def test_a_swap_keeps_every_character():
    words = draw_words(3000, length=9)
    typed = mistype(" ".join(words), 0.03, np.random.default_rng(2)).split()
    swapped = [
        (a, b) for a, b in zip(words, typed, strict=True) if len(a) == len(b) and a[-1] == b[-1]
    ]
    moved = [(a, b) for a, b in swapped if sum(x != y for x, y in zip(a, b, strict=True)) == 2]
    kept = [sorted(a) == sorted(b) for a, b in moved]
    # The others are words in which two letters were replaced.
    assert len(kept) > 100
    assert np.mean(kept) > 0.9


def test_another_character_is_another_one():
    words = ["a", "b"] * 200
    typed = mistype(" ".join(words), 1.0, np.random.default_rng(0)).split(" ")
    found = {(word, one) for word, one in zip(words, typed, strict=True)}
    assert found == {("a", ""), ("a", "b"), ("a", "ab"), ("b", ""), ("b", "a"), ("b", "ba")}
    assert set(mistype("a a a", 1.0, np.random.default_rng(0))) <= {"a", " "}


@pytest.mark.parametrize("level", [0.05, 0.3, 0.8])
def test_words_go_with_the_chance_that_a_level_says(level, require_share):
    words = draw_words(5000, length=8)
    corrupted = make().corrupt(" ".join(words), level, np.random.default_rng(3)).split()
    require_share(len(words) - len(corrupted), len(words), level)
    whole = len(set(corrupted) & set(words))
    require_share(whole, len(words), (1 - level) * (1 - level / 4) ** 8)


def test_the_more_noise_the_fewer_words_stay_as_they_were():
    words = draw_words(100)
    left = []
    for level in np.linspace(0, 1, 11):
        drawn = [
            make().corrupt(" ".join(words), float(level), np.random.default_rng(seed)).split()
            for seed in range(5)
        ]
        left.append(np.mean([len(set(words) & set(text)) for text in drawn]))
    assert left[0] == len(words)
    assert (np.diff(left) <= 0).all()
    assert left[-1] <= 1


@pytest.mark.parametrize("level", [0.1, 0.5, 1.0])
def test_characters_are_never_cut_whatever_the_script(level):
    text = clean_text(
        "na\u00efve q\u0303uote e\u0331\u0301 नमस्ते कृपया किताब ภาษาไทยกำลังดี 한국어 말하다 再说一遍好吗 "
        "שָׁלוֹם לְכֻלָּם مُحَمَّدٌ می\u200cخواهم 👩\u200d👩\u200d👧 👍🏽 🇩🇪🇫🇷"
    )
    known = set(CLUSTER.findall(text))
    for seed in range(60):
        corrupted = make().corrupt(text, level, np.random.default_rng(seed))
        assert corrupted == clean_text(corrupted)
        assert set(CLUSTER.findall(corrupted)) <= known


@pytest.mark.parametrize("text", ["a", "我", "a \u200c", "नि", "x y z", "😀"])
def test_something_to_see_always_stays(text):
    texts = {make().corrupt(text, 1.0, np.random.default_rng(seed)) for seed in range(200)}
    for corrupted in texts:
        assert make().decode(corrupted, HERE) == corrupted
    assert {one[0] for one in texts} <= set(text)
    if text == "x y z":
        assert texts == {"x", "y", "z"}


@given(text=st.text(), level=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_corrupted_text_is_clean_text(text, level, seed):
    modality = make()
    try:
        value = modality.decode(text, HERE)
    except BadSampleError:
        return
    once = modality.corrupt(value, level, np.random.default_rng(seed))
    assert once == modality.corrupt(value, level, np.random.default_rng(seed))
    assert once == clean_text(once) != ""
