import itertools

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from mm_assets.sources.sample.text import (
    INTENTS,
    SENTIMENTS,
    SLOT,
    WORDS,
    Writer,
    draw_writer,
    write_message,
)

SHOWN = list(itertools.product(INTENTS, SENTIMENTS))
PLAIN = Writer(WORDS, INTENTS | SENTIMENTS, greeting="", closing="", lowercase=False, typo_rate=0.0)


def write_many(customers):
    """Write one message per customer and pair of classes."""
    rows = []
    for number in customers:
        rng = np.random.default_rng(number)
        writer = draw_writer(rng)
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


def test_a_model_of_words_reads_strangers():
    messages, *known = write_many(range(30))
    strange, *expected = write_many(range(100, 115))
    for labels, true in zip(known, expected, strict=True):
        model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10)).fit(messages, labels)
        assert model.score(strange, true) > 0.98


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
