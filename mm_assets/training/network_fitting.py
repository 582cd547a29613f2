"""Fitting encoders whose whole network is learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mm_assets.contracts.errors import TrainingError
from mm_assets.data.progress import show_progress
from mm_assets.encoders.learned import ANSWERS, BODY, CONSTANTS, LearnedEncoder
from mm_assets.training.contrastive import contrastive_loss
from mm_assets.training.encoder_fitting import FITTERS, State, fit_encoder
from mm_assets.training.spool import Spool
from mm_assets.training.supervision import Supervision

TEMPERATURE = 0.1  # of contrastive losses; SimCLR's best, which SimCSE (0.05) is near to
LONGEST_GRADIENT = 1.0  # what recurrent networks need, and others hardly notice
BOLDEST_LOGIT = 10.0  # to start from, for a class that no row at hand has
POOL = 4  # batches whose rows are sorted by size together: less padding, and chance enough
FITTER_ROWS = 32  # rows per batch, where statistics are taken

Rows = Int[np.ndarray, " chosen"]


def fit_network(
    encoder: LearnedEncoder,
    spool: Spool,
    rows: Rows,
    *,
    partners: Int[np.ndarray, " row"],
    supervision: Supervision | None,
    seed: int,
    device: torch.device,
    title: str,
) -> State:
    """Fit an encoder's body, and for a supervised one the layer that answers.

    AdamW in one cycle of the learning rate, for as many epochs as the options say: no row is kept
    aside to stop by.

    Args:
        encoder: What is fitted, and by which options.
        spool: Collated rows: samples and their rendered copies.
        rows: The numbers of those that may be learnt from.
        partners: Of each spooled row, the row that is a rendered copy of it, or -1; of a sample
            with several copies the second is the partner of the first, and so on.
        supervision: For an encoder that is supervised.
        seed: Equal seeds give equal states on one machine's CPU with one number of threads, which
            is the caller's to set.
        device: Where it is computed.
        title: Of the progress bar, and of messages.

    Returns:
        What `LearnedEncoder.network` takes.

    Raises:
        TrainingError: There are too few rows, or none with a label of some target, or the loss is
            no longer finite.

    Source:
        Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101 (AdamW);
        Smith & Topin 2018, https://arxiv.org/abs/1708.07120 (one cycle).
    """
    samples = rows[~np.isin(rows, partners)]
    contrasted = encoder.objective == "contrastive"
    learnt = samples if contrasted else rows
    if len(learnt) < 2:
        raise TrainingError(
            f"{title}: encoder {encoder.name} needs at least 2 training rows with this modality, "
            f"got {len(learnt)}; add rows, or choose an encoder that is not fitted"
        )
    starts = _find_starts(encoder, rows, supervision, title) if encoder.supervised else {}
    constants = _fit_constants(encoder, spool, samples)
    views = np.where(np.isin(partners, rows), partners, np.arange(len(partners)))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        body: Any = encoder.body(constants)  # some have a loss of their own
        parts = nn.ModuleDict({BODY: body})
        if starts:
            parts[ANSWERS] = _start_from(starts, encoder.options.dim)
        parts.to(device).train()

        def lose(chosen: Rows) -> Tensor:
            arrays = _read(spool, chosen, device)
            if contrasted:
                seconds = body(*_read(spool, views[chosen], device))
                return contrastive_loss(body(*arrays), seconds, temperature=TEMPERATURE)
            if not starts or supervision is None:
                loss: Tensor = body.self_supervised_loss(*arrays)
                return loss
            answers = parts[ANSWERS](body(*arrays)).split(list(map(len, starts.values())), dim=1)
            return supervised_loss(dict(zip(starts, answers, strict=True)), chosen, supervision)

        _descend(encoder, parts, lose, spool, learnt, seed=seed, title=title)
    state = {f"{CONSTANTS}.{name}": array for name, array in constants.items()}
    return state | {name: tensor.cpu().numpy() for name, tensor in parts.state_dict().items()}


def supervised_loss(
    logits: Mapping[str, Float[Tensor, "batch _"]], chosen: Rows, supervision: Supervision
) -> Float[Tensor, ""]:
    """Sum the targets' losses by their weights.

    Args:
        logits: By target.
        chosen: The number of each row of the batch.
        supervision: Labels of all rows.

    Returns:
        In nats; a row without a target's label counts for the other targets alone.
    """
    losses = []
    for name, answer in logits.items():
        labels = torch.from_numpy(supervision.labels[name][chosen]).to(answer.device)
        losses.append(
            supervision.weights[name] * supervision.targets[name].training_loss(answer, labels)
        )
    return torch.stack(losses).sum()


def _fit_constants(encoder: LearnedEncoder, spool: Spool, samples: Rows) -> State:
    """Take the statistics that the body is built from, where it needs some."""
    if encoder.name not in FITTERS:
        return {}
    parts = (samples[at : at + FITTER_ROWS] for at in range(0, len(samples), FITTER_ROWS))
    return fit_encoder(encoder, map(spool.take, parts))


def _find_starts(
    encoder: LearnedEncoder, rows: Rows, supervision: Supervision | None, title: str
) -> dict[str, Float[np.ndarray, " output"]]:
    """Give the logits of least loss that look at nothing, by target.

    Raises:
        TrainingError: There are no targets, or no row has a label of one of them.
    """
    if supervision is None or not supervision.targets:
        raise TrainingError(
            f"{title}: encoder {encoder.name} is supervised and needs a target, got none; add one "
            "to `targets` in params.yaml, or set an `objective` that looks at no labels"
        )
    starts = {}
    for name, target in supervision.targets.items():
        labels = supervision.labels[name][rows]
        if not target.is_known(labels).any():
            raise TrainingError(
                f"{title}: encoder {encoder.name} learns target {name!r}, but none of the "
                f"{len(rows)} rows that this network may learn from has its label; add labels, or "
                "set an `objective` that looks at none"
            )
        with np.errstate(divide="ignore"):  # a class may be in no row of these, with share 0
            starts[name] = target.constant_logits(labels).clip(-BOLDEST_LOGIT, BOLDEST_LOGIT)
    return starts


def _start_from(starts: Mapping[str, Float[np.ndarray, " output"]], dim: int) -> nn.Linear:
    """Make the layer of all targets' logits, which at first looks at nothing."""
    bias = np.concatenate(list(starts.values())).astype(np.float32)
    answers = nn.Linear(dim, len(bias))
    nn.init.zeros_(answers.weight)
    answers.bias.data = torch.from_numpy(bias)
    return answers


