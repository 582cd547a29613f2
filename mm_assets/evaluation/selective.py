"""What is gained by leaving the least sure answers to a person: accuracy against coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from matplotlib.figure import Figure

from mm_assets.contracts.errors import DataContractError
from mm_assets.evaluation.answers import answer_rows
from mm_assets.evaluation.base import ByTarget, Evidence, Material
from mm_assets.evaluation.metrics import (
    resample_groups,
    split_resamples,
    sum_by_group,
    take_interval,
)
from mm_assets.training.curves import save_svg

COVERAGES = tuple(percent / 100 for percent in range(5, 101, 5))  # points of the curve
LEAST_CLAIMS = 10  # that a threshold must leave on validation rows: fewer prove no accuracy


def measure_selective(
    confidence: Float[np.ndarray, " claim"],
    correct: Bool[np.ndarray, " claim"],
    groups: Shaped[np.ndarray, " claim"],
    *,
    resamples: int,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """Keep the surest claims, more and more of them, and count how many are wrong.

    The area under the risk-coverage curve (AURC) is the mean, over k, of the share of wrong claims
    among the k surest. Where claims are equally sure it is the mean over their possible orders.

    Args:
        confidence: In [0, 1], as `Target.confidences` gives it.
        correct: Whether the claim is so.
        groups: Of each claim; claims of one group are drawn together.
        resamples: Draws of groups for the intervals.
        level: Of the intervals, such as 0.95.
        seed: Of the draws.

    Returns:
        `claims`; `aurc` with `aurc_low` and `aurc_high`; `aurc_best`, that of an order in which
        every wrong claim is less sure than any right one, and `aurc_blind`, that of a random order:
        the share of wrong claims; `curve`, by `coverage`: `confidence` of the last claim that is
        kept, `accuracy`, `accuracy_low` and `accuracy_high`.

    Raises:
        DataContractError: There is no claim.

    Source:
        El-Yaniv and Wiener 2010, https://jmlr.org/papers/v11/el-yaniv10a.html; Geifman and El-Yaniv
        2017, https://arxiv.org/abs/1705.08500; AURC: Geifman et al. 2019,
        https://arxiv.org/abs/1805.08206, section 3.
    """
    if not len(confidence):
        raise DataContractError("selective prediction needs at least 1 claim, got 0")
    order = np.argsort(-confidence, kind="stable")
    sure, wrong = confidence[order], ~correct[order]
    starts = np.flatnonzero(np.r_[True, sure[1:] != sure[:-1]])  # claims that are equally sure
    numbers, names = pd.factorize(groups[order])

    def judge(
        weights: Int[np.ndarray, "resample claim"],
    ) -> tuple[Float[np.ndarray, " resample"], Float[np.ndarray, "resample point"]]:
        """Give AURC, and accuracy at each coverage, where claims count so many times."""
        kept = np.add.reduceat(weights, starts, axis=1).cumsum(axis=1)
        missed = np.add.reduceat(weights * wrong, starts, axis=1).cumsum(axis=1)
        return _average_risk(kept, missed), 1 - _find_risks(kept, missed)

    aurc, accuracy = judge(np.ones((1, len(sure)), np.int64))
    count, misses = len(wrong), int(wrong.sum())
    best = _average_risk(np.array([[count - misses, count]]), np.array([[0, misses]]))
    rng, drawn = np.random.default_rng(seed), []
    chance = np.full(len(names), 1 / len(names))
    for size in split_resamples(resamples, len(sure)):
        drawn.append(judge(rng.multinomial(len(names), chance, size=size)[:, numbers]))
    areas, curves = (np.concatenate(found) for found in zip(*drawn, strict=True))
    low, high = take_interval(areas.tolist(), level)
    return {
        "claims": len(sure),
        "aurc": float(aurc[0]),
        "aurc_low": low,
        "aurc_high": high,
        "aurc_best": float(best[0]),
        "aurc_blind": float(wrong.mean()),
        "curve": [
            {
                "coverage": coverage,
                "confidence": float(sure[int(np.ceil(coverage * len(sure) - 1e-9)) - 1]),
                "accuracy": float(value),
                "accuracy_low": lowest,
                "accuracy_high": highest,
            }
            for coverage, value, (lowest, highest) in zip(
                COVERAGES,
                accuracy[0],
                (take_interval(column, level) for column in curves.T.tolist()),
                strict=True,
            )
        ],
    }


def settle_abstention(
    confidence: Float[np.ndarray, " claim"], correct: Bool[np.ndarray, " claim"], *, accuracy: float
) -> dict[str, Any]:
    """Find the least confidence from which on claims reach an accuracy, on validation rows.

    It lies midway between two claims, so that no answer hangs on a last bit. The accuracy is that
    of the rows it was chosen on, so others reach it or nearly so: see `measure_abstention`.

    Args:
        confidence: Of validation rows, in [0, 1].
        correct: Whether the claim is so.
        accuracy: What is wanted, such as 0.95.

    Returns:
        `wanted`, `threshold`, and `validation`: the `claims`, `coverage` and `accuracy` on these
        rows. Where no threshold that leaves ten claims reaches what is wanted, `threshold` is null
        and coverage and accuracy are those of the one that comes nearest; null too, where there are
        fewer than ten claims.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, right = confidence[order], correct[order].cumsum()
    ends = np.flatnonzero(np.r_[sure[1:] != sure[:-1], True])  # the last of equally sure claims
    ends = ends[ends + 1 >= LEAST_CLAIMS]
    if not len(ends):
        nothing = {"claims": len(sure), "coverage": None, "accuracy": None}
        return {"wanted": accuracy, "threshold": None, "validation": nothing}
    reached = right[ends] / (ends + 1)
    enough = np.flatnonzero(reached >= accuracy - 1e-12)
    end = int(ends[enough[-1] if len(enough) else reached.argmax()])
    threshold = float(sure[end : end + 2].mean()) if end + 1 < len(sure) else 0.0
    return {
        "wanted": accuracy,
        "threshold": threshold if len(enough) else None,
        "validation": {
            "claims": len(sure),
            "coverage": (end + 1) / len(sure),
            "accuracy": float(right[end] / (end + 1)),
        },
    }


