"""What a model answers, and how well, without learning from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mm_assets.training.batches import cut_batches
from mm_assets.training.examples import Examples
from mm_assets.training.model import FusionModel, Logits

SCORED_ROWS = 8192  # rows per batch where no gradient is needed
GROUPED_ROWS = 512  # the same where every row may look at every other


def predict_logits(
    model: FusionModel, rows: Examples, device: torch.device | None = None
) -> Logits:
    """Give uncalibrated logits in evaluation mode, batch by batch; the result is on the CPU."""
    model.eval()
    rows = encode_media(model, rows, device)
    found: dict[str, list[Tensor]] = {name: [] for name in model.targets}
    size = SCORED_ROWS if rows.groups is None else GROUPED_ROWS
    order = cut_batches(rows, size)
    with torch.inference_mode():
        for batch in move_batches(rows, order, device):
            logits = model(batch.vectors, batch.presence, batch.groups)
            for name, parts in found.items():
                parts.append(logits[name].cpu())
    back = torch.argsort(torch.cat(order)) if order else torch.arange(0)
    return {name: torch.cat(parts)[back] for name, parts in found.items()}


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


def views(rows: Examples) -> dict[str, Examples]:
    """Show rows as they are, and by each modality alone where there are several."""
    names = list(rows.vectors)
    alone = {name: rows.offer(name) for name in names} if len(names) > 1 else {}
    return {"as_given": rows} | {name: view for name, view in alone.items() if len(view)}


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
    model.eval()
    losses = []
    for view in views(encode_media(model, rows, device)).values():
        logits = model.temper(predict_logits(model, view, device))
        losses.append(sum_losses(model, logits, view.labels, weights, training=training).item())
    return sum(losses) / len(losses)


def sum_losses(
    model: FusionModel,
    logits: Logits,
    labels: Mapping[str, Tensor],
    weights: Mapping[str, float],
    *,
    training: bool = False,
) -> Tensor:
    """Weighted sum of the targets' losses; arguments as `score_views`."""
    losses = [
        weights[name]
        * (target.training_loss if training else target.loss)(logits[name], labels[name])
        for name, target in model.targets.items()
    ]
    return torch.stack(losses).sum()


def move_batches(
    rows: Examples, batches: list[Tensor], device: torch.device | None
) -> Iterator[Examples]:
    """Walk through batches, moving each to the device."""
    for chosen in batches:
        batch = rows.take(chosen)
        yield batch.to(device) if device else batch
