"""AdamW with modality dropout and early stopping, on vectors in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from mm_assets.contracts.config import TrainConfig
from mm_assets.contracts.errors import TrainingError
from mm_assets.data.progress import show_progress
from mm_assets.fusion.steps import Steps
from mm_assets.training.calibration import fit_temperature
from mm_assets.training.examples import Examples
from mm_assets.training.model import FusionModel, Logits

TRUSTS = (1.0, 0.75, 0.5, 0.25, 0.0)  # the first of equal ones is taken
SCORED_ROWS = 8192  # rows per batch where no gradient is needed


@dataclass(frozen=True)
class Epoch:
    """One point of the learning curves; losses in nats, summed over weighted targets.

    Epoch 0 is the untrained model.
    """

    epoch: int
    train_loss: float
    validation_loss: float


def train_model(
    model: FusionModel,
    train: Examples,
    validation: Examples,
    *,
    config: TrainConfig,
    weights: Mapping[str, float],
    seed: int,
    device: torch.device | None = None,
    watch: Callable[[Epoch], None] | None = None,
    title: str = "train",
) -> list[Epoch]:
    """Train in place, keep the weights of the best epoch, then calibrate on validation rows.

    Calibration fits each target's temperature, each modality's trust and the thresholds of targets
    that have some.

    The validation loss is the mean over `views`: each row as it is, and each modality alone. The
    model is so stopped, and calibrated, for every subset it will meet rather than for complete
    rows only.

    Args:
        model: Untrained; its standardisation is fitted here, on `train`.
        train: Training rows and their copies.
        validation: Validation rows.
        config: The `train` section of `params.yaml`.
        weights: Of each target in the loss.
        seed: Decides the order of rows, modality dropout and dropout; equal seeds give equal
            models on one machine with one number of threads.
        device: Where the network is trained; the rows stay where they are.
        watch: Is told each epoch as it ends.
        title: Of the progress bar.

    Returns:
        One point per epoch, the untrained model first; the kept one has the lowest validation loss.

    Raises:
        TrainingError: There are no rows, or the loss is no longer finite.
    """
    for name, rows in (("training", train), ("validation", validation)):
        if not len(rows):
            raise TrainingError(
                f"training needs at least 1 {name} row, got 0; change `split` in params.yaml or "
                "add groups of rows"
            )
    device = device or torch.device("cpu")
    model.fit_standardization(train.vectors, train.presence)
    model.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,  # one call a step instead of ten for each of a hundred small tensors
    )
    kept = Epoch(
        0,
        score_views(model, train, weights, device),
        score_views(model, validation, weights, device),
    )
    curve, kept_state = [kept], copy.deepcopy(model.state_dict())
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for epoch in show_progress(range(1, config.epochs + 1), title=title, unit="epoch"):
            train_loss = _run_epoch(model, optimizer, train, config, weights, device, epoch)
            validation_loss = score_views(model, validation, weights, device)
            curve.append(Epoch(epoch, train_loss, validation_loss))
            if watch:
                watch(curve[-1])
            if validation_loss < kept.validation_loss:
                kept, kept_state = curve[-1], copy.deepcopy(model.state_dict())
            if epoch - kept.epoch >= config.patience:
                break
    model.load_state_dict(kept_state)
    model.to("cpu").eval()
    fit_temperatures(model, validation)
    fit_trust(model, validation, weights)
    fit_temperatures(model, validation)
    fit_thresholds(model, validation)
    return curve


def fit_trust(model: FusionModel, validation: Examples, weights: Mapping[str, float]) -> None:
    """Shrink modalities that mislead on validation rows.

    A modality can fit the training rows without meaning anything for other groups (a speaker is
    known by the voice, say). Scaling its vector towards the mean then lowers the validation loss.
    Each modality's trust is searched in turn, the others held.
    """
    for index in range(len(model.trust)):
        losses = {}
        for trust in TRUSTS:
            model.trust[index] = trust
            losses[trust] = score_views(model, validation, weights)
        model.trust[index] = min(losses, key=lambda trust: losses[trust])


def fit_temperatures(model: FusionModel, validation: Examples) -> None:
    """Set the temperature of targets that have one from all `views` of the validation rows."""
    scored = [(predict_logits(model, view), view.labels) for view in views(validation).values()]
    for index, (name, target) in enumerate(model.targets.items()):
        if not target.calibrated:
            continue
        logits = torch.cat([found[name] for found, _ in scored])
        labels = torch.cat([known[name] for _, known in scored])
        model.temperature[index] = fit_temperature(logits, labels, target)


def fit_thresholds(model: FusionModel, validation: Examples) -> None:
    """Settle the targets' thresholds on validation rows, each with the modalities that it has."""
    for name, logits in model.temper(predict_logits(model, validation)).items():
        target, labels = model.targets[name], validation.labels[name].numpy()
        known = target.is_known(labels)
        if known.any():
            probabilities = target.probabilities(logits).numpy()
            target.fit_thresholds(labels[known], probabilities[known])


