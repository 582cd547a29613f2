"""Written messages: a sentence that bears the intent between two that bear the sentiment.

Every customer has habits (which words they know, how they greet, whether they mistype), so that
the next customer's wording is always somewhat new.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Intents are worded without a mood of their own, since sentiment is drawn independently.
INTENTS: dict[str, tuple[str, ...]] = {
    "delivery": (
        "this is about the delivery of my {item}, the parcel is still {where}",
        "the courier has my {item} parcel {where}, tracking number {number}",
        "I am writing about when the {item} ships, the tracking page says the package is {where}",
        "my package with the {item} is out for delivery and shows as {where}",
        "please ask the driver to leave the parcel with the {item} {place}",
        "the shipment {number} with my {item} should be dropped off {place}",
        "could the courier bring the {item} package {day} and put it {place}",
    ),
    "billing": (
        "this is about the invoice for my {item}, it shows {amount} euros",
        "my credit card was charged {amount} euros for the {item}",
        "I am writing about the bill dated {day}, the total on it is {amount} euros",
        "the payment of {amount} euros for invoice {number} was taken {day}",
        "please send the receipt and the VAT invoice over {amount} euros for the {item}",
        "about my refund: {amount} euros should go back to my bank account",
        "the direct debit for invoice {number} over {amount} euros was booked {day}",
    ),
    "defect": (
        "the {item} that I bought has stopped working, the {part} is broken",
        "this is about a faulty {item}: the {part} has a crack",
        "my {item} did not switch on {day}, it is a hardware fault",
        "the {part} of the {item} came off and needs a repair under warranty",
        "the {item} overheats and the {part} is damaged, I need a replacement unit",
        "I am writing about the broken {part} of my {item}, it malfunctions",
        "the {item} makes a grinding noise and the {part} is defective",
    ),
    "account": (
        "this is about my user account, I need a new password for the login",
        "I cannot sign in to my online profile, the password reset link has expired",
        "please change the e-mail address and the user name in my customer profile",
        "my login is locked, the verification code for signing in does not reach my phone",
        "I am writing about my account settings, I want to update my username and password",
        "please close my second user account and keep the profile of {number}",
        "two-factor authentication for my account asks for a code when I log in",
    ),
    "praise": (
        "this is a review of your colleague {name}, who advised me at the {desk}",
        "I want to put {name} from the {desk} forward for employee of the month",
        "I am writing to leave five stars for {name} and the team at the {desk}",
        "please pass a compliment on to {name}, your adviser at the {desk}",
        "this is a testimonial for the staff, above all for {name} at the {desk}",
        "I would recommend your team to friends, {name} at the {desk} in particular",
        "here is a commendation for {name}, the member of staff at the {desk}",
    ),
}
SENTIMENTS: dict[str, tuple[str, ...]] = {
    "negative": (
        "I am {furious} and {upset}",
        "I am {upset}, this {ruined} my {week}",
        "a truly {terrible} experience",
        "it makes me {furious}, simply {terrible}",
        "I feel {upset} and my {week} is {ruined}",
        "{terrible}, I hate this",
    ),
    "neutral": (
        "this is {only} for your information",
        "I have no strong opinion either way",
        "it is {only} a routine note",
        "I state it {only} for the record",
        "there is no hurry, a reply {whenever} is fine",
        "I mention it {only} as a formality",
    ),
    "positive": (
        "I am {delighted} and {grateful}",
        "I am {grateful}, this {made} my {week}",
        "a truly {wonderful} experience",
        "it makes me {delighted}, simply {wonderful}",
        "I feel {grateful} and you {made} my {week}",
        "{wonderful}, I love this",
    ),
}
WORDS: dict[str, tuple[str, ...]] = {
    "furious": ("furious", "angry", "livid", "outraged", "fed up", "mad"),
    "upset": ("upset", "disappointed", "frustrated", "disgusted", "miserable", "annoyed"),
    "ruined": ("ruined", "spoiled", "wrecked", "destroyed"),
    "terrible": ("terrible", "awful", "horrible", "dreadful", "appalling", "disgraceful"),
    "delighted": ("delighted", "thrilled", "overjoyed", "so happy", "very pleased", "excited"),
    "grateful": ("grateful", "thankful", "full of joy", "glad", "cheerful", "smiling"),
    "made": ("made", "brightened", "sweetened", "crowned"),
    "wonderful": ("wonderful", "fantastic", "amazing", "brilliant", "superb", "lovely"),
    "week": ("week", "day", "weekend", "month", "holiday", "evening"),
    "only": ("only", "just", "merely", "purely"),
    "whenever": (
        "whenever convenient",
        "in due course",
        "at some point",
        "within the usual time",
        "as per the usual procedure",
        "when someone is available",
    ),
    "item": ("lamp", "kettle", "radio", "headset", "printer", "toaster", "camera", "speaker",
             "drill", "router", "monitor", "blender"),
    "where": ("at the depot", "in transit", "on the van", "at the sorting centre", "at customs",
              "with the neighbour"),
    "place": ("at the front door", "in the garage", "at reception", "on the porch",
              "at the parcel shop", "in the locker"),
    "part": ("switch", "display", "battery", "hinge", "housing", "power supply"),
    "desk": ("service desk", "hotline", "shop in town", "front counter", "help line"),
    "day": ("on Monday", "on Tuesday", "on Thursday", "on Friday", "on Saturday", "this week"),
    "name": ("Amira", "Bruno", "Chen", "Dalia", "Emil", "Farah", "Goran", "Hana", "Ivo", "Jana"),
    "greeting": ("Hello.", "Good morning.", "Dear team,", "Hi!", "To whom it may concern:", "", "", ""),
    "closing": ("Regards.", "Best wishes.", "Sent from my phone.", "", "", "", "", ""),
}  # fmt: skip
SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Language:
    """How messages are worded and written down.

    Attributes:
        clauses: Per class (of intent and of sentiment) the clauses that show it, with `{slots}`.
        words: Per slot its fillings; beside them there are `{number}` and `{amount}`.
        full_stop: Ends a sentence.
        gap: Stands between two sentences.
        mistypable: Where a typing error happens: in a run of letters that matches.
        title: Of the sample, for its card.
    """

    clauses: Mapping[str, tuple[str, ...]]
    words: Mapping[str, tuple[str, ...]]
    full_stop: str
    gap: str
    mistypable: re.Pattern[str]
    title: str


ENGLISH = Language(
    clauses=INTENTS | SENTIMENTS,
    words=WORDS,
    full_stop=".",
    gap=" ",
    mistypable=re.compile(r"[a-z]{6,}"),
    title="Messages to a service desk (generated sample)",
)


@dataclass(frozen=True)
class Writer:
    """One customer's habits.

    Attributes:
        words: Per slot the fillings this customer knows: about half of all.
        sentences: Per class the clauses this customer knows: about half of all.
        greeting: How each of their messages starts; may be empty.
        closing: How each ends; may be empty.
        lowercase: Whether they write without capitals.
        typo_rate: Probability of one typing error in a message.
        language: What they write in.
    """

    words: Mapping[str, tuple[str, ...]]
    sentences: Mapping[str, tuple[str, ...]]
    greeting: str
    closing: str
    lowercase: bool
    typo_rate: float
    language: Language = ENGLISH


def draw_writer(rng: np.random.Generator, language: Language = ENGLISH) -> Writer:
    """Draw a customer's writing habits."""
    words = _halve(language.words, rng)
    return Writer(
        words=words,
        sentences=_halve(language.clauses, rng),
        greeting=words["greeting"][0],
        closing=words["closing"][0],
        lowercase=bool(rng.random() < 0.25),
        typo_rate=float(rng.choice([0.0, 0.1, 0.4])),
        language=language,
    )


