"""A small convolutional network over pictures, fitted on training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder, LearnedOptions

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class SmallCnnOptions(LearnedOptions):
    """The canvas, and what the network has to bear while it is fitted.

    `dim` is also the width of its last stage, which makes up most of its cost.
    """

    size_px: Annotated[int, Field(ge=16, le=256)] = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.08  # of the canvas, in every direction
    zoom: Annotated[float, Field(ge=0, le=1)] = 0.1  # larger or smaller by up to this share
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 10.0
    light: Annotated[float, Field(ge=0, lt=1)] = 0.2  # brighter or darker by up to this share


class SmallCnn(LearnedEncoder):
    """Seven 3 x 3 convolutions with ways around them; a minute's fit for a thousand pictures."""

    name: ClassVar[str] = "small_cnn"
    kind: ClassVar[str] = "image"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised", "contrastive")
    input_shape: ClassVar[str] = "uint8 (batch, size_px, size_px, 3)"
    output_shape: ClassVar[str] = "float32 (batch, logits), or (batch, dim)"
    size: ClassVar[str] = "78 k parameters"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = "He et al. 2016, https://arxiv.org/abs/1512.03385 (section 4.2)"
    options_model: ClassVar[type[base.Options]] = SmallCnnOptions
    options: SmallCnnOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Picture.collate` needs: the canvas."""
        return {"size_px": self.options.size_px}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`."""
        from mm_assets.encoders.networks.small_cnn import Distortion
        from mm_assets.encoders.networks.small_cnn import SmallCnn as Network

        options = self.options
        distortion = Distortion(
            shift=options.shift,
            zoom=options.zoom,
            rotate_deg=options.rotate_deg,
            light=options.light,
        )
        return Network(distortion, dim=options.dim, dropout=options.dropout)


ENCODER = SmallCnn
