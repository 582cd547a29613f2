"""Numbers and categories that describe a sample, held in several columns of the sample table.

A cell is a mapping from column to value or null; in a table, at the command line and in a request
it may be its JSON text, such as ``{"age": 30, "plan": "pro"}``. JSON text is one column that
survives Parquet, is null or not like any other, and costs a machine tens of bytes a row.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import numbers
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, SupportsFloat

import numpy as np
from pydantic import Field

from mm_assets.contracts.config import ColumnType
from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.cells import write_values
from mm_assets.modalities import base

if TYPE_CHECKING:
    import pandas as pd

LARGEST = float(np.finfo(np.float32).max)
MISSING = 0  # in place of a category's hash
Share = Annotated[float, Field(ge=0, le=1)]
Row = dict[str, float | str | None]


class TabularOptions(base.Options):
    """Which columns there are; `load_project` takes them from `modalities.KEY.columns`."""

    columns: Annotated[dict[str, ColumnType], Field(min_length=1)]


class TabularAugment(base.Options):
    """How a copy differs: noise relative to each number, and columns that go missing."""

    noise: Share = 0.02
    drop: Share = 0.05  # chance of each value; the model learns what to do without it


class Tabular(base.Modality[Row]):
    """A mapping from every column to a float, a text or null."""

    kind: ClassVar[str] = "tabular"
    version: ClassVar[int] = 1
    decoders: ClassVar[tuple[str, ...]] = ("numpy",)
    is_file: ClassVar[bool] = False
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    identifies: ClassVar[bool] = False  # two customers may be of one age and plan
    options_model: ClassVar[type[base.Options]] = TabularOptions
    options: TabularOptions
    augment_model: ClassVar[type[base.Options]] = TabularAugment
    augmentation: TabularAugment

    @functools.cached_property
    def numeric(self) -> list[str]:
        """Columns of numbers, in the order in which `collate` gives them."""
        return self._list_columns("numeric")

    @functools.cached_property
    def categorical(self) -> list[str]:
        """Columns of categories, likewise."""
        return self._list_columns("categorical")

    def _list_columns(self, wanted: ColumnType) -> list[str]:
        # By name: a file with sorted keys, or a reordered params.yaml, means the same model.
        return sorted(name for name, column in self.options.columns.items() if column == wanted)

    def read(self, cell: object, folder: Path) -> bytes:
        """Give the cleaned row as JSON with sorted keys, however it was written.

        Raises:
            BadSampleError: As `decode`.
        """
        return json.dumps(self.decode(cell, folder), sort_keys=True).encode()

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Count `missing_columns`; see `Modality.probe`."""
        row = self.decode(cell, folder)
        return {
            "content": base.digest_content(json.dumps(row, sort_keys=True).encode()),
            "missing_columns": sum(value is None for value in row.values()),
        }

    def decode(self, cell: object, folder: Path) -> Row:
        """Clean every value; a column that the cell does not name is missing.

        Raises:
            BadSampleError: ``row_unreadable``, ``column_unknown``, ``row_empty``, or as
                `clean_number` and `clean_category`.
        """
        try:
            raw = json.loads(cell) if isinstance(cell, str) else cell
        except (ValueError, RecursionError) as error:
            raise BadSampleError(
                "row_unreadable", f"the cell must hold a JSON object of columns: {error}"
            ) from None
        columns: dict[str, ColumnType] = self.options.columns
        if not isinstance(raw, Mapping):
            raise BadSampleError(
                "row_unreadable",
                f"the cell must map columns to values, such as "
                f'{{"{next(iter(columns))}": …}}, got {type(raw).__name__}',
            )
        if unknown := sorted(map(str, raw.keys() - columns.keys())):
            raise BadSampleError(
                "column_unknown",
                f"the cell has {', '.join(unknown)}, but the columns are {', '.join(columns)}",
            )
        row = {name: _clean(raw.get(name), name, column) for name, column in columns.items()}
        if all(value is None for value in row.values()):
            raise BadSampleError(
                "row_empty", f"none of {', '.join(columns)} has a value; leave the whole cell out"
            )
        return row

    def describe(self, value: Row) -> base.Sketch:
        """Show every column."""
        return base.Sketch(fields={name: write_values(one) for name, one in value.items()})

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Keep the strengths and draw a seed; see `Modality.plan`."""
        return {**self.augmentation.model_dump(), "seed": int(rng.integers(2**32))}

    def render(self, value: Row, plan: Mapping[str, Any]) -> Row:
        """Multiply each number by ``1 + noise * normal`` and drop values; at least one stays."""
        rng = np.random.default_rng(plan["seed"])
        factors = 1 + plan["noise"] * rng.standard_normal(len(value))
        kept = rng.random(len(value)) >= plan["drop"]
        present = np.flatnonzero([one is not None for one in value.values()])
        kept[rng.choice(present)] = True
        return {
            name: None if not stays else float(one * factor) if isinstance(one, float) else one
            for (name, one), factor, stays in zip(value.items(), factors, kept, strict=True)
        }

    def corrupt(self, value: Row, level: float, rng: np.random.Generator) -> Row:
        """Lose values, and change the numbers that stay; see `Modality.corrupt`.

        Of the values that are there, one (drawn evenly) stays and each other goes missing with
        probability `level`. A number is multiplied by ``1 + level * normal``: its own size is the
        only scale that is known here. A category that stays is what it was.

        Raises:
            DataContractError: The level is not in [0, 1].
        """
        self._require_level(level)
        seed = int(rng.integers(2**32))
        return self.render(value, {"noise": level, "drop": level, "seed": seed})

    def collate(self, values: Sequence[Row], inputs: Mapping[str, Any]) -> base.Arrays:
        """Put numbers beside each other, and categories by their hash; columns by their name.

        Returns:
            ``numbers``, float32 (batch, numeric column), NaN where missing, and ``categories``,
            int64 (batch, categorical column) of `hash_category`, 0 where missing; each only where
            there are such columns.
        """
        arrays: base.Arrays = {}
        if self.numeric:
            rows = [[row[name] for name in self.numeric] for row in values]
            arrays["numbers"] = np.clip(np.array(rows, np.float64), -LARGEST, LARGEST).astype(
                np.float32
            )
        if self.categorical:
            hashes = [[hash_category(row[name]) for name in self.categorical] for row in values]
            arrays["categories"] = np.array(hashes, dtype=np.int64)
        return arrays

    def placeholder(self, inputs: Mapping[str, Any]) -> Row:
        """Give a row of nulls."""
        return dict.fromkeys(self.options.columns)


def _clean(value: object, name: str, column: ColumnType) -> float | str | None:
    return clean_number(value, name) if column == "numeric" else clean_category(value, name)


def clean_number(value: object, column: str) -> float | None:
    """Read a number, also from text; empty and NaN are missing.

    What separates thousands and decimals is not guessed: ``1,5`` may mean two things.

    Raises:
        BadSampleError: ``number_unreadable`` or ``number_not_finite``; names the column.
    """
    if value is None:
        return None
    try:
        # Python itself would take 1_000.
        text = value.strip().replace("_", "?") or "nan" if isinstance(value, str) else value
        # The text of whatever is neither is no number.
        number = float(text if isinstance(text, SupportsFloat) else str(text))
    except OverflowError:  # an integer beyond float64
        number = math.inf
    except (TypeError, ValueError):
        raise BadSampleError(
            "number_unreadable",
            f"column {column!r} holds {base.show_cell(value)}, which is no number; write it without unit "
            "or thousands separators, such as 1200.5, or make the column categorical",
        ) from None
    if math.isnan(number):
        return None
    if abs(number) > LARGEST:
        raise BadSampleError(
            "number_not_finite",
            f"column {column!r} holds {base.show_cell(value)}; numbers must be finite as 32-bit floats",
        )
    return number + 0.0  # no negative zero


def clean_category(value: object, column: str) -> str | None:
    """Read a category as stripped text in Unicode NFC; whole numbers lose their ``.0``.

    A null in a column makes pandas read its integers as floats, so that 7.0 is written ``7``.

    Raises:
        BadSampleError: ``category_unreadable``: neither text nor a single number; names the column.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an integer beyond float64
            raise BadSampleError(
                "category_unreadable", f"column {column!r} holds a number too large for a category"
            ) from None
        value = None if math.isnan(number) else str(int(number) if number.is_integer() else value)
    if isinstance(value, bool):
        value = str(value)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadSampleError(
            "category_unreadable",
            f"column {column!r} must hold a text or a number, got {base.show_cell(value)}",
        )
    return unicodedata.normalize("NFC", value).strip() or None


