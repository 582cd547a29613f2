"""A linear model on all modalities' vectors side by side: what a fusion has to beat."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from mm_assets.contracts.errors import StageError, TrainingError
from mm_assets.fusion.steps import Steps, average_steps
from mm_assets.targets.base import Target, find_target
from mm_assets.training.examples import Examples
from mm_assets.training.model import Logits, Standardize, Vectors
from mm_assets.training.saved import read_saved, write_saved

LINEAR_VERSION = 1
# Of half the squared length of the weights, beside a mean loss in nats; the strongest comes first,
# so that each search starts from the end of an easier one, and is kept among equals.
STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
MOST_STEPS = 300  # of L-BFGS; the sample's targets need 10 to 100
SCORED_ROWS = 8192  # rows per batch where no gradient is needed


class LinearModel(nn.Module):
    """One linear layer a target, on standardised vectors and on which of them are there.

    An absent modality's vector is its mean, and a sequence counts as the mean of its steps.

    Args:
        dims: Width of each modality's vectors, by name; their order is the order of `presence`.
        targets: By name.

    Attributes:
        strengths: The L2 strength that each target's weights were fitted with.
    """

    def __init__(self, dims: Mapping[str, int], targets: Mapping[str, Target]) -> None:
        super().__init__()
        self.dims, self.targets = dict(dims), dict(targets)
        self.standardize = nn.ModuleList(Standardize(dim) for dim in dims.values())
        width = sum(dims.values()) + len(dims)
        self.heads = nn.ModuleList(target.head(width) for target in targets.values())
        self.strengths: dict[str, float] = {}

    def forward(self, vectors: Vectors, presence: Bool[Tensor, "batch modality"]) -> Logits:
        """Give each target's logits.

        Args:
            vectors: (batch, dim), or `Steps`, by modality; rows without the modality may hold
                anything.
            presence: Which modalities a row has.
        """
        features = self.features(vectors, presence)
        return {name: head(features) for name, head in zip(self.targets, self.heads, strict=True)}

    def features(
        self, vectors: Vectors, presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch feature"]:
        """Put the standardised vectors side by side, and behind them the presence as 0 and 1."""
        parts = [
            layer(_as_matrix(vectors[name]), presence[:, index])
            for index, (name, layer) in enumerate(zip(self.dims, self.standardize, strict=True))
        ]
        return torch.cat([*parts, presence.float()], dim=1)


def fit_linear(
    train: Examples, validation: Examples, *, targets: Mapping[str, Target]
) -> LinearModel:
    """Fit a linear model by L-BFGS, each target by itself.

    The mean loss of the training rows is minimised with an L2 penalty on all weights but the bias;
    of some strengths the one is kept whose loss on validation rows is least. Thresholds of targets
    that have some are settled there, too.

    Args:
        train: Training rows and their copies.
        validation: Validation rows.
        targets: Fitted on training rows; they are copied, so that thresholds stay the model's own.

    Returns:
        The model in evaluation mode on the CPU.

    Raises:
        StageError: A modality is present in no training row.
        TrainingError: There are no rows, or vectors are not finite.

    Source:
        Liu and Nocedal 1989, https://doi.org/10.1007/BF01589116 (L-BFGS).
    """
    for split, rows in (("training", train), ("validation", validation)):
        if not len(rows):
            raise TrainingError(
                f"the linear model needs at least 1 {split} row, got 0; change `split` in "
                "params.yaml or add groups of rows"
            )
    dims = {name: _as_matrix(found).shape[1] for name, found in train.vectors.items()}
    model = LinearModel(dims, {name: copy.deepcopy(target) for name, target in targets.items()})
    _require_finite(train, validation)
    _standardize(model, train)
    learnt, checked = (model.features(rows.vectors, rows.presence) for rows in (train, validation))
    for (name, target), head in zip(model.targets.items(), model.heads, strict=True):
        model.strengths[name] = _fit_head(
            head, target, (learnt, train.labels[name]), (checked, validation.labels[name])
        )
    model.eval()
    _settle_thresholds(model, validation)
    return model


def predict_linear(model: LinearModel, rows: Examples) -> Logits:
    """Give logits, batch by batch."""
    with torch.inference_mode():
        parts = [
            model(batch.vectors, batch.presence)
            for batch in map(rows.take, torch.split(torch.arange(len(rows)), SCORED_ROWS))
        ]
    return {name: torch.cat([part[name] for part in parts]) for name in model.targets}


def measure_linear_gains(
    model: LinearModel, train: Examples, validation: Examples
) -> dict[str, float]:
    """Tell what the model says about each target on validation rows.

    Returns:
        By target: how far its loss lies below that of the best constant answer of the training
        rows, in nats.
    """
    gains = {}
    for name, logits in predict_linear(model, validation).items():
        target, labels = model.targets[name], validation.labels[name]
        constant = torch.from_numpy(target.constant_logits(train.labels[name].numpy()))
        blind = target.loss(constant.expand(len(validation), -1), labels)
        gains[name] = (blind - target.loss(logits, labels)).item()
    return gains


def minimise_loss(
    head: nn.Module,
    target: Target,
    features: Float[Tensor, "row feature"],
    labels: Shaped[Tensor, " row *label"],
    *,
    strength: float,
) -> None:
    """Fit a head's weights in place, from where they are.

    Args:
        head: Of `Target.head`.
        target: Whose loss is taken; rows without a label are left out.
        features: In the precision of the head.
        labels: Encoded.
        strength: Of half the squared length of the weights; the bias is not penalised.

    Raises:
        TrainingError: The loss is not finite.
    """
    weights = [weight for weight in head.parameters() if weight.ndim > 1]
    optimizer: torch.optim.Optimizer = torch.optim.LBFGS(
        head.parameters(),
        max_iter=MOST_STEPS,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def lose() -> float:
        optimizer.zero_grad()
        # Single precision would end the search early, and the features in double are twice as large.
        penalty = torch.stack([weight.double().square().sum() for weight in weights]).sum()
        loss = target.loss(head(features).double(), labels) + strength / 2 * penalty
        torch.autograd.backward(loss)
        return loss.item()

    optimizer.step(lose)
    loss = lose()
    if not math.isfinite(loss):
        raise TrainingError(
            f"the linear model's loss is {loss} with L2 strength {strength:g}; look at the checks of "
            "the embed stages"
        )


def save_linear(model: LinearModel, folder: Path) -> None:
    """Write `model.safetensors` and `config.json`, which is all that `load_linear` needs."""
    config = {
        # Lists, since the order counts and JSON's keys are written sorted.
        "modalities": [{"name": name, "dim": dim} for name, dim in model.dims.items()],
        "targets": [
            {
                "name": name,
                "kind": target.kind,
                "state": target.state(),
                "strength": model.strengths[name],
            }
            for name, target in model.targets.items()
        ],
    }
    write_saved(model, config, folder, version=LINEAR_VERSION)


def load_linear(folder: Path) -> LinearModel:
    """Read what `save_linear` wrote.

    Raises:
        StageError: The folder is absent, damaged or of another schema version.
    """
    again = "fit it again: `dvc repro -f baselines`"
    saved = read_saved(folder, what="linear model", version=LINEAR_VERSION, again=again)
    targets = saved.config["targets"]
    model = LinearModel(
        {one["name"]: one["dim"] for one in saved.config["modalities"]},
        {t["name"]: find_target(t["kind"]).from_state(t["state"]) for t in targets},
    )
    model.strengths = {one["name"]: one["strength"] for one in targets}
    saved.fill(model)
    return model.eval()


def _as_matrix(given: Tensor | Steps) -> Float[Tensor, "row dim"]:
    return average_steps(given) if isinstance(given, Steps) else given


def _require_finite(*splits: Examples) -> None:
    """Require numbers.

    Raises:
        TrainingError: A vector has something else.
    """
    for rows in splits:
        for index, (name, given) in enumerate(rows.vectors.items()):
            present = _as_matrix(given)[rows.presence[:, index]]
            bad = int((~torch.isfinite(present).all(dim=1)).sum())
            if bad:
                raise TrainingError(
                    f"the linear model cannot be fitted, because {bad} of the {name!r} vectors are "
                    f"not finite; run `dvc repro -f embed@{name}` and look at its checks"
                )


def _standardize(model: LinearModel, train: Examples) -> None:
    """Take each modality's statistics from the training rows that have it.

    Raises:
        StageError: None has.
    """
    for index, name in enumerate(model.dims):
        present = _as_matrix(train.vectors[name])[train.presence[:, index]]
        if not len(present):
            raise StageError(
                f"modality {name!r} needs at least 1 training row that has it, got 0; add such "
                "rows or take the modality out of params.yaml"
            )
        model.standardize[index] = Standardize.fit([present])


def _fit_head(
    head: nn.Module,
    target: Target,
    learnt: tuple[Tensor, Tensor],
    checked: tuple[Tensor, Tensor],
) -> float:
    """Fit one target's layer with each strength, and leave it as with the best; returns that.

    Args:
        head: Is changed in place.
        target: Whose loss is taken.
        learnt: Features and labels of training rows.
        checked: The same of validation rows.
    """
    for weight in head.parameters():
        nn.init.zeros_(weight)
    found = []
    for strength in STRENGTHS:
        minimise_loss(head, target, *learnt, strength=strength)
        with torch.no_grad():
            loss = target.loss(head(checked[0]), checked[1]).item()
        found.append((loss, strength, copy.deepcopy(head.state_dict())))
    _, best, state = min(found, key=lambda one: one[0])
    head.load_state_dict(state)
    return best


def _settle_thresholds(model: LinearModel, validation: Examples) -> None:
    for name, logits in predict_linear(model, validation).items():
        target, labels = model.targets[name], validation.labels[name].numpy()
        known = target.is_known(labels)
        if known.any():
            target.fit_thresholds(labels[known], target.probabilities(logits).numpy()[known])
