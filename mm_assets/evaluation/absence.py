"""How the model holds when modalities go missing at random: one curve, on masks that are kept.

Whether a row loses a modality depends on the seed, the row's id and the modality's name alone, so
that a later model, or one with a further modality, is measured on the same losses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float64, Shaped
from matplotlib.figure import Figure

from mm_assets.contracts.report import Table
from mm_assets.data.progress import show_progress
from mm_assets.data.table import ID
from mm_assets.evaluation.answers import predict
from mm_assets.evaluation.base import ByTarget, Evidence, Material, make_table
from mm_assets.evaluation.metrics import draw_headline, take_interval
from mm_assets.targets.base import Target
from mm_assets.training.curves import save_svg

RATES = tuple(step / 10 for step in range(8))  # up to 0.7
MOST_DRAWS = 8  # numbers of 8 bytes in one digest
MOST_ANSWERS = 60_000  # of one rate; many rows need fewer draws


def count_draws(rows: int) -> int:
    """Tell how often each row's losses are drawn: eight times, less often for many rows."""
    return max(1, min(MOST_DRAWS, MOST_ANSWERS // max(rows, 1)))


def draw_losses(
    ids: Sequence[str], modalities: Sequence[str], *, seed: int, draws: int
) -> Float64[np.ndarray, "row modality draw"]:
    """Give the rate from which on each row loses each modality, uniform in [0, 1).

    Args:
        ids: Of the rows.
        modalities: Names.
        seed: `seed` of `params.yaml`.
        draws: How many, at most eight.
    """
    digests = b"".join(
        hashlib.blake2b(f"{seed}:{modality}:{id}".encode()).digest()
        for id in ids
        for modality in modalities
    )
    numbers = np.frombuffer(digests, dtype=">u8").reshape(len(ids), len(modalities), MOST_DRAWS)
    uniform: np.ndarray = (numbers[..., :draws] >> 11) / 2**53  # what a float64 holds exactly
    return uniform


def lose_modalities(
    presence: Bool[np.ndarray, "row modality"],
    losses: Float[np.ndarray, "row modality draw"],
    rate: float,
) -> Bool[np.ndarray, "row modality draw"]:
    """Take present modalities away, each with chance `rate` by itself, but never a row's last one.

    Args:
        presence: Which modalities the rows have.
        losses: Of `draw_losses`; the greatest is lost last.
        rate: In [0, 1).

    Returns:
        What is left; at a higher rate never more.
    """
    present = presence[:, :, None]
    last = np.where(present, losses, -1.0).argmax(axis=1)[:, None, :]  # (row, 1, draw)
    spared = np.arange(presence.shape[1])[:, None] == last
    left: np.ndarray = present & ((losses >= rate) | spared)
    return left


def measure_absence(
    target: Target,
    tallies: Sequence[Shaped[np.ndarray, "row tally"]],
    groups: Shaped[np.ndarray, " row"],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """Follow the headline metric along the rates of loss.

    Args:
        target: Whose headline metric.
        tallies: At each of `RATES`, added up over the draws; of rows with a known label.
        groups: The group of each row; rows of one group are drawn together.
        resamples: Draws of the intervals, the same ones at every rate.
        confidence: Of the intervals.
        seed: Of the draws.

    Returns:
        `curve`, by `rate` the headline metric under its name with `_low` and `_high`; and `area`,
        with `_low` and `_high`: the curve's mean height, by the trapezoidal rule.

    Raises:
        DataContractError: There is no row.
    """
    metric = target.headline
    drawn = np.stack(
        [draw_headline(target, one, groups, resamples=resamples, seed=seed) for one in tallies]
    )  # (rate, 1 + resample)
    areas = np.trapezoid(drawn, RATES, axis=0) / (RATES[-1] - RATES[0])

    def state(key: str, values: np.ndarray) -> dict[str, float]:
        low, high = take_interval(values[1:], confidence)
        return {key: float(values[0]), f"{key}_low": low, f"{key}_high": high}

    curve = [{"rate": rate, **state(metric, one)} for rate, one in zip(RATES, drawn, strict=True)]
    return {"curve": curve, **state("area", areas)}


def list_masks(material: Material) -> pd.DataFrame:
    """List what every test row was answered from: `id`, `rate`, `draw`, and by modality whether."""
    ids, names = pd.Index(material.test.table[ID]), material.model.modalities
    parts = []
    for rate, left in _leave(material):
        rows, _, draws = left.shape
        flat = left.transpose(2, 0, 1).reshape(-1, len(names))  # (draw * row, modality)
        keys = {
            ID: pd.Categorical.from_codes(np.tile(np.arange(rows), draws), categories=ids),
            "rate": rate,
            "draw": np.repeat(np.arange(draws, dtype=np.int8), rows),
        }
        parts.append(pd.DataFrame({**keys, **dict(zip(names, flat.T, strict=True))}))
    return pd.concat(parts, ignore_index=True)


def plot_absence(name: str, evidence: Mapping[str, Any], path: Path) -> None:
    """Draw the curve with its interval, above the majority answer.

    Args:
        name: Of the target.
        evidence: With `headline`, `absence` of `measure_absence`, and `majority`.
        path: The SVG file.
    """
    metric, curve = evidence["headline"], evidence["absence"]["curve"]
    values, lows, highs = (
        [one[f"{metric}{end}"] for one in curve] for end in ("", "_low", "_high")
    )
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(RATES, lows, highs, color="#4c78a8", alpha=0.2, linewidth=0, label="interval")
    axes.plot(RATES, values, color="#4c78a8", marker="o", label="mean over draws")
    axes.axhline(evidence["majority"][metric], color="0.5", linestyle=":", label="majority answer")
    axes.set(
        xlabel="chance that a row loses a modality",
        ylabel=f"{metric.replace('_', ' ')} on test rows",
        title=f"{name}: when modalities go missing",
    )
    figure.legend(loc="outside lower center", ncols=3)
    save_svg(figure, path)


def _leave(material: Material) -> list[tuple[float, Bool[np.ndarray, "row modality draw"]]]:
    """Give what is left of every test row at every rate; without a loss there is one draw."""
    presence, names = material.test.examples.presence.numpy(), material.model.modalities
    draws = count_draws(len(presence))
    losses = draw_losses(material.test.table[ID].tolist(), names, seed=material.seed, draws=draws)
    return [
        (rate, lose_modalities(presence, losses[..., : draws if rate else 1], rate))
        for rate in RATES
    ]


def _measure(material: Material) -> ByTarget:
    if len(material.model.modalities) == 1:
        return {}  # nothing is ever taken away
    rows = material.test.examples
    cases = [
        (place, left[..., draw])
        for place, (_, left) in enumerate(_leave(material))
        for draw in range(left.shape[2])
    ]
    tallies: dict[str, list[Any]] = {name: [0] * len(RATES) for name in material.targets}
    for place, left in show_progress(cases, title="random absence", total=len(cases), unit="draw"):
        found = predict(material.model, replace(rows, presence=torch.from_numpy(left)))
        for name, target in material.targets.items():
            labels = material.test.labels(name)
            known = target.is_known(labels)
            tallies[name][place] += target.tally(labels[known], found[name][known])
    draws = count_draws(len(rows))
    return {
        name: {
            "absence": {"draws": draws}
            | measure_absence(
                target,
                tallies[name],
                material.groups_of(material.as_given[name]),
                **material.resampling,
            )
        }
        for name, target in material.targets.items()
    }


def _follow(found: Mapping[str, Any]) -> dict[str, Any]:
    metric, (*_, last) = found["headline"], found["absence"]["curve"]
    return {
        "absence_area": found["absence"]["area"],
        f"absence_{last['rate']:g}_{metric}": last[metric],
    }


def _tabulate(name: str, found: Mapping[str, Any]) -> list[Table]:
    metric = found["headline"]
    columns = ("rate", metric, f"{metric}_low", f"{metric}_high")
    title = f"{name}: {metric} when each modality is lost at random"
    return [make_table(title, columns, found["absence"]["curve"])]


EVIDENCE = Evidence(
    "absence",
    _measure,
    "{metric} when modalities go missing",
    plot_absence,
    follow=_follow,
    tabulate=_tabulate,
)