def _descend(
    encoder: LearnedEncoder,
    parts: nn.Module,
    lose: Callable[[Rows], Tensor],
    spool: Spool,
    rows: Rows,
    *,
    seed: int,
    title: str,
) -> None:
    """Take one step per batch.

    Raises:
        TrainingError: The loss or its gradient is not finite.
    """
    asked, rng = encoder.options, np.random.default_rng(seed)
    sizes = spool.measure(rows)
    # Batch normalisation knows nothing of a single row.
    batches = min(-(-len(rows) // asked.batch_size), len(rows) // 2)
    optimizer = torch.optim.AdamW(
        parts.parameters(), lr=asked.learning_rate, weight_decay=asked.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, asked.learning_rate, total_steps=asked.epochs * batches, cycle_momentum=False
    )
    epochs = range(1, asked.epochs + 1)
    for epoch in show_progress(epochs, title=title, total=asked.epochs, unit="epoch"):
        for chosen in _shuffle(rows, sizes, batches, rng):
            loss = lose(chosen)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            length = nn.utils.clip_grad_norm_(parts.parameters(), LONGEST_GRADIENT)
            if not torch.isfinite(loss + length):
                raise TrainingError(_explain_divergence(encoder, spool, rows, epoch, title))
            optimizer.step()
            schedule.step()


def _shuffle(
    rows: Rows, sizes: Int[np.ndarray, " chosen"], batches: int, rng: np.random.Generator
) -> Iterator[Rows]:
    """Cut rows into batches at random; within each pool, alike sizes share a batch."""
    cut = np.array_split(rng.permutation(len(rows)), batches)
    sorted_cut: list[Rows] = []
    for at in range(0, batches, POOL):
        pool = np.concatenate(cut[at : at + POOL])
        pool = pool[np.argsort(sizes[pool], kind="stable")]
        sorted_cut += np.array_split(pool, len(cut[at : at + POOL]))
    for place in rng.permutation(batches):
        yield rows[sorted_cut[place]]


def _read(spool: Spool, rows: Rows, device: torch.device) -> list[Tensor]:
    """Take a batch to the device."""
    return [torch.from_numpy(array).to(device) for array in spool.take(rows).values()]


def _explain_divergence(
    encoder: LearnedEncoder, spool: Spool, rows: Rows, epoch: int, title: str
) -> str:
    """Name the array that is not finite, if that is the cause."""
    where = (
        f"{title}: fitting encoder {encoder.name} stopped in epoch {epoch}: its loss or the "
        "gradient is not finite"
    )
    for at in range(0, len(rows), FITTER_ROWS):
        for name, array in spool.take(rows[at : at + FITTER_ROWS]).items():
            if not np.isfinite(array).all():
                return f"{where}, because {name!r} of a row is not; quarantine such rows"
    return f"{where}; lower `learning_rate` of the encoder in params.yaml"
