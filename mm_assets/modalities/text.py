"""Texts in any script, as the table's cells hold them."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import regex
from pydantic import Field, field_validator

from mm_assets.contracts.errors import BadSampleError, DataContractError
from mm_assets.data.markup import strip_markup
from mm_assets.modalities import base

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Share = Annotated[float, Field(ge=0, le=1)]

# Scripts that write no spaces between words: Thai, Lao, Myanmar, Khmer; kana, Han.
UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    r"\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
CLUSTER = regex.compile(r"\X")  # what a reader takes for one character, UAX #29
NO_TEXT = re.compile(r"[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202d\u202e\ufeff]")
MANY_SIGNS = re.compile(r"[^\w\s\0-\x7f]{31,}")  # combining marks are neither letter nor space
MOST_MARKS = 30  # on one character, as in UAX #15's stream-safe format; no language needs more
RAW_SHARE = 20  # a text is this many times its cleaned length at most, markup and all
NO_LETTER = re.compile(r"[^\w\s]")
VIRAMA = 9  # the combining class of signs that stack the next consonant onto the one before
JOINER = "\u200d"
AM_VOWELS = "\u0e33\u0eb3"  # letters of Thai and Lao that stand for a mark and a vowel
TYPO_SHARE = 0.25  # chance of each character to be mistyped at the highest level of noise
LEAST_STEPS = 2  # an exported graph would take a length of 1 for a constant
FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


class TextOptions(base.Options):
    """What a legal text is, and what is taken out of it."""

    limits: ClassVar[frozenset[str]] = frozenset({"max_chars"})

    max_chars: Annotated[int, Field(ge=1)] = 100_000  # after cleaning: some 30 pages
    # Texts that are HTML or XML lose their tags; others, code too, are left alone: `strip_markup`.
    markup: Literal["strip", "keep"] = "strip"


class TextAugment(base.Options):
    """Chance of each word to be changed in a copy; small, since a word may carry the label.

    In scripts without spaces, a character with its marks takes the place of a word.
    """

    drop: Share = 0.05
    swap: Share = 0.05  # with the next word
    typo: Share = 0.05  # two neighbouring letters change places
    synonym: Share = 0.1  # of what `synonyms` lists
    # By word or phrase, in any case: what may stand in its place. In scripts without spaces it is
    # replaced wherever it occurs.
    synonyms: Annotated[dict[str, list[str]], Field(default_factory=dict)]

    @field_validator("synonyms")
    @classmethod
    def _clean_synonyms(cls, given: dict[str, list[str]]) -> dict[str, list[str]]:
        cleaned = {
            clean_text(word).casefold(): [clean_text(one) for one in others]
            for word, others in given.items()
        }
        for word, others in cleaned.items():
            if not (word and others and all(others)):
                raise ValueError(
                    f"a word and its synonyms must not be empty, got {word!r}: {others}"
                )
        return cleaned

    @functools.cached_property
    def listed(self) -> regex.Pattern[str]:
        """A pattern of all words that have synonyms, the longest first."""
        return regex.compile(r"\L<words>", regex.IGNORECASE, words=list(self.synonyms))

    @functools.cached_property
    def synonyms_digest(self) -> str:
        """Names the list in plans, which would be long if each held all of it."""
        return hashlib.sha256(json.dumps(self.synonyms, sort_keys=True).encode()).hexdigest()[:16]


class Text(base.Modality[str]):
    """Text, cleaned to Unicode NFC with single spaces; cut up when a batch is made."""

    kind: ClassVar[str] = "text"
    version: ClassVar[int] = 3
    decoders: ClassVar[tuple[str, ...]] = ("regex", "tokenizers")
    is_file: ClassVar[bool] = False
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "ids": (1,),
        "mask": (1,),
        "buckets": (1,),
        "weights": (1,),
    }
    options_model: ClassVar[type[base.Options]] = TextOptions
    options: TextOptions
    augment_model: ClassVar[type[base.Options]] = TextAugment
    augmentation: TextAugment

    def read(self, cell: object, folder: Path) -> bytes:
        """Give the cleaned text as UTF-8: cells that read alike are the same sample.

        Raises:
            BadSampleError: ``text_not_text``.
        """
        if not isinstance(cell, str):
            raise BadSampleError(
                "text_not_text", f"the cell must hold text, got {type(cell).__name__}"
            )
        text = join_surrogates(cell)
        return clean_text(strip_markup(text) if self.options.markup == "strip" else text).encode()

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Measure `chars` and `words` after cleaning; see `Modality.probe`."""
        text = self.decode(cell, folder)
        return {
            "content": base.digest_content(text.encode()),
            "chars": len(text),
            "words": len(text.split()),
        }

    def decode(self, cell: object, folder: Path) -> str:
        """Clean the text.

        Raises:
            BadSampleError: ``text_not_text``, ``text_empty`` or ``text_too_long``.
        """
        most = self.options.max_chars
        if isinstance(cell, str) and len(cell) > RAW_SHARE * most:  # not worth the time to clean
            raise BadSampleError(
                "text_too_long",
                f"the text has {len(cell)} characters before cleaning; after it, {most} are allowed",
            )
        text = self.read(cell, folder).decode()
        if not _is_visible(text):
            raise BadSampleError("text_empty", "the text has no visible character")
        if len(text) > most:
            raise BadSampleError(
                "text_too_long", f"the text has {len(text)} characters, the limit is {most}"
            )
        return text

    def describe(self, value: str) -> base.Sketch:
        """Show the text."""
        return base.Sketch(text=value)

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Keep the chances, name the list of synonyms and draw a seed; see `Modality.plan`."""
        chances = self.augmentation.model_dump(include={"drop", "swap", "typo"})
        if self.augmentation.synonyms:
            chances["synonym"] = self.augmentation.synonym
            chances["synonyms"] = self.augmentation.synonyms_digest
        return {**chances, "seed": int(rng.integers(2**32))}

    def render(self, value: str, plan: Mapping[str, Any]) -> str:
        """Replace, drop, swap and misspell words (or characters, see `split_units`); one stays.

        Raises:
            DataContractError: The plan was drawn with another list of synonyms.
        """
        rng = np.random.default_rng(plan["seed"])
        if "synonyms" in plan:
            value = self._replace_synonyms(value, plan, rng)
        units, spaces = split_units(value)
        keep = rng.random(len(units)) >= plan["drop"]
        keep[rng.integers(len(units))] = True
        units = [unit for unit, kept in zip(units, keep, strict=True) if kept]
        spaces = [space for space, kept in zip(spaces, keep, strict=True) if kept]
        for at in np.flatnonzero(rng.random(len(units) - 1) < plan["swap"]):
            units[at], units[at + 1] = units[at + 1], units[at]
        for at in np.flatnonzero(rng.random(len(units)) < plan["typo"]):
            units[at] = _misspell(units[at], rng)
        rendered = "".join(space + unit for space, unit in zip(spaces, units, strict=True))
        return clean_text(rendered)

    def _replace_synonyms(
        self, value: str, plan: Mapping[str, Any], rng: np.random.Generator
    ) -> str:
        known: TextAugment = self.augmentation
        if plan["synonyms"] != known.synonyms_digest:
            raise DataContractError(
                "text: the copies were planned with another list of `augment.synonyms` than "
                "params.yaml has now; run `dvc repro augment`"
            )
        ends = {0, *(cluster.end() for cluster in CLUSTER.finditer(value))}

        def replace(match: regex.Match[str]) -> str:
            whole = {match.start(), match.end()} <= ends and _is_word(value, *match.span())
            others = known.synonyms.get(match[0].casefold())
            if not (whole and others and rng.random() < plan["synonym"]):
                return str(match[0])
            return _copy_case(match[0], others[rng.integers(len(others))])

        return clean_text(known.listed.sub(replace, value))

    def corrupt(self, value: str, level: float, rng: np.random.Generator) -> str:
        """Drop words, and mistype what stays; see `Modality.corrupt`.

        Each word (or character, see `split_units`) goes with probability `level`, and each
        character (grapheme cluster) of the rest is mistyped with probability ``level / 4``, see
        `mistype`. Where nothing to see is left, one word stays, drawn evenly.

        Raises:
            DataContractError: The level is not in [0, 1].

        Source:
            Belinkov, Bisk 2018, https://arxiv.org/abs/1711.02173, for the typos.
        """
        self._require_level(level)
        units, spaces = split_units(value)
        visible = [unit for unit in units if _is_visible(unit)]
        if not level or not visible:
            return value
        stays = np.flatnonzero(rng.random(len(units)) >= level)
        kept = "".join(spaces[place] + units[place] for place in stays)
        mistyped = clean_text(mistype(kept, level * TYPO_SHARE, rng))
        return mistyped if _is_visible(mistyped) else visible[rng.integers(len(visible))]

    def collate(self, values: Sequence[str], inputs: Mapping[str, Any]) -> base.Arrays:
        """Cut texts into tokens, n-grams or words, as the encoder asks, and pad to the longest.

        Returns:
            For `tokenizer` and `max_tokens`: ``ids`` and ``mask`` (1 for a token, 0 for padding),
            int64 (batch, steps); so for `word_bits` and `max_words`, see `number_words`. For
            `ngrams`, `bits` and `max_chars`, or `word_ngrams`, `bits` and `max_words`:
            ``buckets``, int64, and ``weights``, float32 (0 for padding), (batch, steps); see
            `weigh_ngrams` and `weigh_word_ngrams`.

        Raises:
            DataContractError: The encoder asks for none of these.
        """
        if set(inputs) == {"ngrams", "bits", "max_chars"}:
            return weigh_ngrams(values, **inputs)
        if set(inputs) == {"word_ngrams", "bits", "max_words"}:
            return weigh_word_ngrams(values, **inputs)
        if set(inputs) == {"word_bits", "max_words"}:
            return number_words(values, **inputs)
        if set(inputs) != {"tokenizer", "max_tokens"}:
            raise DataContractError(
                "text: the encoder's `inputs()` must give `tokenizer, max_tokens` or `ngrams, "
                "bits, max_chars` or `word_ngrams, bits, max_words` or `word_bits, max_words`, "
                f"got {', '.join(inputs) or 'nothing'}"
            )
        tokenizer = _load_tokenizer(inputs["tokenizer"], inputs["max_tokens"])
        encoded = tokenizer.encode_batch(list(values))
        return {
            "ids": np.array([one.ids for one in encoded], dtype=np.int64),
            "mask": np.array([one.attention_mask for one in encoded], dtype=np.int64),
        }

    def placeholder(self, inputs: Mapping[str, Any]) -> str:
        """Give the empty text: the special tokens alone, or no n-gram at all."""
        return ""


def clean_text(text: str) -> str:
    """Normalise to NFC, drop what is no text, collapse whitespace.

    What is no text: control characters, byte order marks, the two signs that make letters show in
    an order in which nobody wrote them, lone surrogates, and marks beyond 30 on one character.
    Other format characters stay: Persian, Indic scripts and emoji need joiners.

    Source:
        Unicode Standard Annex #15, https://www.unicode.org/reports/tr15/
    """
    kept = NO_TEXT.sub("", join_surrogates(text))
    # Python sorts a run of marks in quadratic time: some ten thousand would take seconds.
    normal = unicodedata.normalize("NFC", MANY_SIGNS.sub(_shorten, kept))
    # Normalising may split a mark in two.
    return " ".join(MANY_SIGNS.sub(_shorten, normal).split())


def join_surrogates(text: str) -> str:
    """Join pairs of surrogates, as careless JSON has them, to one character; drop lone ones."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
    return text


