"""Networks over clips that are learnt from the first layer on."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from mm_assets.encoders.networks.video_frames import mark_frames

GRID = 4  # fields along each side of a frame: where something is seen stays known
GROUPS = 4  # of channels that are normalised together


class VideoSteps(nn.Module):
    """Each frame, and how it differs from the one before it, becomes a vector.

    A batch's padding can change nothing: channels are normalised within a frame.

    Args:
        distortion: What all frames of a clip have to bear alike in training mode; takes and gives
            (batch, channel, size, size).
        dim: Length of every vector.
        dropout: Share of the vectors that is left out in training mode.

    Source:
        Wu & He 2018, https://arxiv.org/abs/1803.08494 (normalisation); differences of frames:
        Wang et al. 2016, https://arxiv.org/abs/1608.00859, section 3.2.
    """

    def __init__(self, distortion: nn.Module, *, dim: int, dropout: float) -> None:
        super().__init__()
        self.distortion = distortion
        self.look = nn.Sequential(
            *_halve(6, 16, kernel=5), *_halve(16, 32, kernel=3), *_halve(32, 64, kernel=3)
        )
        self.join = nn.Linear(64 * GRID**2, dim)
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def sequence(
        self, pixels: UInt8[Tensor, "batch frames size size 3"], length: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frames dim"], Bool[Tensor, "batch frames"]]:
        """Give a vector per frame, and which frames are no padding."""

    def see(
        self, pixels: UInt8[Tensor, "batch frames size size 3"]
    ) -> Float[Tensor, "batch frames dim"]:
        """Embed each frame beside the one before it."""
        batch, frames = pixels.shape[:2]
        light = (pixels.float() - 127.5) / 127.5  # (batch, frames, size, size, 3)
        light = light.permute(0, 1, 4, 2, 3)
        if (
            self.training
        ):  # one draw for all frames of a clip, as if they were one picture's channels
            light = self.distortion(light.flatten(1, 2)).unflatten(1, (-1, 3))
        change = torch.cat([torch.zeros_like(light[:, :1]), light[:, 1:] - light[:, :-1]], dim=1)
        both = torch.cat([light, change], dim=2)  # (batch, frames, 6, size, size)
        maps = self.look(both.flatten(0, 1))  # (batch * frames, 64, size / 8, size / 8)
        fields = F.adaptive_avg_pool2d(maps, GRID).flatten(1)  # (batch * frames, 64 * GRID²)
        return F.relu(self.join(self.dropout(fields))).reshape(batch, frames, -1)


class VideoGRU(VideoSteps):
    """A gated recurrent unit from the first frame to the last, which has the last word.

    Source:
        Cho et al. 2014, https://arxiv.org/abs/1406.1078.
    """

    def __init__(self, distortion: nn.Module, *, dim: int, dropout: float) -> None:
        super().__init__(distortion, dim=dim, dropout=dropout)
        self.recurrent = nn.GRU(dim, dim, batch_first=True)

    def forward(
        self, pixels: UInt8[Tensor, "batch frames size size 3"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed clips.

        Args:
            pixels: RGB.
            length: Frames that are no padding.
        """
        read, _ = self.sequence(pixels, length)
        last = (length - 1)[:, None, None].expand(-1, 1, read.shape[2])
        vector: Tensor = self.dropout(read.gather(1, last).squeeze(1))
        return vector

    def sequence(
        self, pixels: UInt8[Tensor, "batch frames size size 3"], length: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frames dim"], Bool[Tensor, "batch frames"]]:
        """Give what is known after each frame; padding comes last, so none of them sees it."""
        read, _ = self.recurrent(self.see(pixels))
        return read, mark_frames(pixels, length)


class VideoAttention(VideoSteps):
    """A weighted mean over frames; what a frame weighs, it says itself.

    Source:
        Ilse et al. 2018, https://arxiv.org/abs/1802.04712, equation 8.
    """

    def __init__(self, distortion: nn.Module, *, dim: int, dropout: float) -> None:
        super().__init__(distortion, dim=dim, dropout=dropout)
        self.weigh = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1))

    def forward(
        self, pixels: UInt8[Tensor, "batch frames size size 3"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed clips; see `VideoGRU.forward`."""
        seen, there = self.sequence(pixels, length)
        scores = self.weigh(seen).squeeze(2)  # (batch, frames)
        weights = scores.masked_fill(~there, float("-inf")).softmax(dim=1)
        vector: Tensor = self.dropout((weights[:, :, None] * seen).sum(dim=1))
        return vector

    def sequence(
        self, pixels: UInt8[Tensor, "batch frames size size 3"], length: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frames dim"], Bool[Tensor, "batch frames"]]:
        """Give the frames' vectors."""
        return self.see(pixels), mark_frames(pixels, length)


def _halve(inner: int, outer: int, *, kernel: int) -> list[nn.Module]:
    """Give the layers of a convolution that halves the sides."""
    convolution = nn.Conv2d(inner, outer, kernel, stride=2, padding=kernel // 2, bias=False)
    return [convolution, nn.GroupNorm(GROUPS, outer), nn.ReLU()]