def measure_abstention(
    threshold: float,
    confidence: Float[np.ndarray, " claim"],
    correct: Bool[np.ndarray, " claim"],
    groups: Shaped[np.ndarray, " claim"],
    *,
    resamples: int,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """Tell what an abstention threshold gives on rows that it was not chosen on.

    Args:
        threshold: Of `settle_abstention`; claims from it on are kept.
        confidence: Of test rows.
        correct: Whether the claim is so.
        groups: Of each claim; claims of one group are drawn together.
        resamples: Draws of groups for the intervals.
        level: Of the intervals.
        seed: Of the draws.

    Returns:
        `claims`, `kept`, `coverage` and `accuracy`, each of these two with `NAME_low` and
        `NAME_high`; accuracy is null where nothing is kept.

    Raises:
        DataContractError: There is no claim.
    """
    kept = confidence >= threshold
    tallies = np.stack([np.ones(len(kept), np.int64), kept, kept & correct], axis=1)
    totals = sum_by_group(tallies, groups)
    sums = np.vstack([totals.sum(axis=0), *resample_groups(totals, resamples, seed)])
    found: dict[str, Any] = {"claims": len(kept), "kept": int(kept.sum())}
    for name, part, whole in (("coverage", 1, 0), ("accuracy", 2, 1)):
        value, low, high = None, None, None
        if sums[0, whole]:
            value = float(sums[0, part] / sums[0, whole])
            some = sums[1:][sums[1:, whole] > 0]  # a resample may hold none that is kept
            low, high = take_interval((some[:, part] / some[:, whole]).tolist(), level)
        found |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return found


def plot_selective(name: str, evidence: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy against coverage, and where the abstention threshold lies.

    Args:
        name: Of the target.
        evidence: Of the target: `selective`, as `measure_selective` gives it, which may hold
            `abstention` with `test`, as `measure_abstention` gives it.
        path: The SVG file.
    """
    selective = evidence["selective"]
    curve: Sequence[Mapping[str, float]] = selective["curve"]
    coverage, accuracy, low, high = (
        [one[key] for one in curve]
        for key in ("coverage", "accuracy", "accuracy_low", "accuracy_high")
    )
    figure = Figure(figsize=(5.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(
        coverage, low, high, color="#4c78a8", alpha=0.2, linewidth=0, label="interval"
    )
    axes.plot(coverage, accuracy, color="#4c78a8", label="the surest claims alone")
    axes.axhline(accuracy[-1], color="0.5", linestyle=":", label="all claims")
    kept = selective.get("abstention", {}).get("test")
    if kept and kept["accuracy"] is not None:
        axes.scatter(
            [kept["coverage"]],
            [kept["accuracy"]],
            color="#e45756",
            label="abstention threshold",
            zorder=3,
        )
    axes.set(
        xlim=(0, 1.02),
        xlabel="share of claims that is kept, on test rows",
        ylabel="share that is right",
        title=f"{name}: answering only where it is sure",
    )
    figure.legend(loc="outside lower center", ncols=2)
    save_svg(figure, path)


def _average_risk(
    kept: Int[np.ndarray, "resample block"], missed: Int[np.ndarray, "resample block"]
) -> Float[np.ndarray, " resample"]:
    """Average the risk over every number of claims that may be kept, in closed form.

    Of a block of equally sure claims, a share e of them wrong, that follows on K claims with M
    wrong ones, the mean risk after j of them is (M + je) / (K + j) = e + (M - Ke) / (K + j); its
    sum over j takes a difference of harmonic numbers.

    Args:
        kept: Claims up to the end of each block.
        missed: Wrong ones among them.
    """
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, kept.max() + 1))])
    sizes, wrong = np.diff(kept, prepend=0), np.diff(missed, prepend=0)
    share = np.divide(wrong, sizes, where=sizes > 0, out=np.zeros(sizes.shape))
    before, missed_before = kept - sizes, missed - wrong
    sums = share * sizes + (missed_before - before * share) * (harmonic[kept] - harmonic[before])
    areas: np.ndarray = sums.sum(axis=1) / kept[:, -1]
    return areas


def _find_risks(
    kept: Int[np.ndarray, "resample block"], missed: Int[np.ndarray, "resample block"]
) -> Float[np.ndarray, "resample point"]:
    """Give the share of wrong claims at each coverage; within a block they come evenly."""
    wanted = kept[:, -1:] * np.array(COVERAGES)
    found = [
        np.interp(x, np.append(0, counts), np.append(0, wrong))
        for x, counts, wrong in zip(wanted, kept, missed, strict=True)
    ]
    risks: np.ndarray = np.array(found) / wanted
    return risks


def _measure(material: Material) -> ByTarget:
    evidence: ByTarget = {}
    level = material.config.confidence
    drawn: dict[str, Any] = {"resamples": material.config.bootstrap, "seed": material.seed}
    wanted = material.config.abstain_accuracy
    on_validation = answer_rows(material.model, material.validation.examples) if wanted else {}
    for name, target in material.targets.items():
        given = material.as_given[name]
        labels = material.test.labels(name)[given.rows]
        claims = target.confidences(labels, given.probabilities)
        if claims is None:
            continue
        their = material.groups_of(given)
        owners = their.repeat(len(claims[0]) // len(their))  # several claims a row, or one
        found = measure_selective(*claims, owners, level=level, **drawn)
        if wanted:
            answers = on_validation[name]
            labels = material.validation.labels(name)[answers.rows]
            known = target.confidences(labels, answers.probabilities)
            assert known is not None
            settled = settle_abstention(*known, accuracy=wanted)
            if settled["threshold"] is not None:
                settled["test"] = measure_abstention(
                    settled["threshold"], *claims, owners, level=level, **drawn
                )
            found["abstention"] = settled
        evidence[name] = {"selective": found}
    return evidence


def _follow(found: Mapping[str, Any]) -> dict[str, Any]:
    selective = found["selective"]
    kept = selective.get("abstention", {}).get("test")
    return {"aurc": selective["aurc"]} | ({"abstention_coverage": kept["coverage"]} if kept else {})


EVIDENCE = Evidence(
    "selective",
    _measure,
    "answering only where it is sure",
    plot_selective,
    follow=_follow,
)
