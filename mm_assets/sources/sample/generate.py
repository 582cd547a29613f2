"""Writing the sample: its table, its media and its card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mm_assets.contracts.errors import SourceError
from mm_assets.data.atomic import write_json
from mm_assets.data.card import CARD_VERSION
from mm_assets.data.progress import show_progress
from mm_assets.sources.sample.answer import TARGETS, tabulate_bounds
from mm_assets.sources.sample.broken import FAULTS, PREFIX, Row
from mm_assets.sources.sample.photo import take_photo, write_photo
from mm_assets.sources.sample.text import ENGLISH, Language, Writer, draw_writer, write_message
from mm_assets.sources.sample.text_zh import CHINESE
from mm_assets.sources.sample.voice import Speaker, draw_speaker, speak, write_voice

LANGUAGES = {"en": ENGLISH, "zh": CHINESE}
COLUMNS = ("id", "customer", "message", "voice", "photo", "sentiment", "intent")
CELLS = ("message", "photo", "voice")


@dataclass(frozen=True)
class Customer:
    """Someone who writes, speaks and takes photos in their own way."""

    name: str
    writer: Writer
    speaker: Speaker


def generate_sample(
    folder: Path,
    *,
    rows: int = 900,
    customers: int = 80,
    seed: int = 7,
    broken: bool = True,
    missing: float = 0.04,
    first_customer: int = 0,
    language: Literal["en", "zh"] = "en",
) -> None:
    """Write customers' messages to a service desk: `samples.csv`, `card.json` and the media.

    A row depends on the seed, its customer and its number among the customer's messages alone, so
    other customers' numbers give messages of people never heard before.

    Args:
        folder: Where to; made if absent, else empty.
        rows: Good rows.
        customers: How many people they come from, in turn.
        seed: Of everything that is drawn.
        broken: Whether to add the rows of `FAULTS`.
        missing: Probability that a modality is missing from a good row; one always stays.
        first_customer: Number of the first customer.
        language: What they write in, by its ISO 639-1 code; labels, photos and what is heard in
            the voices are the same in each.

    Raises:
        SourceError: The folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SourceError(f"the sample needs an empty folder, but {folder} holds files; empty it")
    for medium in ("photo", "voice"):
        (folder / medium).mkdir(parents=True)
    wording = LANGUAGES[language]
    people = [draw_customer(seed, first_customer + k, wording) for k in range(customers)]
    table: list[Row] = []
    for k in show_progress(range(rows), title="sample", total=rows):
        person = people[k % customers]
        rng = np.random.default_rng([seed, first_customer + k % customers, 1 + k // customers])
        row = write_row(f"{person.name}-{k // customers:02d}", person, folder, rng)
        table.append(drop_modalities(row, folder, missing, rng))
    reasons: dict[str, str] = {}
    for k, (name, fault) in enumerate(FAULTS.items() if broken else ()):
        rng = np.random.default_rng([seed, first_customer, 0, k])
        spoiled = fault.spoil(write_row(PREFIX + name, people[k % customers], folder, rng), folder)
        table += spoiled
        reasons |= {str(r["id"]): fault.reason for r in spoiled if str(r["id"]).startswith(PREFIX)}
    write_table(folder / "samples.csv", table)
    write_json(folder / "card.json", describe(reasons, title=wording.title))


def draw_customer(seed: int, number: int, language: Language = ENGLISH) -> Customer:
    """Draw one person's habits; the same number is the same person in every sample of a seed."""
    rng = np.random.default_rng([seed, number])
    return Customer(f"c{number:04d}", draw_writer(rng, language), draw_speaker(rng))


def write_row(id_: str, customer: Customer, folder: Path, rng: np.random.Generator) -> Row:
    """Draw classes and what each modality shows of them, and write the media that show it.

    Args:
        id_: The row's id; also names its files.
        customer: Whose message it is.
        folder: The data folder.
        rng: The row's own.

    Returns:
        The row as `samples.csv` will hold it, with all modalities.
    """
    sentiment, sentiment_shown = TARGETS["sentiment"].draw(rng)
    intent, intent_shown = TARGETS["intent"].draw(rng)
    photo, voice = f"photo/{id_}.jpg", f"voice/{id_}.ogg"
    write_photo(folder / photo, take_photo(intent_shown["image"], sentiment_shown["image"], rng))
    write_voice(folder / voice, speak(customer.speaker, sentiment_shown["audio"], rng))
    message = write_message(customer.writer, intent_shown["text"], sentiment_shown["text"], rng)
    cells = (id_, customer.name, message, voice, photo, sentiment, intent)
    return dict(zip(COLUMNS, cells, strict=True))


def drop_modalities(row: Row, folder: Path, share: float, rng: np.random.Generator) -> Row:
    """Take each modality away at random, whatever it says, but never all of them."""
    lost = rng.random(len(CELLS)) < share
    if lost.all():
        lost[rng.integers(len(CELLS))] = False
    for cell, gone in zip(CELLS, lost, strict=True):
        if gone:
            if cell != "message":
                (folder / str(row[cell])).unlink()
            row[cell] = None
    return row


def write_table(path: Path, rows: list[Row]) -> None:
    """Write CSV in which a missing cell is nothing and an empty text is `""`."""
    import pyarrow as pa
    import pyarrow.csv

    table = pa.table({name: pa.array([r[name] for r in rows], pa.string()) for name in COLUMNS})
    pa.csv.write_csv(table, path)  # quotes every text, so that null and empty differ


def describe(reasons: dict[str, str], *, title: str) -> dict[str, object]:
    """Make the data's card: what it is, how well it can be predicted, which rows are broken."""
    return {
        "schema_version": CARD_VERSION,
        "title": title,
        "description": (
            "Made-up customers write, speak and send a photo. Each modality shows the true class "
            "through a noisy channel of known reliability, so the best accuracy that any model "
            "can reach is known for every subset of modalities (upper_bounds, for rows that have "
            "them all)."
        ),
        "licence": "Apache-2.0, as the code that generated it",
        "channels": {
            name: {
                "classes": list(target.classes),
                "prior": list(target.prior),
                "reliability": dict(target.reliability),
            }
            for name, target in TARGETS.items()
        },
        "upper_bounds": tabulate_bounds(),
        "broken": reasons,
    }
