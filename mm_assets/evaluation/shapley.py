"""What each modality is worth: its Shapley value, for the data set and for one sample.

With n modalities, all 2^n subsets are looked at; what all of them together are worth more than none
is shared out so that a modality gets its mean gain over every order in which they could be added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from matplotlib.figure import Figure

from mm_assets.contracts.report import Table
from mm_assets.evaluation.answers import predict, predict_shown
from mm_assets.evaluation.base import ByTarget, Evidence, Material, Rows, make_table
from mm_assets.evaluation.metrics import draw_headline, take_interval
from mm_assets.targets.base import Target
from mm_assets.training.curves import save_svg

MOST_MODALITIES = 8  # 256 subsets
MOST_ANSWERS = 60_000  # of all subsets together; many rows need not all be looked at


def list_coalitions(players: int) -> Bool[np.ndarray, "subset player"]:
    """List all subsets, none first and all last: player i is in subset s if its bit i is set."""
    members: np.ndarray = (np.arange(2**players)[:, None] >> np.arange(players)) & 1 == 1
    return members


def shapley_values(worth: Float[np.ndarray, "*some subset"]) -> Float[np.ndarray, "*some player"]:
    """Share out what all players are worth together.

    Args:
        worth: Of every subset, in the order of `list_coalitions`.

    Returns:
        Each player's share; they add up to the worth of all less that of none.

    Source:
        Shapley 1953, https://doi.org/10.1515/9781400881970-018; of modalities: Hu et al. 2022,
        https://doi.org/10.24963/ijcai.2022/425.
    """
    players = worth.shape[-1].bit_length() - 1
    members = list_coalitions(players)
    sizes = members.sum(axis=1)
    # Orders in which exactly this subset comes before a further player, as a share of all orders.
    chance = np.array([factorial(k) * factorial(players - k - 1) for k in range(players)])
    chance = chance / factorial(players)
    shares = []
    for player in range(players):
        without = np.flatnonzero(~members[:, player])
        gains = worth[..., without + (1 << player)] - worth[..., without]
        shares.append(gains @ chance[sizes[without]])
    return np.stack(shares, axis=-1)


def measure_shapley(
    target: Target,
    tallies: Sequence[Shaped[np.ndarray, "row tally"]],
    groups: Shaped[np.ndarray, " row"],
    modalities: Sequence[str],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """Share the headline metric's gain over looking at nothing out among the modalities.

    Args:
        target: Whose headline metric.
        tallies: Of the same rows answered from every subset, in the order of `list_coalitions`;
            from none by the majority answer.
        groups: The group of each row; rows of one group are drawn together.
        modalities: Names.
        resamples: Draws of the intervals, the same ones for every subset.
        confidence: Of the intervals.
        seed: Of the draws.

    Returns:
        `rows`, `groups`, the metric from `none` and from `all`, and `modalities`: of each
        `modality` its `worth` with `_low` and `_high`.

    Raises:
        DataContractError: There is no row.
    """
    drawn = np.stack(
        [draw_headline(target, one, groups, resamples=resamples, seed=seed) for one in tallies],
        axis=1,
    )  # (1 + resample, subset)
    worths = shapley_values(drawn)
    found = []
    for name, (worth, *others) in zip(modalities, worths.T, strict=True):
        low, high = take_interval(others, confidence)
        found.append(
            {"modality": name, "worth": float(worth), "worth_low": low, "worth_high": high}
        )
    return {
        "rows": len(groups),
        "groups": len(np.unique(groups)),
        "none": float(drawn[0, 0]),
        "all": float(drawn[0, -1]),
        "modalities": found,
    }


def explain_rows(
    material: Material, rows: Rows, numbers: Int[np.ndarray, " row"], target: str
) -> list[dict[str, Any]]:
    """Share out what single rows' answers were moved by, away from what looking at nothing says.

    What is explained is the probability of the answer (of the most probable label where there are
    several, the value itself of a number).

    Args:
        material: Whose model and training labels; with no more modalities than subsets are listed.
        rows: Among which they are.
        numbers: Of the rows.
        target: Whose answer.

    Returns:
        By row: `none`, the training rows' share; `all`, the answer; `worth` by modality that the
        row has.
    """
    model, kind = material.model, material.targets[target]
    names, presence = model.modalities, rows.examples.presence.numpy()
    blank = torch.from_numpy(kind.constant_logits(material.training_labels(target))).float()
    nothing = kind.probabilities(blank[None]).numpy()[0]
    found = []
    for number in numbers:
        owned = np.flatnonzero(presence[number])
        members = list_coalitions(len(owned))[1:]
        shown = np.zeros((len(members), len(names)), dtype=np.bool_)
        shown[:, owned] = members
        cases = np.full(len(shown), number)
        answers = predict_shown(model, rows.examples, cases, shown)[target]
        column = int(answers[-1].argmax())
        worth = np.concatenate([nothing[[column]], answers[:, column]]).astype(np.float64)
        shares = shapley_values(worth)
        found.append(
            {
                "none": float(worth[0]),
                "all": float(worth[-1]),
                "worth": {names[i]: float(share) for i, share in zip(owned, shares, strict=True)},
            }
        )
    return found


def plot_shapley(name: str, evidence: Mapping[str, Any], path: Path) -> None:
    """Draw how the modalities lead, one after the other, from no look to the whole model.

    Args:
        name: Of the target.
        evidence: With `headline` and `shapley` of `measure_shapley`.
        path: The SVG file.
    """
    found, metric = evidence["shapley"], evidence["headline"].replace("_", " ")
    worth = {one["modality"]: one["worth"] for one in found["modalities"]}
    ends = found["none"] + np.cumsum(list(worth.values()))
    starts = ends - np.array(list(worth.values()))
    places = np.arange(1, len(worth) + 1)
    figure = Figure(figsize=(6.4, 1.5 + 0.42 * (len(worth) + 2)), layout="constrained")
    axes = figure.subplots()
    axes.barh([0], [found["none"]], height=0.6, color="#b6c0ca")
    colors = [
        "#4c78a8" if end >= start else "#e45756" for start, end in zip(starts, ends, strict=True)
    ]
    axes.barh(places, ends - starts, left=starts, height=0.6, color=colors)
    axes.barh([len(worth) + 1], [found["all"]], height=0.6, color="#1f4e92")
    shifts = ends - np.array(list(worth.values()))  # an interval starts where its bar does
    axes.hlines(
        places,
        shifts + [one["worth_low"] for one in found["modalities"]],
        shifts + [one["worth_high"] for one in found["modalities"]],
        color="black",
        label="interval",
    )
    for place, end, share in zip(places, np.maximum(starts, ends), worth.values(), strict=True):
        axes.annotate(
            f"{100 * share:+.1f}",
            (end, place),
            xytext=(4, 8),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_yticks(
        range(len(worth) + 2), ["majority answer", *worth, "all together"], parse_math=False
    )
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.set(
        xlabel=f"{metric} on test rows that have every modality",
        title=f"{name}: what each modality is worth",
    )
    figure.legend(loc="outside lower center")
    save_svg(figure, path)


def _measure(material: Material) -> ByTarget:
    names = material.model.modalities
    if not 1 < len(names) <= MOST_MODALITIES:
        return {}
    chosen = _choose_rows(material)
    if not len(chosen):
        return {}
    members = list_coalitions(len(names))[1:]
    rows = material.test.examples.take(torch.from_numpy(chosen))
    answers = [
        predict(material.model, replace(rows, presence=torch.tensor(one).expand(len(rows), -1)))
        for one in members
    ]
    measured: ByTarget = {}
    for name, target in material.targets.items():
        labels = material.test.labels(name)[chosen]
        known = target.is_known(labels)
        if not known.any():
            continue
        constant = target.constant(material.training_labels(name))
        given = [np.tile(constant, (len(chosen), 1)), *(one[name] for one in answers)]
        measured[name] = {
            "shapley": measure_shapley(
                target,
                [target.tally(labels[known], one[known]) for one in given],
                material.test.groups[chosen][known],
                names,
                **material.resampling,
            )
        }
    return measured


def _choose_rows(material: Material) -> Int[np.ndarray, " row"]:
    """Number the test rows that have every modality; of too many, those of groups by chance."""
    complete = np.flatnonzero(material.test.examples.presence.numpy().all(axis=1))
    most = MOST_ANSWERS >> len(material.model.modalities)
    if len(complete) <= most:
        return complete
    groups = material.test.groups[complete]
    order = np.random.default_rng(material.seed).permutation(np.unique(groups))
    sizes = np.cumsum([np.count_nonzero(groups == group) for group in order])
    kept = order[: max(1, np.searchsorted(sizes, most, side="right"))]
    return complete[np.isin(groups, kept)]


def _follow(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"worth": {one["modality"]: one["worth"] for one in found["shapley"]["modalities"]}}


def _tabulate(name: str, found: Mapping[str, Any]) -> list[Table]:
    columns = ("modality", "worth", "worth_low", "worth_high")
    title = f"{name}: what each modality adds to {found['headline']} (Shapley value)"
    return [make_table(title, columns, found["shapley"]["modalities"])]


EVIDENCE = Evidence(
    "shapley",
    _measure,
    "what each modality is worth",
    plot_shapley,
    follow=_follow,
    tabulate=_tabulate,
)
