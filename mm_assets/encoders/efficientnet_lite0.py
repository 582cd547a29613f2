"""EfficientNet-Lite0 with ImageNet weights: one 1280-d vector per picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.weights import PUBLISHED, digest_weights, find_weights

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class EfficientNetLite0Options(base.Options):
    """The canvas."""

    # Weights were trained at 224; smaller is faster, and enough for small pictures.
    size_px: Annotated[int, Field(ge=32, le=1024)] = 224


class EfficientNetLite0(base.Encoder):
    """Mobile-sized convolutional network; 4.7 M parameters, 75.1 % on ImageNet at 224 px."""

    name: ClassVar[str] = "efficientnet_lite0"
    kind: ClassVar[str] = "image"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    input_shape: ClassVar[str] = "uint8 (batch, size_px, size_px, 3)"
    output_shape: ClassVar[str] = "float32 (batch, 1280)"
    size: ClassVar[str] = "4.7 M parameters, 17 MB"
    licence: ClassVar[str] = "Apache-2.0 (weights: TensorFlow TPU models, EfficientNet-Lite)"
    source: ClassVar[str] = "Tan & Le 2019, https://arxiv.org/abs/1905.11946"
    options_model: ClassVar[type[base.Options]] = EfficientNetLite0Options
    options: EfficientNetLite0Options

    def inputs(self) -> dict[str, Any]:
        """Say what `Picture.collate` needs: the canvas."""
        return {"size_px": self.options.size_px}

    def weights_digest(self) -> str:
        """Give the SHA-256 of the weights; see `Encoder.weights_digest`."""
        return digest_weights(self.weights, self.name)

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector."""
        return 1280

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.network`."""
        from mm_assets.encoders.networks.efficientnet_lite0 import load_efficientnet_lite0

        folder = find_weights(self.weights, self.name)
        return load_efficientnet_lite0(folder / next(iter(PUBLISHED[self.name].files)))


ENCODER = EfficientNetLite0