@functools.lru_cache(maxsize=2**16)
def hash_category(text: str | None) -> int:
    """Give a category's number: 64 bits of its BLAKE2b, the same on every machine; 0 for null.

    Two of a million categories collide with a probability of 3e-8.

    Source:
        RFC 7693, https://www.rfc-editor.org/rfc/rfc7693.
    """
    if text is None:
        return MISSING
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1


def join_columns(frame: pd.DataFrame, columns: Mapping[str, ColumnType]) -> pd.Series:
    """Make the cells of a raw table's columns.

    Args:
        frame: The raw table.
        columns: Which of its columns to take, and as what.

    Returns:
        JSON text per row that holds the columns with a value; null where none has one.
    """
    import pandas as pd

    joined = pd.Series("", index=frame.index, dtype="str")
    for name, column in columns.items():
        values = frame[name]
        if values.dtype == object:  # lists cannot be told apart by their hash
            values = values.map(lambda one: one if isinstance(one, Hashable) else str(one))
        # Each distinct value is written once; place -1, a null, takes the last text.
        places, distinct = pd.factorize(values)
        written = [_write(value, name, column) for value in distinct.tolist()]
        texts = pd.Series([*written, ""], dtype="str").take(places)
        joined = joined.str.cat(texts.set_axis(frame.index))
    return ("{" + joined.str.slice(2) + "}").where(joined != "", None)


def _write(value: object, name: str, column: ColumnType) -> str:
    """Write one value as it stands; nothing where cleaning would call it missing."""
    try:
        if _clean(value, name, column) is None:
            return ""
    except BadSampleError:
        pass  # found again, and reported, when the cell is probed
    return f", {json.dumps(name)}: {json.dumps(value, default=str)}"


MODALITY = Tabular
