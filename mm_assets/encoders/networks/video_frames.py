"""Networks for pictures, applied to every frame of a clip."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn


class FrameSequence(nn.Module):
    """One vector per frame.

    Args:
        image: Embeds uint8 (batch, size, size, 3).
    """

    def __init__(self, image: nn.Module) -> None:
        super().__init__()
        self.image = image

    def forward(
        self, pixels: UInt8[Tensor, "batch frames size size 3"], length: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frames dim"], Bool[Tensor, "batch frames"]]:
        """Embed each frame, whatever is around it.

        Args:
            pixels: RGB.
            length: Frames that are no padding.
        """
        vectors = self.image(pixels.flatten(0, 1))  # (batch * frames, dim)
        sequence = vectors.unflatten(0, pixels.shape[:2])
        return sequence, mark_frames(pixels, length)


class FrameMean(nn.Module):
    """The mean of the frames' vectors.

    Args:
        image: Embeds uint8 (batch, size, size, 3).
    """

    def __init__(self, image: nn.Module) -> None:
        super().__init__()
        self.frames = FrameSequence(image)

    def forward(
        self, pixels: UInt8[Tensor, "batch frames size size 3"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed clips; see `FrameSequence.forward`."""
        sequence, there = self.frames(pixels, length)
        total = torch.where(there[:, :, None], sequence, 0).sum(dim=1)
        mean: Tensor = total / length[:, None]
        return mean


def mark_frames(
    pixels: UInt8[Tensor, "batch frames size size 3"], length: Int[Tensor, " batch"]
) -> Bool[Tensor, "batch frames"]:
    """Tell frames from padding."""
    return torch.arange(pixels.shape[1], device=length.device) < length[:, None]
