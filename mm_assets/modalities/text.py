"""Texts in any script, as the table's cells hold them."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mm_assets.contracts.errors import BadSampleError
from mm_assets.modalities import base

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Share = Annotated[float, Field(ge=0, le=1)]


class TextOptions(base.Options):
    """What a legal text is."""

    max_chars: Annotated[int, Field(ge=1)] = 100_000


class TextAugment(base.Options):
    """Chance of each word to be changed in a copy; small, since a word may carry the label."""

    drop: Share = 0.05
    swap: Share = 0.05  # with the next word
    typo: Share = 0.05  # two neighbouring letters change places


class Text(base.Modality[str]):
    """Text, cleaned to Unicode NFC with single spaces; tokenised when a batch is made."""

    kind: ClassVar[str] = "text"
    version: ClassVar[int] = 1
    is_file: ClassVar[bool] = False
    options_model: ClassVar[type[base.Options]] = TextOptions
    augment_model: ClassVar[type[base.Options]] = TextAugment

    def read(self, cell: object, folder: Path) -> bytes:
        """Give the cleaned text as UTF-8: cells that read alike are the same sample.

        Raises:
            BadSampleError: ``text_not_text``.
        """
        if not isinstance(cell, str):
            raise BadSampleError(
                "text_not_text", f"the cell must hold text, got {type(cell).__name__}"
            )
        scalars = cell.encode("utf-8", errors="surrogatepass").decode("utf-8", errors="replace")
        return clean_text(scalars).encode()

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Measure `chars` and `words` after cleaning; see `Modality.probe`."""
        data = self.read(cell, folder)
        text = self.decode(cell, folder)
        return {
            "content": base.digest_content(data),
            "chars": len(text),
            "words": len(text.split()),
        }

    def decode(self, cell: object, folder: Path) -> str:
        """Clean the text.

        Raises:
            BadSampleError: ``text_not_text``, ``text_empty`` or ``text_too_long``.
        """
        text = self.read(cell, folder).decode()
        if not any(unicodedata.category(char)[0] not in "CZ" for char in text):
            raise BadSampleError("text_empty", "the text has no visible character")
        if len(text) > self.options.max_chars:
            raise BadSampleError(
                "text_too_long",
                f"the text has {len(text)} characters, the limit is {self.options.max_chars}",
            )
        return text

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Keep the chances and draw a seed; see `Modality.plan`."""
        return {**self.augmentation.model_dump(), "seed": int(rng.integers(2**32))}

    def render(self, value: str, plan: Mapping[str, Any]) -> str:
        """Drop, swap and misspell words; at least one word stays."""
        rng = np.random.default_rng(plan["seed"])
        words = value.split()
        keep = rng.random(len(words)) >= plan["drop"]
        keep[rng.integers(len(words))] = True
        words = [word for word, kept in zip(words, keep, strict=True) if kept]
        for at in np.flatnonzero(rng.random(len(words) - 1) < plan["swap"]):
            words[at], words[at + 1] = words[at + 1], words[at]
        for at in np.flatnonzero(rng.random(len(words)) < plan["typo"]):
            words[at] = _misspell(words[at], rng)
        return " ".join(words)

    def collate(self, values: Sequence[str], inputs: Mapping[str, Any]) -> base.Arrays:
        """Tokenise, cut at `max_tokens` and pad to the longest of the batch.

        Returns:
            ``ids`` and ``mask`` (1 for a token, 0 for padding), int64 (batch, steps).
        """
        tokenizer = _load_tokenizer(inputs["tokenizer"], inputs["max_tokens"])
        encoded = tokenizer.encode_batch(list(values))
        return {
            "ids": np.array([one.ids for one in encoded], dtype=np.int64),
            "mask": np.array([one.attention_mask for one in encoded], dtype=np.int64),
        }

    def placeholder(self, inputs: Mapping[str, Any]) -> str:
        """Give the empty text, which is the special tokens alone."""
        return ""


def clean_text(text: str) -> str:
    """Normalise to NFC, drop control characters and lone surrogates, collapse whitespace.

    Format characters stay: Persian, Indic scripts and emoji need joiners.
    """
    kept = (c for c in text if c.isspace() or unicodedata.category(c) not in {"Cc", "Cs"})
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())


def _misspell(word: str, rng: np.random.Generator) -> str:
    """Exchange two neighbouring inner letters; words with marks or digits are left alone."""
    if len(word) < 4 or not word.isalpha():
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