def measure_gains(
    model: FusionModel, train: Examples, validation: Examples
) -> dict[str, dict[str, float]]:
    """Tell what each modality alone says about each target, on validation rows.

    Returns:
        By modality and target: how far the calibrated loss lies below that of the best constant
        answer of the training rows, in nats. No entry for a modality that no validation row has.
    """
    gains: dict[str, dict[str, float]] = {}
    for modality in model.modalities:
        rows = validation.offer(modality)
        if not len(rows):
            continue
        logits = model.temper(predict_logits(model, rows))
        gains[modality] = {}
        for name, target in model.targets.items():
            constant = torch.from_numpy(target.constant_logits(train.labels[name].numpy()))
            blind = target.loss(constant.expand(len(rows), -1), rows.labels[name])
            seeing = target.loss(logits[name], rows.labels[name])
            gains[modality][name] = (blind - seeing).item()
    return gains


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
) -> float:
    """Mean over `views` of the weighted sum of the targets' calibrated losses, in nats."""
    losses = []
    for view in views(rows).values():
        logits = model.temper(predict_logits(model, view, device))
        losses.append(sum_losses(model, logits, view.labels, weights).item())
    return sum(losses) / len(losses)


def sum_losses(
    model: FusionModel, logits: Logits, labels: Mapping[str, Tensor], weights: Mapping[str, float]
) -> Tensor:
    """Weighted sum of the targets' losses."""
    losses = [
        weights[name] * target.loss(logits[name], labels[name])
        for name, target in model.targets.items()
    ]
    return torch.stack(losses).sum()


def predict_logits(
    model: FusionModel, rows: Examples, device: torch.device | None = None
) -> Logits:
    """Give uncalibrated logits in evaluation mode, batch by batch; the result is on the CPU."""
    model.eval()
    with torch.inference_mode():
        parts = [
            model(batch.vectors, batch.presence)
            for batch in _batches(rows, torch.arange(len(rows)), SCORED_ROWS, device)
        ]
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in model.targets}


def drop_modalities(
    presence: Bool[Tensor, "batch modality"], share: float
) -> Bool[Tensor, "batch modality"]:
    """Hide present modalities at random, never all that a row has.

    Args:
        presence: Which modalities each row has.
        share: Probability that one is hidden.

    Returns:
        The modalities still shown; where all of a row's would be hidden, one of them is kept, each
        with equal probability.
    """
    draws = torch.rand(presence.shape, device=presence.device)
    shown = presence & (draws >= share)
    last = torch.where(presence, draws, -1.0).argmax(dim=1)  # uniform among those present
    spared = presence & torch.nn.functional.one_hot(last, presence.shape[1]).bool()
    return torch.where(shown.any(dim=1, keepdim=True), shown, spared)


def _run_epoch(
    model: FusionModel,
    optimizer: torch.optim.Optimizer,
    rows: Examples,
    config: TrainConfig,
    weights: Mapping[str, float],
    device: torch.device,
    epoch: int,
) -> float:
    """Take one step per batch; returns the mean loss over rows.

    Raises:
        TrainingError: The loss is not finite.
    """
    model.train()
    total = 0.0
    order = torch.randperm(len(rows))
    for number, batch in enumerate(_batches(rows, order, config.batch_size, device)):
        presence = drop_modalities(batch.presence, config.modality_dropout)
        members = model.member_logits(batch.vectors, presence)
        losses = [sum_losses(model, logits, batch.labels, weights) for logits in members]
        loss = torch.stack(losses).mean()
        if not torch.isfinite(loss):
            raise TrainingError(_explain_divergence(rows, loss.item(), epoch, number))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(rows)


def _batches(
    rows: Examples, order: Tensor, size: int, device: torch.device | None
) -> Iterator[Examples]:
    """Walk through rows in an order, moving each batch to the device."""
    for chosen in torch.split(order, size):
        batch = rows.take(chosen)
        yield batch.to(device) if device else batch


def _explain_divergence(rows: Examples, loss: float, epoch: int, number: int) -> str:
    """Name the batch, and the modality whose vectors are not finite, if that is the cause.

    All rows are looked at: one vector that is not finite spoils the standardisation of the others.
    """
    where = f"training stopped at epoch {epoch}, batch {number}: the loss is {loss}"
    for index, (name, matrix) in enumerate(rows.vectors.items()):
        present = matrix[rows.presence[:, index]]
        flat = present.flat() if isinstance(present, Steps) else present
        bad = ~torch.isfinite(flat).all(dim=1)
        if bad.any():
            return (
                f"{where}, because {int(bad.sum())} of the {name!r} vectors are not finite; run "
                f"`dvc repro -f embed@{name}` and look at its checks"
            )
    return (
        f"{where}, although the vectors of {', '.join(rows.vectors)} are finite; lower "
        "`train.learning_rate` in params.yaml"
    )
