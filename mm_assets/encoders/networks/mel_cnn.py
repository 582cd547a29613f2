"""A small residual network over log-mel spectrograms."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mm_assets.encoders.networks.hearing import Hearing


class MelCnn(nn.Module):
    """Hear frames and bands as a picture, three times halved, then look at all of time at once.

    Args:
        hearing: Gives the spectrogram.
        dim: Length of the vector, a multiple of 8; the last stage has half as many channels.
        dropout: Share of the vector that is left out in training mode.

    Source:
        He et al. 2016, https://arxiv.org/abs/1512.03385 (residual blocks);
        Tang & Lin 2018, https://arxiv.org/abs/1710.10361 (small ones for spoken words)
    """

    def __init__(self, hearing: Hearing, *, dim: int, dropout: float) -> None:
        super().__init__()
        self.hearing = hearing
        narrow, middle, wide = dim // 8, dim // 4, dim // 2
        self.stem = nn.Conv2d(1, narrow, (3, 5), stride=(1, 2), padding=(1, 2), bias=False)
        self.norm = nn.BatchNorm2d(narrow)
        self.stages = nn.ModuleList(
            [_Block(narrow, narrow, 1), _Block(narrow, middle, 2), _Block(middle, wide, 2)]
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, samples: Float[Tensor, "batch time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed recordings.

        Args:
            samples: Mono, zero padded at the end.
            length: True number of samples of each, at least 1.

        Returns:
            Of each channel's mean over bands, the mean and the highest value over time; they do
            not depend on the padding.
        """
        log_mel, valid = self.hearing(samples, length)
        found = self.norm(self.stem(log_mel[:, None]))  # (batch, narrow, frame, fewer bands)
        found = F.relu(found) * valid[:, None, :, None]
        for stage in self.stages:
            found, valid = stage(found, valid)
        steps = found.mean(dim=3)  # (batch, wide, step), nowhere negative
        mean = steps.sum(dim=2) / valid.sum(dim=1, keepdim=True)
        vector: Tensor = self.dropout(torch.cat([mean, steps.amax(dim=2)], dim=1))
        return vector


class _Block(nn.Module):
    """Two convolutions with a way around them; padding stays 0."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False)
        self.second = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outer), nn.BatchNorm2d(outer)])
        self.around: nn.Module = nn.Identity()
        if inner != outer or stride > 1:
            self.around = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride=stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(
        self, found: Float[Tensor, "batch inner frame band"], valid: Bool[Tensor, "batch frame"]
    ) -> tuple[Float[Tensor, "batch outer fewer narrower"], Bool[Tensor, "batch fewer"]]:
        """Compute one stage, and which of its frames are none of padding."""
        valid = valid[:, :: self.stride]
        mask = valid[:, None, :, None]
        inside = F.relu(self.norms[0](self.first(found))) * mask
        inside = self.norms[1](self.second(inside))
        return F.relu(inside + self.around(found)) * mask, valid
