"""A network of another library that reads a whole clip, from uint8 pixels to its last layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn


class VideoBackbone(nn.Module):
    """Normalise frames as the weights were trained, then run a network without its classifier.

    Args:
        network: Takes float32 (batch, 3, frames, size, size) and gives (batch, dim).
        mean: Of red, green and blue, between 0 and 1.
        std: Their standard deviations.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1, 1), persistent=False)

    def forward(
        self, pixels: UInt8[Tensor, "batch frames size size 3"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed clips.

        Args:
            pixels: RGB; every clip has all its frames, so that none is padding.
            length: Frames of each clip, all the same.

        Returns:
            What the classifier would have seen, float32.
        """
        scaled = pixels.permute(0, 4, 1, 2, 3).float() / 255  # (batch, 3, frames, size, size)
        found: Tensor = self.network((scaled - self.mean) / self.std)
        return found
