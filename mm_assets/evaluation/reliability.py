"""How far a stated confidence can be believed: reliability curve and expected calibration error."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from matplotlib.figure import Figure

from mm_assets.evaluation.answers import Answers, answer_rows
from mm_assets.evaluation.base import ByTarget, Evidence, Material
from mm_assets.evaluation.metrics import resample_groups, sum_by_group, take_interval
from mm_assets.training.curves import save_svg

# As Naeini et al. 2015. More would split some hundred test rows too finely: every bin adds noise.
BINS = 10


def measure_reliability(
    confidence: Float[np.ndarray, " claim"],
    correct: Bool[np.ndarray, " claim"],
    groups: Shaped[np.ndarray, " claim"],
    *,
    resamples: int,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """Compare how sure claims are with how often they are right, in ten bins of equal width.

    The expected calibration error (ECE) is the mean distance between the two, weighted by claims.
    It is 0 at best but never measured as 0: a few claims in a bin miss their confidence by chance,
    by `ece_if_calibrated` on average. Drawing groups again adds the same noise once more, so the
    draws' upper end is taken and reflected at the ECE: an interval cut out of the draws lies too
    high, and misses a small error every time.

    Args:
        confidence: In [0, 1].
        correct: Whether the claim is so.
        groups: Of each claim; claims of one group are drawn together.
        resamples: Draws of groups for the interval.
        level: Of the interval, such as 0.95.
        seed: Of the draws.

    Returns:
        `claims`, `groups`, `ece` with `ece_low` and `ece_high`; `ece_if_calibrated`, the ECE that
        is to be expected where every claim of confidence p is right with chance p, independently;
        `ece_equal_mass`, over ten bins of equally many claims instead; and `bins`, those that
        are not empty: `low` and `high` (exclusive, inclusive), `claims`, mean `confidence`, and
        `accuracy`.

    Raises:
        DataContractError: There is no claim.

    Source:
        Naeini et al. 2015, https://doi.org/10.1609/aaai.v29i1.9602; Guo et al. 2017,
        https://arxiv.org/abs/1706.04599, section 2; bins of equal mass: Nguyen and O'Connor 2015,
        https://doi.org/10.18653/v1/D15-1182.
    """
    edges = np.linspace(0, 1, BINS + 1)
    totals = sum_by_group(_count(confidence, correct, edges), groups)
    bins = totals.sum(axis=0).reshape(1, BINS, 3)
    ece = float(_average_gap(bins)[0])
    drawn = [
        gap
        for sums in resample_groups(totals, resamples, seed)
        for gap in _average_gap(sums.reshape(-1, BINS, 3))
    ]
    _, high = take_interval(drawn, level)
    mass = _count(confidence, correct, np.quantile(confidence, edges)).sum(axis=0)
    return {
        "claims": len(confidence),
        "groups": len(totals),
        "ece": ece,
        "ece_low": max(0.0, 2 * ece - high),
        "ece_high": max(ece, high),
        "ece_if_calibrated": _expect_gap(confidence, edges),
        "ece_equal_mass": float(_average_gap(mass.reshape(1, BINS, 3))[0]),
        "bins": [
            {
                "low": float(low),
                "high": float(top),
                "claims": int(claims),
                "confidence": float(sure / claims),
                "accuracy": float(right / claims),
            }
            for low, top, (claims, sure, right) in zip(edges, edges[1:], bins[0], strict=False)
            if claims
        ],
    }


def _find_bins(
    confidence: Float[np.ndarray, " claim"], edges: Float[np.ndarray, " edge"]
) -> Shaped[np.ndarray, " claim"]:
    """Number each claim's bin; a claim on an edge belongs to the bin below it."""
    return np.searchsorted(edges[1:-1], confidence, side="left")


def _count(
    confidence: Float[np.ndarray, " claim"],
    correct: Bool[np.ndarray, " claim"],
    edges: Float[np.ndarray, " edge"],
) -> Float[np.ndarray, "claim tally"]:
    """Write each claim into its bin as 1, its confidence, and whether it is right; flattened."""
    counts = np.zeros((len(confidence), BINS, 3))
    counts[np.arange(len(confidence)), _find_bins(confidence, edges)] = np.stack(
        [np.ones(len(confidence)), confidence, correct], axis=1
    )
    return counts.reshape(len(confidence), BINS * 3)