def _shorten(signs: re.Match[str]) -> str:
    """Drop combining marks that follow on too many others."""
    kept, marks = [], 0
    for char in signs[0]:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= MOST_MARKS:
            kept.append(char)
    return "".join(kept)


def split_units(text: str) -> tuple[list[str], list[str]]:
    """Cut cleaned text into what a writer may lose or mix up without harm to its script.

    That is a word; where a script writes no spaces, a character with its marks (and what a virama
    or a joiner ties to it).

    Args:
        text: Not blank.

    Returns:
        The units, and what stands before each of them: a space or nothing.
    """
    units: list[str] = []
    spaces: list[str] = []
    for word in text.split():
        space = " "
        for char in word:
            if not space and _belongs(char, units[-1]):
                units[-1] += char
            else:
                units.append(char)
                spaces.append(space)
            space = ""
    return units, spaces


def _is_visible(text: str) -> bool:
    """Tell whether a text has more than spaces and signs without a shape."""
    return any(unicodedata.category(char)[0] not in "CZ" for char in text)


def _belongs(char: str, unit: str) -> bool:
    """Tell whether a character is part of the unit before it."""
    if unicodedata.category(char)[0] in "MC" or char in AM_VOWELS or unit[-1] == JOINER:
        return True
    if unicodedata.combining(unit[-1]) == VIRAMA:
        return True
    return not (UNSPACED.match(char) or UNSPACED.match(unit))


