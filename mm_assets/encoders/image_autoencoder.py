"""A convolutional autoencoder over pictures, fitted on training rows without their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder, LearnedOptions

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class ImageAutoencoderOptions(LearnedOptions):
    """The canvas and the widest layer."""

    size_px: Annotated[int, Field(ge=16, le=256, multiple_of=8)] = 64
    channels: Annotated[int, Field(ge=8, le=512)] = 64  # of the smallest maps


class ImageAutoencoder(LearnedEncoder):
    """Squeeze a picture into `dim` numbers from which it can be drawn again."""

    name: ClassVar[str] = "image_autoencoder"
    kind: ClassVar[str] = "image"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("reconstruction",)
    input_shape: ClassVar[str] = "uint8 (batch, size_px, size_px, 3)"
    output_shape: ClassVar[str] = "float32 (batch, dim)"
    size: ClassVar[str] = "0.6 M parameters, of which the decoder's half is not exported"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = (
        "Masci et al. 2011, https://doi.org/10.1007/978-3-642-21735-7_7; "
        "Odena et al. 2016, https://doi.org/10.23915/distill.00003 (enlarge, then convolve)"
    )
    options_model: ClassVar[type[base.Options]] = ImageAutoencoderOptions
    options: ImageAutoencoderOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Picture.collate` needs: the canvas."""
        return {"size_px": self.options.size_px}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`."""
        from mm_assets.encoders.networks.image_autoencoder import ImageAutoencoder as Network

        options = self.options
        return Network(size_px=options.size_px, dim=options.dim, channels=options.channels)


ENCODER = ImageAutoencoder
