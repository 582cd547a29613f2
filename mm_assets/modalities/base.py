"""What every kind of input can do."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from mm_assets.contracts.config import validate_options
from mm_assets.contracts.errors import BadSampleError, ConfigError, DataContractError

if TYPE_CHECKING:
    from PIL import Image

Arrays = dict[str, np.ndarray]


class Options(BaseModel):
    """A kind's options, from `modalities.KEY.options` or `modalities.KEY.augment`.

    Class attributes:
        limits: Options that say which cells are legal, not what a legal cell is decoded to; they
            are no part of the store's key.
    """

    limits: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Value = TypeVar("Value")


@dataclass(frozen=True)
class Probes:
    """What `Modality.probe_many` saw.

    Attributes:
        measured: By measurement (the same ones for every cell of a kind), one value per usable
            cell, in order; empty where there is none.
        errors: By place among the cells, why a cell cannot be used.
    """

    measured: Mapping[str, Sequence[float | int | str] | np.ndarray]
    errors: Mapping[int, BadSampleError]


@dataclass(frozen=True)
class Sketch:
    """A decoded value as a person can judge it: what `Modality.describe` gives to pages.

    Attributes:
        caption: One line, such as ``2.31 s at 16000 Hz``.
        text: What is read as text, in full.
        fields: Named values, in order.
        picture: What is looked at, in RGB; of a video some frames side by side.
        curves: Numbers over time, float (curve, steps).
        oscillates: Whether the curves swing around zero, as sound does, and are drawn by the range
            they cover.
    """

    caption: str = ""
    text: str | None = None
    fields: Mapping[str, str] | None = None
    picture: Image.Image | None = None
    curves: np.ndarray | None = None
    oscillates: bool = False


def digest_content(data: bytes) -> str:
    """Digest what `Modality.read` gave, in hex."""
    return hashlib.sha256(data).hexdigest()


class Modality(ABC, Generic[Value]):
    """One kind of input. `Value` is its decoded form (text, Pillow image, waveform, vector, row).

    A cell is what the sample table holds: a text, a path relative to the data folder, a list, a
    mapping of columns (in a table as JSON text).
    A null cell is a missing modality and never reaches these methods.
    """

    kind: ClassVar[str]
    version: ClassVar[int]  # raised whenever decode, render or collate give other values
    decoders: ClassVar[tuple[str, ...]]  # distributions whose version decides what is decoded
    is_file: ClassVar[bool]  # whether a cell may be a path inside the data folder
    varying: ClassVar[Mapping[str, tuple[int, ...]]]  # by array, axes that differ between batches
    identifies: ClassVar[bool] = True  # whether equal cells mean that it is the same sample
    options_model: ClassVar[type[Options]]
    augment_model: ClassVar[type[Options]]

    def __init__(self, options: Options, augment: Options) -> None:
        self.options = options
        self.augmentation = augment

    @abstractmethod
    def read(self, cell: object, folder: Path) -> bytes:
        """Give the bytes of one cell: its identity (by SHA-256) and, by their number, its size.

        Args:
            cell: The table's cell, not null.
            folder: The data folder; no path may lead outside it.

        Raises:
            BadSampleError: The cell is of the wrong type, or its file cannot be read.
        """

    @abstractmethod
    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Look at one cell once: measurements for validation, and `content`, its SHA-256.

        Args:
            cell: The table's cell, not null.
            folder: The data folder.

        Returns:
            Flat measurements with units in their names (`width_px`, `duration_s`) and `content`
            (hex SHA-256 of `read`).

        Raises:
            BadSampleError: The cell cannot be used; with a stable reason code.
        """

    def probe_many(self, cells: Sequence[object], folder: Path) -> Probes:
        """Probe cells, with the measurements and errors of `probe` to the letter.

        This goes cell by cell; a kind of many small cells may do better with arrays.
        """
        found: list[dict[str, float | int | str]] = []
        errors: dict[int, BadSampleError] = {}
        for place, cell in enumerate(cells):
            try:
                found.append(self.probe(cell, folder))
            except BadSampleError as error:
                errors[place] = error
        names = found[0] if found else ()
        return Probes({name: [one[name] for one in found] for name in names}, errors)

    @abstractmethod
    def decode(self, cell: object, folder: Path) -> Value:
        """Read and clean one cell into the value that encoders and augmentation see.

        Raises:
            BadSampleError: As `probe`.
        """

    @abstractmethod
    def describe(self, value: Value) -> Sketch:
        """Show a decoded (or rendered) value to a person."""

    def preprocessing(self) -> dict[str, Any]:
        """Say all that decides what a cell is decoded to: part of the store's key."""
        return {
            "kind": self.kind,
            "version": self.version,
            "options": self.options.model_dump(mode="json", exclude=set(self.options.limits)),
            "decoders": {name: metadata.version(name) for name in self.decoders},
        }

    @abstractmethod
    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw how a copy is to be rendered: operations with their strengths and a seed, as JSON."""

    @abstractmethod
    def render(self, value: Value, plan: Mapping[str, Any]) -> Value:
        """Apply a plan; the same plan and value give the same result each time."""

    @abstractmethod
    def corrupt(self, value: Value, level: float, rng: np.random.Generator) -> Value:
        """Disturb a decoded value, to see what a model makes of it.

        What a level means, each kind says. Damage may not fall as the level rises, and no value is
        changed in place.

        Args:
            value: Decoded.
            level: 0 leaves it as it is, 1 leaves little to go by.
            rng: The only source of chance.

        Returns:
            A value that `collate` takes.

        Raises:
            DataContractError: The level is not in [0, 1].
        """

    def _require_level(self, level: float) -> None:
        """Check a level of `corrupt`.

        Raises:
            DataContractError: It is not in [0, 1].
        """
        if not 0 <= level <= 1:
            raise DataContractError(
                f"{self.kind}: the level of noise must be from 0 (none) to 1 (strongest), got {level}"
            )

    @abstractmethod
    def collate(self, values: Sequence[Value], inputs: Mapping[str, Any]) -> Arrays:
        """Make one batch for an encoder (and for the exported model).

        Args:
            values: Decoded values, at least one.
            inputs: What the encoder needs, from `Encoder.inputs()`: an image's `size_px`, a
                waveform's `rate_hz` and `max_s`, a text's `tokenizer` and `max_tokens` or its
                `ngrams`, `bits` and `max_chars`; nothing for a vector or a row of columns.

        Returns:
            Arrays whose first axis is the batch, in the order of the encoder network's arguments.
            Shorter values are padded at the end of the axes in `varying`, with zeros (token ids
            with the tokenizer's padding); what is padding shows in another array of the batch.
        """

    @abstractmethod
    def placeholder(self, inputs: Mapping[str, Any]) -> Value:
        """Give the value of least legal size that stands for an absent one; it is selected out."""


def show_cell(cell: object) -> str:
    """Write a cell for a message: as Python does, cut after 60 characters."""
    try:
        text = repr(cell)
    except (ValueError, RecursionError):  # of numbers or lists beyond Python's limits
        text = type(cell).__name__
    return text if len(text) <= 60 else text[:58] + "…"


def list_kinds() -> list[str]:
    """List the kinds of input, that is the files beside this one."""
    package = importlib.import_module("mm_assets.modalities")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base")


def load_modality(
    kind: str, options: dict[str, Any], augment: dict[str, Any], *, where: str
) -> Modality[Any]:
    """Build a kind from its file, with validated options.

    Args:
        kind: Such as ``image``.
        options: `modalities.KEY.options`.
        augment: `modalities.KEY.augment`.
        where: The place in `params.yaml`, such as ``modalities.photo``.

    Raises:
        ConfigError: No such kind, or an option is wrong.
    """
    if kind not in list_kinds():
        raise ConfigError(
            f"params.yaml: `{where}.kind` must be one of {', '.join(list_kinds())}, got {kind!r}"
        )
    found: type[Modality[Any]] = importlib.import_module(f"mm_assets.modalities.{kind}").MODALITY
    return found(
        validate_options(found.options_model, options, where=f"{where}.options"),
        validate_options(found.augment_model, augment, where=f"{where}.augment"),
    )