def mistype(text: str, rate: float, rng: np.random.Generator) -> str:
    """Mistype each character with probability `rate`.

    It changes places with the next one, is left out, is followed by another one, or is replaced by
    another one, each as likely; the last of a word is replaced where it would change places. The
    others are drawn evenly from the text's own, so that the script stays.

    Args:
        text: In any script; what a reader takes for one character is never cut.
        rate: In [0, 1]; spaces are never mistyped.
        rng: The only source of chance.
    """
    typed = CLUSTER.findall(text)
    known = sorted({char for char in typed if not char.isspace()})
    places = {char: place for place, char in enumerate(known)}
    for at in np.flatnonzero(rng.random(len(typed)) < rate).tolist():
        char = typed[at]
        if char.isspace():
            continue
        # Another one than this, where the text has any.
        step = rng.integers(1, len(known)) if len(known) > 1 else 0
        other = known[(places[char] + step) % len(known)]
        is_last = at + 1 == len(typed) or typed[at + 1].isspace()
        match rng.integers(4):
            case 0 if not is_last:
                typed[at : at + 2] = typed[at + 1], char
            case 1:
                typed[at] = ""
            case 2:
                typed[at] = char + other
            case _:
                typed[at] = other
    return "".join(typed)


def weigh_ngrams(
    texts: Sequence[str], *, ngrams: Sequence[int], bits: int, max_chars: int
) -> base.Arrays:
    """Count the hashed character n-grams of each text.

    A text is seen without differences of case or of compatible form (full and half width), with a
    space on either side, so that beginnings and ends of words look like such.

    Args:
        texts: Cleaned; only the first `max_chars` characters are read.
        ngrams: Lengths of the shortest and the longest n-gram, in code points.
        bits: There are 2^bits buckets.
        max_chars: The cut.

    Returns:
        ``buckets``, int64 (batch, steps), each one once per text, rising; ``weights``, float32,
        ``1 + ln(count)``, and 0 for padding.
    """
    return _count([hash_ngrams(fold_text(text[:max_chars]), ngrams, bits) for text in texts])


