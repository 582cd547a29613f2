"""Clips in which a few frames matter, wherever they are; fitted on training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder
from mm_assets.encoders.video_gru import VideoStepsOptions, build_distortion

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class VideoAttention(LearnedEncoder):
    """The small convolutional network of `video_gru`, and a weighted mean over frames."""

    name: ClassVar[str] = "video_attention"
    kind: ClassVar[str] = "video"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    sequential: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised", "contrastive")
    input_shape: ClassVar[str] = "uint8 (batch, frames, size_px, size_px, 3) and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, logits), or (batch, dim)"
    size: ClassVar[str] = "95 k parameters"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = "Ilse et al. 2018, https://arxiv.org/abs/1802.04712"
    options_model: ClassVar[type[base.Options]] = VideoStepsOptions
    options: VideoStepsOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Video.collate` needs: the canvas."""
        return {"size_px": self.options.size_px}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`."""
        from mm_assets.encoders.networks.video_steps import VideoAttention as Network

        asked = self.options
        return Network(build_distortion(asked), dim=asked.dim, dropout=asked.dropout)


ENCODER = VideoAttention