def write_message(writer: Writer, intent: str, sentiment: str, rng: np.random.Generator) -> str:
    """Word a message that plainly shows an intent and a sentiment, as this customer would."""
    before, after = rng.choice(writer.sentences[sentiment], 2, replace=False)
    wish = rng.choice(writer.sentences[intent])
    language = writer.language
    filled = [_fill(str(s), writer, rng) for s in (before, wish, after)]
    sentences = [sentence[0].upper() + sentence[1:] + language.full_stop for sentence in filled]
    parts = [writer.greeting, *sentences, writer.closing]
    message = language.gap.join(part for part in parts if part)
    if rng.random() < writer.typo_rate:
        message = _mistype(message, language.mistypable, rng)
    return message.lower() if writer.lowercase else message


def _halve(
    options: Mapping[str, tuple[str, ...]], rng: np.random.Generator
) -> dict[str, tuple[str, ...]]:
    """Draw about half of the entries under each key, in random order."""
    return {
        key: tuple(str(v) for v in rng.permutation(values)[: (len(values) + 1) // 2])
        for key, values in options.items()
    }


def _fill(template: str, writer: Writer, rng: np.random.Generator) -> str:
    """Replace each `{slot}` by a number, an amount or one of the writer's words."""

    def choose(slot: re.Match[str]) -> str:
        if slot[1] == "number":
            return str(rng.integers(10_000, 99_999))
        if slot[1] == "amount":
            return f"{rng.integers(5, 400)}.{rng.integers(0, 100):02d}"
        return str(rng.choice(writer.words[slot[1]]))

    return SLOT.sub(choose, template)


def _mistype(message: str, mistypable: re.Pattern[str], rng: np.random.Generator) -> str:
    """Swap two neighbouring letters inside one run of six letters or more."""
    words = [word.span() for word in mistypable.finditer(message)]
    start, stop = words[rng.integers(len(words))]
    at = int(rng.integers(start + 1, stop - 2))
    return message[:at] + message[at + 1] + message[at] + message[at + 2 :]
