"""Telling which vectors belong together: InfoNCE."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def contrastive_loss(
    one: Float[Tensor, "pair dim"], other: Float[Tensor, "pair dim"], *, temperature: float
) -> Float[Tensor, ""]:
    """Tell each row's partner from the partners of all other rows, in both directions.

    Args:
        one: Vectors of any length; row ``i`` belongs with ``other[i]``.
        other: Another view of the same rows: by other dropout, or by another modality.
        temperature: What cosines are divided by.

    Returns:
        Mean over rows and directions, in nats; ``log(pair)`` where vectors carry no signal.

    Source:
        van den Oord et al. 2018, https://arxiv.org/abs/1807.03748 (InfoNCE);
        Gao et al. 2021, https://arxiv.org/abs/2104.08821 (SimCSE: dropout as the other view);
        Radford et al. 2021, https://arxiv.org/abs/2103.00020, Figure 3 (both directions).
    """
    cosines = F.normalize(one, dim=1) @ F.normalize(other, dim=1).T  # (pair, pair)
    partner = torch.arange(len(one), device=one.device)
    there = F.cross_entropy(cosines / temperature, partner)
    back = F.cross_entropy(cosines.T / temperature, partner)
    return (there + back) / 2


def align_modalities(
    vectors: Sequence[Float[Tensor, "batch dim"]],
    presence: Bool[Tensor, "batch modality"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Contrast each two modalities on the rows that have both.

    Args:
        vectors: Of each modality, at one width.
        presence: Which modalities a row has.
        temperature: What cosines are divided by.

    Returns:
        Mean over pairs of modalities, in nats; 0 where no two rows have two modalities.

    Source:
        Radford et al. 2021, https://arxiv.org/abs/2103.00020, for each pair of modalities.
    """
    losses = []
    for one, other in itertools.combinations(range(len(vectors)), 2):
        both = presence[:, one] & presence[:, other]
        if both.sum() > 1:
            pair = vectors[one][both], vectors[other][both]
            losses.append(contrastive_loss(*pair, temperature=temperature))
    return torch.stack(losses).mean() if losses else vectors[0].new_zeros(())
