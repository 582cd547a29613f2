"""A convolutional autoencoder over pictures."""

from __future__ import annotations

from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from mm_assets.encoders.networks.small_cnn import scale_pixels


class ImageAutoencoder(nn.Module):
    """Halve a picture three times, squeeze it into a vector, and draw it again from that.

    Args:
        size_px: The canvas, a multiple of 8.
        dim: Length of the vector.
        channels: Of the smallest maps.

    Source:
        Masci et al. 2011, https://doi.org/10.1007/978-3-642-21735-7_7;
        Odena et al. 2016, https://doi.org/10.23915/distill.00003 (enlarging before a convolution
        leaves no checkerboard).
    """

    def __init__(self, *, size_px: int, dim: int, channels: int) -> None:
        super().__init__()
        narrow, middle, small = channels // 4, channels // 2, size_px // 8
        self.encoder = nn.Sequential(
            *_halve(3, narrow),
            *_halve(narrow, middle),
            *_halve(middle, channels),
            nn.Flatten(),
            nn.Linear(channels * small * small, dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(dim, channels * small * small),
            nn.Unflatten(1, (channels, small, small)),
            *_double(channels, middle),
            *_double(middle, narrow),
            *_double(narrow, narrow),
            nn.Conv2d(narrow, 3, 3, padding=1),
        )

    def forward(self, pixels: UInt8[Tensor, "batch size size 3"]) -> Float[Tensor, "batch dim"]:
        """Embed pictures.

        Args:
            pixels: RGB.

        Returns:
            What the decoder draws from, float32.
        """
        vector: Tensor = self.encoder(scale_pixels(pixels))
        return vector

    def reconstruct(
        self, pixels: UInt8[Tensor, "batch size size 3"]
    ) -> Float[Tensor, "batch 3 size size"]:
        """Draw pictures again from their vectors, in the scale of `scale_pixels`."""
        drawn: Tensor = self.decoder(self(pixels))
        return drawn

    def self_supervised_loss(self, pixels: UInt8[Tensor, "batch size size 3"]) -> Float[Tensor, ""]:
        """Give the mean squared error of what is drawn again, in the scale of `scale_pixels`."""
        return F.mse_loss(self.reconstruct(pixels), scale_pixels(pixels))


def _halve(inner: int, outer: int) -> list[nn.Module]:
    """Give layers that halve both sides."""
    return [
        nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(),
    ]


def _double(inner: int, outer: int) -> list[nn.Module]:
    """Give layers that double both sides."""
    return [
        nn.Upsample(scale_factor=2),
        nn.Conv2d(inner, outer, 3, padding=1, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(),
    ]
