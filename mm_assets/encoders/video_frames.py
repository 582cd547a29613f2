"""A frozen image encoder on every frame, averaged over time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar

from mm_assets.contracts.config import EncoderConfig
from mm_assets.contracts.errors import ConfigError
from mm_assets.encoders import base

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import nn

    from mm_assets.contracts.config import Precision


class VideoFramesOptions(base.Options):
    """`image`: name and options of an encoder for pictures, one that is not fitted."""

    # 96 pixels cost a fifth of 224, and a clip has several frames to look at.
    image: EncoderConfig = EncoderConfig.model_validate(
        {"name": "efficientnet_lite0", "size_px": 96}
    )


class VideoFrames(base.Encoder):
    """What is seen in a clip, whatever the order; for the order choose `video_gru`."""

    name: ClassVar[str] = "video_frames"
    kind: ClassVar[str] = "video"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    sequential: ClassVar[bool] = True
    input_shape: ClassVar[str] = "uint8 (batch, frames, size_px, size_px, 3) and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, the image encoder's dim)"
    size: ClassVar[str] = "the image encoder's"
    licence: ClassVar[str] = "the image encoder's"
    source: ClassVar[str] = "Karpathy et al. 2014, https://doi.org/10.1109/CVPR.2014.223"
    options_model: ClassVar[type[base.Options]] = VideoFramesOptions
    options: VideoFramesOptions

    def __init__(
        self,
        options: VideoFramesOptions,
        weights: Path,
        precision: Precision = "float32",
        sequence: bool = False,
    ) -> None:
        super().__init__(options, weights, precision, sequence)
        where = f"encoder {self.name}: image"
        self._image = base.load_encoder(
            options.image.name,
            options.image.options,
            kind="image",
            weights=weights,
            where=where,
            precision=precision,
            sequence=options.image.sequence,
        )
        if self._image.fitted or not self._image.exportable:
            others = [
                name
                for name in base.list_encoders("image")
                if not base.find_encoder(name).fitted and base.find_encoder(name).exportable
            ]
            raise ConfigError(
                f"params.yaml: `{where}.name` must be an encoder with weights of its own that can "
                f"be exported ({', '.join(others)}), got {options.image.name!r}; a network that "
                "learns from your clips is video_gru or video_attention"
            )

    def inputs(self) -> dict[str, Any]:
        """Say what `Video.collate` needs: the canvas."""
        return self._image.inputs()

    def weights_digest(self) -> str:
        """Digest all that decides what the image encoder computes, its weights among it."""
        return hashlib.sha256(self._image.fingerprint(preprocessing={}).encode()).hexdigest()

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector."""
        return self._image.dim()

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.network`."""
        from mm_assets.encoders.networks.video_frames import FrameMean

        return FrameMean(self._image.network()).eval()

    def sequence_network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network that gives a vector per frame; see `Encoder.sequence_network`."""
        from mm_assets.encoders.networks.video_frames import FrameSequence

        return FrameSequence(self._image.network()).eval()


ENCODER = VideoFrames
