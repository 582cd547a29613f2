"""A classification network of another library, from uint8 pixels to what its classifier sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn


class Backbone(nn.Module):
    """Normalise pictures as the weights were trained, then run a network without its classifier.

    Args:
        network: Takes float32 (batch, 3, size, size) and gives (batch, ...).
        mean: Of red, green and blue, between 0 and 1.
        std: Their standard deviations.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # faster on the CPU
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, pixels: UInt8[Tensor, "batch size size 3"]) -> Float[Tensor, "batch dim"]:
        """Embed pictures.

        Args:
            pixels: RGB.

        Returns:
            What the classifier would have seen, float32.
        """
        scaled = pixels.permute(0, 3, 1, 2).float() / 255  # (batch, 3, size, size)
        found: Tensor = self.network((scaled - self.mean) / self.std)
        return found.flatten(1)


def measure_dim(network: nn.Module, size_px: int) -> int:
    """Give the length of a network's vectors, without computing one.

    Args:
        network: On the meta device, in evaluation mode.
        size_px: The canvas.

    Raises:
        Exception: Whatever the network raises on a canvas that it cannot take.
    """
    with torch.inference_mode():
        found = network(torch.empty(1, 3, size_px, size_px, device="meta"))
    return int(found.flatten(1).shape[1])