def weigh_word_ngrams(
    texts: Sequence[str], *, word_ngrams: Sequence[int], bits: int, max_words: int
) -> base.Arrays:
    """Count the hashed runs of words of each text.

    Args:
        texts: Cleaned.
        word_ngrams: Lengths of the shortest and the longest run, in words as `split_words` sees
            them.
        bits: There are 2^bits buckets.
        max_words: How many words of a text are read.

    Returns:
        As `weigh_ngrams`.
    """
    shortest, longest = word_ngrams
    hashed = []
    for text in texts:
        words = split_words(text, max_words)
        runs = [
            " ".join(words[at : at + size])
            for size in range(shortest, longest + 1)
            for at in range(len(words) - size + 1)
        ]
        hashed.append(np.array([hash_word(run, bits) for run in runs], dtype=np.int64))
    return _count(hashed)


def number_words(texts: Sequence[str], *, word_bits: int, max_words: int) -> base.Arrays:
    """Give the words of each text as numbers that need no vocabulary.

    Args:
        texts: Cleaned.
        word_bits: Words are hashed into 2^bits buckets; two in one bucket look alike.
        max_words: How many words of a text are read.

    Returns:
        ``ids``, int64 (batch, steps), from 1 to 2^bits and 0 for padding; ``mask``, int64 (batch,
        steps), 1 for a word.
    """
    numbered = [
        [1 + hash_word(word, word_bits) for word in split_words(text, max_words)] for text in texts
    ]
    steps = max(LEAST_STEPS, *map(len, numbered))
    ids = np.zeros((len(texts), steps), dtype=np.int64)
    for row, numbers in enumerate(numbered):
        ids[row, : len(numbers)] = numbers
    return {"ids": ids, "mask": (ids > 0).astype(np.int64)}


def split_words(text: str, most: int) -> list[str]:
    """Cut cleaned text into its first words, in lower case.

    That is the units of `split_units`, with punctuation and symbols apart unless they stand
    between two letters or digits (``don't``, ``3.5``).
    """
    folded = fold_text(text)

    def part(match: re.Match[str]) -> str:
        char, at = match[0], match.start()
        if unicodedata.category(char)[0] not in "PS":
            return char
        between = folded[at - 1].isalnum() and folded[at + 1].isalnum()
        return char if between else f" {char} "

    return split_units(NO_LETTER.sub(part, folded))[0][:most]


