"""Cutting rows into batches, so that rows that are read in each other's light stay together."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from mm_assets.training.examples import Examples

Rows = Int[Tensor, " _"]


def cut_batches(
    rows: Examples, size: int, *, generator: torch.Generator | None = None
) -> list[Rows]:
    """Cut rows into batches, in their order or at random.

    Args:
        rows: Those of one group share a batch, and keep their order in it.
        size: Rows in a batch; where there are groups a batch is full once it has as many.
        generator: Shuffles; without it, rows (and groups) come in their order.

    Returns:
        The numbers of each batch's rows.
    """
    if rows.groups is None:
        count = len(rows)
        order = torch.randperm(count, generator=generator) if generator else torch.arange(count)
        return list(torch.split(order, size))
    _, group = torch.unique(rows.groups, return_inverse=True)
    sizes = torch.bincount(group)
    order = torch.arange(len(sizes))
    if generator:
        order = torch.randperm(len(sizes), generator=generator)
    batches: list[list[int]] = [[]]
    held = 0
    for number, count in zip(order.tolist(), sizes[order].tolist(), strict=True):
        if held >= size:
            batches.append([])
            held = 0
        batches[-1].append(number)
        held += count
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    by_group = torch.argsort(rank[group], stable=True)
    return list(torch.split(by_group, [int(sizes[batch].sum()) for batch in batches]))


def share_out(rows: Rows, groups: Int[Tensor, " row"] | None, *, part: int, parts: int) -> Rows:
    """Give one process its part of a batch; groups stay whole.

    Args:
        rows: The batch.
        groups: Of all rows, as in `Examples`.
        part: Which process, from 0.
        parts: How many there are.
    """
    if groups is None:
        return rows[part::parts]
    _, number = torch.unique(groups[rows], return_inverse=True)
    return rows[number % parts == part]
