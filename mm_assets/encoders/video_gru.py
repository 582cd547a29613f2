"""Clips read frame by frame, in their order; fitted on training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder, LearnedOptions

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from mm_assets.encoders.networks.small_cnn import Distortion


class VideoStepsOptions(LearnedOptions):
    """The canvas, and what the network has to bear while it is fitted."""

    size_px: Annotated[int, Field(ge=32, le=256)] = 48
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    # Of all frames of a clip alike:
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.08  # of the canvas, in every direction
    zoom: Annotated[float, Field(ge=0, le=1)] = 0.1  # larger or smaller by up to this share
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 5.0
    light: Annotated[float, Field(ge=0, lt=1)] = 0.2  # brighter or darker by up to this share


def build_distortion(options: VideoStepsOptions) -> Distortion:
    """Build what distorts all frames of a clip alike while a network is fitted."""
    from mm_assets.encoders.networks.small_cnn import Distortion

    return Distortion(
        shift=options.shift,
        zoom=options.zoom,
        rotate_deg=options.rotate_deg,
        light=options.light,
    )


class VideoGRU(LearnedEncoder):
    """A small convolutional network on every frame and its change, and a GRU over them."""

    name: ClassVar[str] = "video_gru"
    kind: ClassVar[str] = "video"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    sequential: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised", "contrastive")
    input_shape: ClassVar[str] = "uint8 (batch, frames, size_px, size_px, 3) and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, logits), or (batch, dim)"
    size: ClassVar[str] = "116 k parameters"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = "Donahue et al. 2015, https://arxiv.org/abs/1411.4389"
    options_model: ClassVar[type[base.Options]] = VideoStepsOptions
    options: VideoStepsOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Video.collate` needs: the canvas."""
        return {"size_px": self.options.size_px}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`."""
        from mm_assets.encoders.networks.video_steps import VideoGRU as Network

        asked = self.options
        return Network(build_distortion(asked), dim=asked.dim, dropout=asked.dropout)


ENCODER = VideoGRU