@functools.lru_cache(maxsize=2**16)
def hash_word(word: str, bits: int) -> int:
    """Hash a whole word as `hash_ngrams` hashes a run of characters."""
    value = int(FNV_OFFSET)
    for char in word:
        value = (value ^ ord(char)) * int(FNV_PRIME) % 2**64
    return int(_fold_hashes(np.array([value], dtype=np.uint64), bits)[0])


def _count(hashed: Sequence[np.ndarray]) -> base.Arrays:
    """Give each text's buckets once, rising, and the weight of how often they occurred."""
    found = [np.unique(buckets, return_counts=True) for buckets in hashed]
    steps = max(LEAST_STEPS, *(len(buckets) for buckets, _ in found))
    arrays: base.Arrays = {
        "buckets": np.zeros((len(found), steps), dtype=np.int64),
        "weights": np.zeros((len(found), steps), dtype=np.float32),
    }
    for row, (buckets, counts) in enumerate(found):
        arrays["buckets"][row, : len(buckets)] = buckets
        arrays["weights"][row, : len(counts)] = 1 + np.log(counts)
    return arrays


def hash_ngrams(text: str, ngrams: Sequence[int], bits: int) -> np.ndarray:
    """Hash every run of characters: FNV-1a of its code points, 64 bits, folded to `bits`.

    Args:
        text: Any; an empty one has no n-grams.
        ngrams: Lengths of the shortest and the longest.
        bits: At most 32.

    Returns:
        int64, one per occurrence, in [0, 2^bits).

    Source:
        Fowler, Noll, Vo, Eastlake, https://datatracker.ietf.org/doc/draft-eastlake-fnv/ (with code
        points in the place of octets, alike for ASCII).
    """
    shortest, longest = ngrams
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    hashes = np.full(len(codes), FNV_OFFSET)
    found = [np.empty(0, dtype=np.uint64)]
    for size in range(1, min(longest, len(codes)) + 1):
        # Each run grows by the character that follows it; the last one has none and ends.
        hashes = (hashes[: len(codes) - size + 1] ^ codes[size - 1 :]) * FNV_PRIME
        if size >= shortest:
            found.append(hashes)
    return _fold_hashes(np.concatenate(found), bits)


def _fold_hashes(hashed: np.ndarray, bits: int) -> np.ndarray:
    """Bring 64 bits down to `bits`, at most 32, each of them heard."""
    hashed = (hashed >> np.uint64(32)) ^ (hashed & np.uint64(0xFFFFFFFF))
    hashed = (hashed >> np.uint64(bits)) ^ hashed
    return (hashed & np.uint64(2**bits - 1)).astype(np.int64)


def fold_text(text: str) -> str:
    """Make texts alike that differ in case or compatible form; put a space on either side."""
    if not text:
        return ""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return f" {unicodedata.normalize('NFKC', folded)} "


def _is_word(text: str, start: int, end: int) -> bool:
    """Tell whether a passage, cut between clusters, ends where words do."""
    return not any(
        0 < at < len(text)
        and _is_lettery(text[at - 1])
        and _is_lettery(text[at])
        and not (UNSPACED.match(text[at - 1]) or UNSPACED.match(text[at]))
        for at in (start, end)
    )


def _is_lettery(char: str) -> bool:
    """Tell whether a character is written within words: letters, marks, digits and joiners."""
    return unicodedata.category(char)[0] in "LMN" or char in "\u200c\u200d"


def _copy_case(word: str, other: str) -> str:
    """Write a synonym as the word it replaces is written: all in capitals, or the first letter."""
    if word.isupper() and (len(word) > 1 or len(other) == 1):
        return other.upper()
    return other[0].upper() + other[1:] if word[:1].isupper() else other


def _misspell(word: str, rng: np.random.Generator) -> str:
    """Exchange two neighbouring inner letters; words with marks or digits are left alone."""
    if len(word) < 4 or not word.isalpha() or len(CLUSTER.findall(word)) < len(word):
        return word
    at = int(rng.integers(1, len(word) - 2))
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


@functools.cache
def _load_tokenizer(path: str, max_tokens: int) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    padding = tokenizer.padding or {"pad_id": 0, "pad_token": "[PAD]"}
    tokenizer.enable_padding(pad_id=padding["pad_id"], pad_token=padding["pad_token"])
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


MODALITY = Text
