"""A recurrent network over log-mel frames."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mm_assets.encoders.networks.hearing import Hearing

STRIDE = 2  # frames per step: 20 ms


class MelLstm(nn.Module):
    """Read frames forwards and backwards, then average over time.

    Args:
        hearing: Gives the spectrogram.
        bands: Of the spectrogram.
        dim: Length of the vector.
        width: Of each direction of the recurrent layer.
        dropout: Share of the steps' numbers and of the vector that is left out in training mode.

    Source:
        Graves & Schmidhuber 2005, https://doi.org/10.1016/j.neunet.2005.06.042
    """

    def __init__(
        self, hearing: Hearing, *, bands: int, dim: int, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.hearing = hearing
        self.join = nn.Conv1d(bands, width, 2 * STRIDE + 1, stride=STRIDE, padding=STRIDE)
        self.forwards = nn.LSTM(width, width, batch_first=True)
        self.backwards = nn.LSTM(width, width, batch_first=True)
        self.last = nn.Linear(2 * width, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, samples: Float[Tensor, "batch time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed recordings; see `MelCnn.forward`."""
        log_mel, valid = self.hearing(samples, length)
        joined = F.relu(self.join(log_mel.transpose(1, 2))).transpose(1, 2)
        steps = self.dropout(joined)  # (batch, step, width)
        valid = valid[:, ::STRIDE]
        count = valid.sum(dim=1)
        there, _ = self.forwards(steps)
        back, _ = self.backwards(reverse(steps, count))
        both = torch.cat([there, reverse(back, count)], dim=2) * valid[:, :, None]
        vector: Tensor = self.dropout(self.last(both.sum(dim=1) / count[:, None]))
        return vector


def reverse(
    steps: Float[Tensor, "batch step dim"], count: Int[Tensor, " batch"]
) -> Float[Tensor, "batch step dim"]:
    """Turn the first `count` steps of each row around; the others stay where they are."""
    place = torch.arange(steps.shape[1], device=steps.device)
    turned = torch.where(place < count[:, None], count[:, None] - 1 - place, place)
    return steps.gather(1, turned[:, :, None].expand(-1, -1, steps.shape[2]))