def _average_gap(bins: Float[np.ndarray, "resample bin 3"]) -> Float[np.ndarray, " resample"]:
    """Compute the ECE from claims, summed confidence and right answers of each bin."""
    gaps: np.ndarray = np.abs(bins[..., 2] - bins[..., 1]).sum(axis=-1) / bins[..., 0].sum(axis=-1)
    return gaps


def _expect_gap(
    confidence: Float[np.ndarray, " claim"], edges: Float[np.ndarray, " edge"]
) -> float:
    """Compute the mean ECE of calibrated claims: each bin's gap is normal, of mean 0."""
    spread = confidence * (1 - confidence)
    variances = np.bincount(_find_bins(confidence, edges), weights=spread, minlength=BINS)
    return float(np.sqrt(2 / np.pi * variances).sum() / len(confidence))


def plot_reliability(name: str, evidence: Mapping[str, Any], path: Path) -> None:
    """Draw how often claims are right by how sure they are, and how many claims there are.

    Args:
        name: Of the target.
        evidence: With `reliability`: `calibrated` and `uncalibrated`, each of
            `measure_reliability`.
        path: The SVG file.
    """
    reliability = evidence["reliability"]
    figure = Figure(figsize=(5.4, 6), layout="constrained")
    axes, counts = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    axes.plot((0, 1), (0, 1), color="0.6", linestyle=":", label="as often right as sure")
    for when, color in (("uncalibrated", "#b6c0ca"), ("calibrated", "#4c78a8")):
        bins = reliability[when]["bins"]
        most = max(one["claims"] for one in bins)
        sure, right = ([one[key] for one in bins] for key in ("confidence", "accuracy"))
        axes.plot(sure, right, color=color, linewidth=1)
        axes.scatter(
            sure,
            right,
            s=[12 + 160 * one["claims"] / most for one in bins],  # few claims, a small dot
            color=color,
            label=f"{when}: ECE {100 * reliability[when]['ece']:.1f} %",
            zorder=2 + (when == "calibrated"),
        )
    bins = reliability["calibrated"]["bins"]
    middles = [(one["low"] + one["high"]) / 2 for one in bins]
    counts.bar(middles, [one["claims"] for one in bins], width=0.09, color="#4c78a8")
    for middle, one in zip(middles, bins, strict=True):
        counts.annotate(
            str(one["claims"]), (middle, one["claims"]), ha="center", va="bottom", fontsize=8
        )
    counts.margins(y=0.35)
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.05), ylabel="share that is right")
    axes.set_title(f"{name}: how far its confidence can be believed")
    figure.legend(loc="outside lower center", markerscale=0.6)
    counts.set(xlabel="confidence on test rows", ylabel="number")
    save_svg(figure, path)


def _measure(material: Material) -> ByTarget:
    untempered = copy.deepcopy(material.model)
    untempered.temperature.fill_(1)
    before = answer_rows(untempered, material.test.examples)
    given = {"calibrated": material.as_given, "uncalibrated": before}
    measured: ByTarget = {}
    for name in material.targets:
        found = {when: _measure_claims(material, name, one[name]) for when, one in given.items()}
        if found["calibrated"] is not None:
            measured[name] = {"reliability": found}
    return measured


def _measure_claims(material: Material, name: str, answers: Answers) -> dict[str, Any] | None:
    """Measure one target's claims; null for a kind that makes none."""
    labels = material.test.labels(name)[answers.rows]
    claims = material.targets[name].confidences(labels, answers.probabilities)
    if claims is None:
        return None
    confidence, correct = claims
    groups = material.groups_of(answers)
    owners = groups.repeat(len(confidence) // len(groups))  # several claims a row, or one
    config = material.config
    return measure_reliability(
        confidence,
        correct,
        owners,
        resamples=config.bootstrap,
        level=config.confidence,
        seed=material.seed,
    )


def _follow(found: Mapping[str, Any]) -> dict[str, Any]:
    reliability = found["reliability"]
    return {
        "ece": reliability["calibrated"]["ece"],
        "ece_uncalibrated": reliability["uncalibrated"]["ece"],
    }


EVIDENCE = Evidence(
    "reliability",
    _measure,
    "how far its confidence can be believed",
    plot_reliability,
    follow=_follow,
)
