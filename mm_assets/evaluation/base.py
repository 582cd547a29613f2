"""What a piece of evidence looks at, and what it gives.

A file of this folder measures one thing, draws it, and ends with `EVIDENCE`; the evaluate stage
lists which ones there are. `measure_NAME` takes arrays, so that it is checked on plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from mm_assets.contracts.config import EvaluationConfig
from mm_assets.contracts.report import Table
from mm_assets.contracts.subsets import list_subsets, name_subset
from mm_assets.data.table import GROUP, ID
from mm_assets.data.vectors import Embeddings
from mm_assets.evaluation.answers import Answers, answer_rows
from mm_assets.targets.base import Target
from mm_assets.training.baselines import Baselines
from mm_assets.training.examples import Examples
from mm_assets.training.model import FusionModel

ByTarget = dict[str, dict[str, Any]]  # JSON values by name, of each target
Cell = str | int | float | None  # of a report's table
# A modality, rows of the augmented table and levels above 0, to vectors by level: what
# `mm_assets.embedding.disturbed.encode_disturbed` gives.
Disturb = Callable[[str, pd.DataFrame, Sequence[float]], Mapping[float, Embeddings]]


class Resampling(TypedDict):
    """How intervals are drawn: the last arguments of whatever gives one."""

    resamples: int
    confidence: float
    seed: int


@dataclass(frozen=True)
class Rows:
    """Rows of one split.

    Attributes:
        table: Of `read_augmented`, without copies, index from 0.
        examples: The same rows' vectors and labels.
    """

    table: pd.DataFrame
    examples: Examples

    @cached_property
    def groups(self) -> Shaped[np.ndarray, " row"]:
        """Whom each row belongs to: its group or, where it has none, itself."""
        owners: np.ndarray = self.table[GROUP].fillna(self.table[ID]).to_numpy()
        return owners

    def labels(self, target: str) -> Shaped[np.ndarray, " row *label"]:
        """Give a target's encoded labels."""
        encoded: np.ndarray = self.examples.labels[target].numpy()
        return encoded


@dataclass(frozen=True)
class Material:
    """What every piece of evidence may look at.

    Attributes:
        model: Calibrated.
        test: The rows that nothing has been fitted to.
        validation: The rows that thresholds are fitted to.
        training: Table of the training rows, copies among them.
        plain: The test rows with the embed stages' vectors; others than those of `test` where
            encoders were trained along.
        gather: Gives the test rows as another model takes them.
        baselines: Simpler models, trained on the same rows.
        disturb: Encodes cells of the test rows with noise in them.
        weigh: Gives the megabytes of a modality's encoder.
        columns: Columns of the raw table, by id, that the rows are sliced by.
        bounds: The best accuracy that any model can reach, by target and subset, where known.
        config: The `evaluation` section of `params.yaml`.
        seed: Of every draw.
    """

    model: FusionModel
    test: Rows
    validation: Rows
    training: pd.DataFrame
    plain: Examples
    gather: Callable[[FusionModel], Examples]
    baselines: Baselines
    disturb: Disturb
    weigh: Callable[[str], float]
    columns: pd.DataFrame
    bounds: Mapping[str, Mapping[str, float]]
    config: EvaluationConfig
    seed: int

    @property
    def targets(self) -> Mapping[str, Target]:
        """What is predicted."""
        return self.model.targets

    @property
    def resampling(self) -> Resampling:
        """How intervals are drawn."""
        return {
            "resamples": self.config.bootstrap,
            "confidence": self.config.confidence,
            "seed": self.seed,
        }

    @cached_property
    def as_given(self) -> Mapping[str, Answers]:
        """Answers to every test row with what it has, by target."""
        return answer_rows(self.model, self.test.examples)

    @cached_property
    def subsets(self) -> Mapping[str, Mapping[str, Answers]]:
        """Answers from every reported subset to the test rows that have it, by subset and target.

        Small subsets come first, all modalities last.
        """
        return {
            name_subset(subset): answer_rows(self.model, self.test.examples, subset)
            for subset in list_subsets(self.model.modalities)
        }

    def training_labels(self, target: str) -> Shaped[np.ndarray, " training *label"]:
        """Encode a target's labels of the training rows, copies among them."""
        encoded: np.ndarray = self.targets[target].encode(self.training[target], where=target)
        return encoded

    def groups_of(self, answers: Answers) -> Shaped[np.ndarray, " row"]:
        """Whom each answered test row belongs to."""
        owners: np.ndarray = self.test.groups[answers.rows]
        return owners


def follow_nothing(_: Mapping[str, Any]) -> dict[str, Any]:
    """Give no number that is worth following."""
    return {}


def tabulate_nothing(_: str, __: Mapping[str, Any]) -> Iterable[Table]:
    """Give no table."""
    return ()


@dataclass(frozen=True)
class Evidence:
    """One piece of evidence: what its file has to say of each target.

    Attributes:
        key: Under which `measure` gives its values. A target of which it gives none is not asked
            any further.
        measure: Gives JSON values by target, under `key` and, if there are more, others of its own.
        title: Of the picture; `{metric}` stands for the target's headline metric.
        draw: Given the target's name, its whole evidence and the SVG file.
        follow: Chooses, out of a target's whole evidence, numbers for `metrics.json`.
        tabulate: Makes tables for the report from a target's name and whole evidence.
    """

    key: str
    measure: Callable[[Material], ByTarget]
    title: str
    draw: Callable[[str, Mapping[str, Any], Path], None]
    follow: Callable[[Mapping[str, Any]], dict[str, Any]] = follow_nothing
    tabulate: Callable[[str, Mapping[str, Any]], Iterable[Table]] = tabulate_nothing


def make_table(title: str, columns: Iterable[str], lines: Iterable[Mapping[str, Any]]) -> Table:
    """Show some keys of each line, numbers with four decimals; a key may be absent."""
    chosen = tuple(columns)
    return Table(
        title=title,
        columns=chosen,
        rows=tuple(tuple(_shorten(line.get(key)) for key in chosen) for line in lines),
    )


def _shorten(cell: Cell) -> Cell:
    return round(cell, 4) if isinstance(cell, float) else cell
