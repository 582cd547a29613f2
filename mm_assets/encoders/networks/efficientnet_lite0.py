"""EfficientNet-Lite0 from uint8 pixels to pooled features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn


class EfficientNetLite0(nn.Module):
    """Convolutional features, averaged over the picture.

    The published weights expect RGB as ``(value - 127) / 128``.

    Source:
        Tan & Le 2019, https://arxiv.org/abs/1905.11946; the Lite variants (no squeeze-and-excite,
        ReLU6): https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    """

    backbone: Any  # timm's, which is untyped

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: UInt8[Tensor, "batch size size 3"]) -> Float[Tensor, "batch dim"]:
        """Embed pictures.

        Args:
            pixels: RGB.

        Returns:
            1280 non-negative features, float32.
        """
        maps = self.backbone.forward_features(_normalize(pixels))  # (batch, 1280, size/32, size/32)
        pooled: Tensor = self.backbone.forward_head(maps, pre_logits=True)
        return pooled

    def classify(self, pixels: UInt8[Tensor, "batch size size 3"]) -> Float[Tensor, "batch class"]:
        """Give the logits of ImageNet's 1000 classes, which show that the weights landed right."""
        logits: Tensor = self.backbone.classifier(self(pixels))
        return logits


def _normalize(pixels: Tensor) -> Tensor:
    """Scale to about [-1, 1], float32 (batch, 3, size, size)."""
    return ((pixels.float() - 127) / 128).permute(0, 3, 1, 2)


def load_efficientnet_lite0(file: Path) -> EfficientNetLite0:
    """Load the weights into timm's network, in evaluation mode.

    The file names its layers otherwise than timm but lists them in the same order, and every
    shape must agree. What no shape can show, real photographs named rightly do (in the tests).
    """
    from timm.models.efficientnet import tf_efficientnet_lite0

    backbone = tf_efficientnet_lite0(pretrained=False)
    published = torch.load(file, weights_only=True)
    state = dict(zip(backbone.state_dict(), published.values(), strict=True))
    backbone.load_state_dict(state)
    return EfficientNetLite0(backbone.to(memory_format=torch.channels_last)).eval()
