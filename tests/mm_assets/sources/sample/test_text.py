import itertools
import re

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from mm_assets.sources.sample.text import (
    ENGLISH,
    INTENTS,
    SENTIMENTS,
    SLOT,
    WORDS,
    Writer,
    draw_writer,
    write_message,
)
from mm_assets.sources.sample.text_zh import CHINESE

SHOWN = list(itertools.product(INTENTS, SENTIMENTS))
PLAIN = Writer(WORDS, INTENTS | SENTIMENTS, greeting="", closing="", lowercase=False, typo_rate=0.0)


def write_many(customers, language=ENGLISH):
    """Write one message per customer and pair of classes."""
    rows = []
    for number in customers:
        rng = np.random.default_rng(number)
        writer = draw_writer(rng, language)
        rows += [(write_message(writer, i, s, rng), i, s) for i, s in SHOWN]
    return zip(*rows, strict=True)


@pytest.mark.parametrize(("intent", "sentiment"), SHOWN)
def test_a_message_has_every_slot_filled(intent, sentiment):
    for seed in range(20):
        message = write_message(PLAIN, intent, sentiment, np.random.default_rng(seed))
        assert "{" not in message
        assert message[0].isupper()
        assert message.count(". ") == 2  # three sentences


def test_every_slot_of_the_grammar_has_words():
    templates = itertools.chain.from_iterable((INTENTS | SENTIMENTS).values())
    slots = {slot for template in templates for slot in SLOT.findall(template)}
    assert slots <= set(WORDS) | {"number", "amount"}


@pytest.mark.slow
def test_a_model_of_words_reads_strangers():
    messages, *known = write_many(range(30))
    strange, *expected = write_many(range(100, 115))
    for labels, true in zip(known, expected, strict=True):
        model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10)).fit(messages, labels)
        assert model.score(strange, true) > 0.98


def test_the_chinese_grammar_has_the_same_classes_and_slots_as_the_english_one():
    assert list(CHINESE.clauses) == list(ENGLISH.clauses)
    assert list(CHINESE.words) == list(ENGLISH.words)
    for key, clauses in CHINESE.clauses.items():
        assert len(set(clauses)) == len(ENGLISH.clauses[key]), key
        assert {slot for clause in clauses for slot in SLOT.findall(clause)} <= set(
            CHINESE.words
        ) | {
            "number",
            "amount",
        }
    for slot, words in CHINESE.words.items():
        assert len(words) == len(ENGLISH.words[slot]), slot


@pytest.mark.slow
def test_a_model_of_characters_reads_strangers_in_chinese():
    messages, *known = write_many(range(30), CHINESE)
    strange, *expected = write_many(range(100, 115), CHINESE)
    for labels, true in zip(known, expected, strict=True):
        model = make_pipeline(
            TfidfVectorizer(analyzer="char", ngram_range=(1, 3)), LogisticRegression(C=10)
        ).fit(messages, labels)
        assert model.score(strange, true) > 0.97


@pytest.mark.parametrize(("intent", "sentiment"), SHOWN)
def test_a_chinese_message_is_chinese_throughout(intent, sentiment):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        message = write_message(draw_writer(rng, CHINESE), intent, sentiment, rng)
        assert re.fullmatch(r"[\u4e00-\u9fff\d.，。：！]+", message), message
        assert "。。" not in message


def test_a_typing_error_in_chinese_swaps_two_characters():
    words, clauses = CHINESE.words, CHINESE.clauses
    plain, careless = (Writer(words, clauses, "", "", False, rate, CHINESE) for rate in (0.0, 1.0))
    changed = 0
    for seed in range(30):
        clean, typed = (
            write_message(writer, "defect", "neutral", np.random.default_rng(seed))
            for writer in (plain, careless)
        )
        assert sorted(clean) == sorted(typed)
        wrong = [at for at in range(len(clean)) if clean[at] != typed[at]]
        assert len(wrong) in (0, 2)
        changed += bool(wrong)
    assert changed > 20


def test_customers_word_the_same_thing_differently():
    messages, *_ = write_many(range(20))
    assert len(set(messages)) == len(messages)


def test_a_customer_writes_the_same_given_the_same_seed():
    assert list(write_many([3])) == list(write_many([3]))


def test_a_customer_without_capitals_never_uses_one():
    writer = Writer(WORDS, INTENTS | SENTIMENTS, "Hello.", "Regards.", True, 0.0)
    message = write_message(writer, "praise", "positive", np.random.default_rng(0))
    assert message == message.lower()
    assert message.startswith("hello. ")
    assert message.endswith(" regards.")


def test_a_typing_error_swaps_two_letters_inside_a_word():
    careless = Writer(WORDS, INTENTS | SENTIMENTS, "", "", False, typo_rate=1.0)
    changed = 0
    for seed in range(30):
        clean = write_message(PLAIN, "defect", "neutral", np.random.default_rng(seed))
        typed = write_message(careless, "defect", "neutral", np.random.default_rng(seed))
        wrong = [at for at in range(len(clean)) if clean[at] != typed[at]]
        # Two equal neighbours swap unseen.
        assert wrong in ([], [*range(wrong[0], wrong[0] + 2)] if wrong else [])
        assert sorted(clean) == sorted(typed)
        changed += bool(wrong)
    assert changed > 20
