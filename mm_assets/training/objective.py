"""What one batch teaches: the loss of every member of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_assets.contracts.config import AlignmentConfig
from mm_assets.fusion.steps import Steps, average_steps
from mm_assets.training.contrastive import align_modalities
from mm_assets.training.examples import Examples
from mm_assets.training.model import FusionModel, Logits


class Objective(nn.Module):
    """The model with its loss, so that processes that share a batch can wrap both.

    Args:
        model: What is trained.
        weights: Of each target in the loss.
        alignment: Of the modalities' vectors; by default none.
        add_up: Adds numbers of this process to those of all others.
        parts: How many processes there are.

    Attributes:
        aligning: Whether alignment alone is learned.
    """

    def __init__(
        self,
        model: FusionModel,
        weights: Mapping[str, float],
        *,
        alignment: AlignmentConfig | None = None,
        add_up: Callable[[Tensor], Tensor] = lambda numbers: numbers,
        parts: int = 1,
    ) -> None:
        super().__init__()
        self.model = model
        self.weights, self.alignment = dict(weights), alignment
        self.alignment_counts = alignment is not None and alignment.weight > 0
        self.add_up, self.parts = add_up, parts
        self.aligning = False

    def forward(self, batch: Examples, shown: Bool[Tensor, "batch modality"]) -> Float[Tensor, ""]:
        """Give the mean loss over members, in nats.

        Args:
            batch: This process's rows.
            shown: Which of their modalities the model may see; alignment sees all they have.
        """
        device = batch.presence.device
        if not len(batch):  # of a small batch, where layers may not know what to do with no rows
            if not self.aligning:
                self.add_up(torch.zeros(len(self.weights), device=device))
            return 0 * torch.stack([weights.sum() for weights in self.parameters()]).sum()
        vectors = batch.vectors | {
            name: media.encode(self.model.tuned[name], self.model.dims[name], device)
            for name, media in batch.media.items()
        }
        alignment = self.alignment if self.aligning or self.alignment_counts else None
        used = batch.presence if alignment else shown
        projected = self.model.project(vectors, used, batch.groups)
        loss = torch.zeros((), device=device)
        if not self.aligning:
            logits = self.model.member_logits(projected, shown)
            loss = loss + self._sum_losses(logits, batch.labels)
        if alignment:
            found = [self._align(alignment, member, batch.presence) for member in projected.members]
            loss = loss + torch.stack(found).mean()
        return loss

    def _sum_losses(self, members: list[Logits], labels: Mapping[str, Tensor]) -> Tensor:
        """Sum the targets' losses: of each the mean over the batch's known labels, and members.

        A process has its part of the batch; the mean is over all parts, and as the gradients of the
        parts are averaged, not summed, it is multiplied by their number.
        """
        losses, divisors = [], []
        for name, target in self.model.targets.items():
            sums = [target.training_loss_sum(logits[name], labels[name]) for logits in members]
            losses.append(self.weights[name] * torch.stack([loss for loss, _ in sums]).mean())
            divisors.append(sums[0][1].float())  # of labels alone, so of all members the same
        divisor = self.add_up(torch.stack(divisors).detach()) / self.parts
        return (torch.stack(losses) / divisor.clamp(min=torch.finfo(divisor.dtype).tiny)).sum()

    def _align(
        self,
        alignment: AlignmentConfig,
        projected: list[Tensor | Steps],
        presence: Bool[Tensor, "batch modality"],
    ) -> Tensor:
        vectors = [average_steps(one) if isinstance(one, Steps) else one for one in projected]
        loss = align_modalities(vectors, presence, temperature=alignment.temperature)
        return loss if self.aligning else alignment.weight * loss


def drop_modalities(
    presence: Bool[Tensor, "batch modality"], share: float, *, generator: torch.Generator
) -> Bool[Tensor, "batch modality"]:
    """Hide present modalities at random, never all that a row has.

    Args:
        presence: Which modalities each row has.
        share: Probability that one is hidden.
        generator: Of the draws, on the CPU.

    Returns:
        The modalities still shown; where all of a row's would be hidden, one of them is kept, each
        with equal probability.
    """
    draws = torch.rand(presence.shape, generator=generator)
    shown = presence & (draws >= share)
    last = torch.where(presence, draws, -1.0).argmax(dim=1)  # uniform among those present
    spared = presence & nn.functional.one_hot(last, presence.shape[1]).bool()
    return torch.where(shown.any(dim=1, keepdim=True), shown, spared)
