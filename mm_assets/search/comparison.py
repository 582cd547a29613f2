"""How much better the best trial is than the parameters in use, on rows that it was chosen by.

The best of many trials is in part the luckiest one, all the more so on few validation rows. So its
gain is told twice: as measured, with an interval for the rows; and as it is on rows that had no say in
the choice, which is what decides whether it is proposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mm_assets.contracts.errors import TrainingError
from mm_assets.evaluation.metrics import draw_groups, take_interval
from mm_assets.search.bench import average_losses

Losses = Float[np.ndarray, "group view target 2"]


@dataclass(frozen=True)
class Gain:
    """By how many nats the validation loss of the best trial lies below that of today's parameters.

    Attributes:
        nats: As measured.
        low: Lower end of its paired bootstrap interval over groups.
        high: Upper end.
        expected: On rows that had no say in the choice.
    """

    nats: float
    low: float
    high: float
    expected: float


def compare_losses(
    current: Losses,
    tried: Sequence[Losses],
    weights: Float[np.ndarray, " target"],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Gain:
    """Compare the best of some trials with the parameters in use.

    Args:
        current: Of `sum_losses_by_group`, by today's parameters.
        tried: The same by each trial, at least one.
        weights: Of each target.
        resamples: How many.
        confidence: Of the interval.
        seed: Of the draws.

    Raises:
        TrainingError: There is one group alone, so that none is left to check a choice on.

    Source:
        Tsamardinos, Greasidou and Borboudakis 2018, https://arxiv.org/abs/1708.07180, section 3
        (for `expected`: the choice is made anew on each resample, and looked at on the groups that
        were not drawn).
    """
    count = len(current)
    if count < 2:
        raise TrainingError(
            f"a search needs at least 2 groups of validation rows, got {count}: it is chosen on "
            "some, and checked on others; raise `split.validation` in params.yaml or add data"
        )
    every = np.stack([current, *tried], axis=1)  # (group, candidate, view, target, 2)
    flat, shape = every.reshape(count, -1), every.shape[1:]
    scores = average_losses(every.sum(axis=0), weights)
    best = 1 + int(scores[1:].argmin())
    gains, unseen = [], []
    for drawn in draw_groups(count, resamples, seed, width=max(count, flat.shape[1])):
        inside, outside = (
            average_losses((chosen @ flat).reshape(-1, *shape), weights)  # (resample, candidate)
            for chosen in (drawn, drawn == 0)
        )
        gains.append(inside[:, 0] - inside[:, best])
        choice = inside.argmin(axis=1)
        left = (drawn == 0).any(axis=1)  # a draw of every group leaves none
        gain = outside[:, 0] - outside[np.arange(len(choice)), choice]
        unseen.append(gain[left])
    low, high = take_interval(np.concatenate(gains), confidence)
    return Gain(
        nats=float(scores[0] - scores[best]),
        low=low,
        high=high,
        expected=float(np.concatenate(unseen).mean()),
    )
