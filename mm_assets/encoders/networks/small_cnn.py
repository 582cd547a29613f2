"""A small residual network over pictures."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F


class SmallCnn(nn.Module):
    """Halve the picture, then twice more in residual stages, and average over what is left.

    Args:
        distortion: What a picture has to bear in training mode.
        dim: Channels of the last stage: the vector's length.
        dropout: Share of the vector that is left out in training mode.

    Source:
        He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2 (their nets for CIFAR-10).
    """

    def __init__(self, distortion: Distortion, *, dim: int, dropout: float) -> None:
        super().__init__()
        self.distortion = distortion
        narrow, middle = max(dim // 4, 4), max(dim // 2, 4)
        self.stem = nn.Conv2d(3, narrow, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(narrow)
        self.stages = nn.Sequential(
            _Block(narrow, narrow, 1), _Block(narrow, middle, 2), _Block(middle, dim, 2)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, pixels: UInt8[Tensor, "batch size size 3"]) -> Float[Tensor, "batch dim"]:
        """Embed pictures.

        Args:
            pixels: RGB.

        Returns:
            Non-negative numbers, float32.
        """
        light = self.distortion(scale_pixels(pixels))
        found = self.stages(F.relu(self.norm(self.stem(light))))  # (batch, dim, size/8, size/8)
        vector: Tensor = self.dropout(found.mean(dim=(2, 3)))
        return vector


class Distortion(nn.Module):
    """Move, turn, zoom and lighten each picture at random, in training mode alone.

    Args:
        shift: Farthest move, as a share of the canvas.
        zoom: Strongest change of size.
        rotate_deg: Widest turn.
        light: Strongest change of brightness.
    """

    def __init__(self, *, shift: float, zoom: float, rotate_deg: float, light: float) -> None:
        super().__init__()
        self.shift, self.zoom, self.light = shift, zoom, light
        self.rotate_rad = math.radians(rotate_deg)

    def forward(
        self, light: Float[Tensor, "batch channel high wide"]
    ) -> Float[Tensor, "batch channel high wide"]:
        """Distort; what comes in from beyond the edges is grey (0)."""
        if not self.training:
            return light
        draws = torch.rand(5, len(light), device=light.device) * 2 - 1  # (draw, batch)
        angle, size = draws[0] * self.rotate_rad, (1 + self.zoom) ** draws[1]
        cosine, sine = angle.cos() / size, angle.sin() / size
        across, down = draws[2:4] * 2 * self.shift  # the canvas is 2 long in grid coordinates
        matrix = torch.stack([cosine, -sine, across, sine, cosine, down], dim=1)
        grid = F.affine_grid(matrix.view(-1, 2, 3), list(light.shape), align_corners=False)
        moved = F.grid_sample(light, grid, align_corners=False)
        return moved * (1 + self.light * draws[4])[:, None, None, None]


def scale_pixels(pixels: UInt8[Tensor, "batch high wide 3"]) -> Float[Tensor, "batch 3 high wide"]:
    """Scale to [-1, 1], float32, so that the grey around a picture is about 0."""
    return (pixels.permute(0, 3, 1, 2).float() - 127.5) / 127.5


class _Block(nn.Module):
    """Two convolutions with a way around them."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False)
        self.second = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outer), nn.BatchNorm2d(outer)])
        self.around: nn.Module = nn.Identity()
        if inner != outer or stride > 1:
            self.around = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride=stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(
        self, found: Float[Tensor, "batch inner high wide"]
    ) -> Float[Tensor, "batch outer h w"]:
        inside = F.relu(self.norms[0](self.first(found)))
        return F.relu(self.norms[1](self.second(inside)) + self.around(found))
