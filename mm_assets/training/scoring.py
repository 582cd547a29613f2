"""What a model answers, and how well, without learning from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from mm_assets.fusion.base import Parts
from mm_assets.training.batches import cut_batches
from mm_assets.training.examples import Examples
from mm_assets.training.model import FusionModel, Logits

SCORED_ROWS = 1024  # rows per batch where no gradient is needed: what they become fits the caches
GROUPED_ROWS = 512  # the same where every row may look at every other


class View(NamedTuple):
    """What is looked at of some rows.

    Attributes:
        rows: Which of them.
        shown: Which modalities of each; those of the others may be anything.
    """

    rows: Bool[Tensor, " row"]
    shown: Bool[Tensor, "row modality"]


def views(rows: Examples) -> dict[str, View]:
    """Show rows as they are, and by each modality alone where there are several."""
    everything = View(torch.ones(len(rows)).bool(), rows.presence)
    return {"as_given": everything} | (show_alone(rows) if len(rows.vectors) > 1 else {})


def show_alone(rows: Examples) -> dict[str, View]:
    """Show the rows that have a modality by it alone, for each that some row has."""
    eye = torch.eye(len(rows.vectors)).bool()
    return {
        name: View(present, alone.expand(len(rows), -1))
        for name, present, alone in zip(rows.vectors, rows.presence.T, eye, strict=True)
        if present.any()
    }


def predict_logits(
    model: FusionModel, rows: Examples, device: torch.device | None = None
) -> Logits:
    """Give uncalibrated logits in evaluation mode, batch by batch; the result is on the CPU."""
    (found,) = predict_views(model, rows, [views(rows)["as_given"]], device)
    return found


def predict_views(
    model: FusionModel,
    rows: Examples,
    shown: Sequence[View],
    device: torch.device | None = None,
) -> list[Logits]:
    """Give uncalibrated logits in evaluation mode of several views, batch by batch.

    Vectors are read, standardised and projected once for all views.

    Args:
        model: Whose answers are asked for.
        rows: All of them.
        shown: The views.
        device: Where the model is.

    Returns:
        Of each view's rows, in their order, on the CPU.
    """
    model.eval()
    device = device or torch.device("cpu")
    rows = encode_media(model, rows, device)
    wanted = torch.stack([view.rows for view in shown]).any(dim=0)
    size = SCORED_ROWS if rows.groups is None else GROUPED_ROWS
    order = [chosen[wanted[chosen]] for chosen in cut_batches(rows, size)]
    parts: list[list[Logits]] = [[] for _ in shown]
    with torch.inference_mode():
        for chosen in order:
            batch = rows.take(chosen).to(device)
            projected = model.project(batch.vectors, batch.presence, batch.groups)
            for view, found in zip(shown, parts, strict=True):
                kept = view.rows[chosen].nonzero()[:, 0]
                if len(kept) or not len(rows):  # a context does not know what to say of no rows
                    visible = view.shown[chosen][kept].to(device)
                    logits = model.answer(projected[kept.to(device)], visible)
                    found.append({name: answers.cpu() for name, answers in logits.items()})
    seen = torch.cat(order)
    backs = [torch.argsort(seen[view.rows[seen]]) for view in shown]
    return [
        {name: torch.cat([part[name] for part in found])[back] for name in model.targets}
        for found, back in zip(parts, backs, strict=True)
    ]


def predict_parts(model: FusionModel, rows: Examples) -> list[Parts]:
    """Give what each member's heads answer from, in evaluation mode, batch by batch.

    Args:
        model: On the CPU.
        rows: Without `media`.
    """
    model.eval()
    order = cut_batches(rows, SCORED_ROWS if rows.groups is None else GROUPED_ROWS)
    with torch.inference_mode():
        batches = [model.read(b.vectors, b.presence, b.groups) for b in map(rows.take, order)]
    back = torch.argsort(torch.cat(order))
    return [
        Parts(*(torch.cat(pieces)[back] for pieces in zip(*found, strict=True)))
        for found in zip(*batches, strict=True)
    ]


def encode_media(
    model: FusionModel, rows: Examples, device: torch.device | None = None
) -> Examples:
    """Replace the vectors of encoders that are trained along by those that they give now.

    Args:
        model: In evaluation mode.
        rows: With `media` of these modalities, else they stay as they are.
        device: Where the model is.

    Returns:
        Rows without `media`, on the CPU.
    """
    if not rows.media:
        return rows
    vectors = dict(rows.vectors)
    with torch.inference_mode():
        for name, media in rows.media.items():
            found = media.encode(model.tuned[name], model.dims[name], device)
            vectors[name] = found.to(torch.device("cpu"))
    return replace(rows, vectors=vectors, media={})


def score_views(
    model: FusionModel,
    rows: Examples,
    weights: Mapping[str, float],
    device: torch.device | None = None,
    *,
    training: bool = False,
) -> float:
    """Mean over `views` of the weighted sum of the targets' calibrated losses, in nats.

    Args:
        model: Whose answers are scored.
        rows: With labels.
        weights: Of each target.
        device: Where the model is.
        training: Whether losses are those that are trained (with class weights and the like).
    """
    shown = list(views(rows).values())
    losses = []
    for view, logits in zip(shown, predict_views(model, rows, shown, device), strict=True):
        total = 0.0
        for name, found in model.temper(logits).items():
            target, labels = model.targets[name], rows.labels[name][view.rows]
            lose = target.training_loss if training else target.loss
            total += weights[name] * lose(found, labels).item()
        losses.append(total)
    return sum(losses) / len(losses)
