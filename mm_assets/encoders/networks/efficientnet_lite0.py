"""EfficientNet-Lite0 from uint8 pixels to pooled features.

It is written out here, since to import timm takes longer than to encode a hundred pictures;
`timm_backbone` is the encoder for all others.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

STEM, HEAD, CLASSES = 32, 1280, 1000
EPS = 1e-3  # of the batch normalisation that the weights were trained with
# Times wider inside, channels out, kernel, stride of the first block, blocks.
STAGES = (
    (1, 16, 3, 1, 1),
    (6, 24, 3, 2, 2),
    (6, 40, 5, 2, 2),
    (6, 80, 3, 2, 3),
    (6, 112, 5, 1, 3),
    (6, 192, 5, 2, 4),
    (6, 320, 3, 1, 1),
)


class SameConv(nn.Conv2d):
    """A convolution with bias that pads as TensorFlow's ``SAME``: what is odd goes to the end."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)

    def forward(
        self, maps: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs rows columns"]:
        """Convolve; a side of n pixels becomes ceil(n / stride).

        Source:
            https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2.
        """
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        height, width = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in maps.shape[2:]
        )
        before = height // 2, width // 2
        if height % 2 or width % 2:  # else the convolution pads by itself, without a copy
            right, bottom = width - before[1], height - before[0]
            maps, before = F.pad(maps, (before[1], right, before[0], bottom)), (0, 0)
        return F.conv2d(maps, self.weight, self.bias, stride, before, 1, self.groups)


class InvertedResidual(nn.Module):
    """Widen, convolve each channel, narrow; what came is added where the shape stays."""

    def __init__(self, inputs: int, outputs: int, *, wider: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = wider * inputs
        self.widen = SameConv(inputs, inner, 1) if wider > 1 else None
        self.convolve = SameConv(inner, inner, kernel, stride=stride, groups=inner)
        self.narrow = SameConv(inner, outputs, 1)
        self.adds = stride == 1 and inputs == outputs

    def forward(
        self, maps: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs rows columns"]:
        """Apply the block."""
        inner = maps if self.widen is None else F.relu6(self.widen(maps))
        found = self.narrow(F.relu6(self.convolve(inner)))
        return cast(Tensor, found + maps if self.adds else found)


class EfficientNetLite0(nn.Module):
    """Convolutional features, averaged over the picture.

    The published weights expect RGB as ``(value - 127) / 128``. Their batch normalisation, which
    does not change any more, is part of the convolutions.

    Source:
        Tan & Le 2019, https://arxiv.org/abs/1905.11946; the Lite variants (no squeeze-and-excite,
        ReLU6): https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, stride=2)
        blocks, inputs = [], STEM
        for wider, outputs, kernel, stride, count in STAGES:
            for place in range(count):
                step = 1 if place else stride
                blocks.append(
                    InvertedResidual(inputs, outputs, wider=wider, kernel=kernel, stride=step)
                )
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = SameConv(inputs, HEAD, 1)
        self.classifier = nn.Linear(HEAD, CLASSES)

    def forward(self, pixels: UInt8[Tensor, "batch size size 3"]) -> Float[Tensor, "batch dim"]:
        """Embed pictures.

        Args:
            pixels: RGB.

        Returns:
            1280 non-negative features, float32.
        """
        maps = self.blocks(F.relu6(self.stem(_normalize(pixels))))
        pooled: Tensor = F.relu6(self.head(maps)).mean(dim=(2, 3))
        return pooled

    def classify(self, pixels: UInt8[Tensor, "batch size size 3"]) -> Float[Tensor, "batch class"]:
        """Give the logits of ImageNet's 1000 classes, which show that the weights landed right."""
        logits: Tensor = self.classifier(self(pixels))
        return logits


def _normalize(pixels: Tensor) -> Tensor:
    """Scale to about [-1, 1], float32 (batch, 3, size, size)."""
    return ((pixels.float() - 127) / 128).permute(0, 3, 1, 2)


def load_efficientnet_lite0(file: Path) -> EfficientNetLite0:
    """Load the weights, in evaluation mode.

    The file names its layers otherwise but lists them in the same order, and every shape must
    agree. What no shape can show, real photographs named rightly do (in the tests).
    """
    network = EfficientNetLite0()
    network.load_state_dict(fold_normalization(network, torch.load(file, weights_only=True)))
    return network.to(memory_format=torch.channels_last).eval()


def fold_normalization(
    network: EfficientNetLite0, published: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Make each convolution and the batch normalisation after it one convolution.

    Args:
        network: Whose names are wanted.
        published: A kernel and five arrays of normalisation for each convolution, then the
            classifier's two, in the order in which the network applies them.

    Returns:
        By the network's names.

    Source:
        Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167, algorithm 2.
    """
    arrays, state = iter(published.values()), {}
    names = [name for name, layer in network.named_modules() if isinstance(layer, SameConv)]
    for name in names:
        kernel, gain, shift, mean, variance, _ = itertools.islice(arrays, 6)
        scale = gain / torch.sqrt(variance + EPS)
        state[f"{name}.weight"] = kernel * scale[:, None, None, None]
        state[f"{name}.bias"] = shift - mean * scale
    state["classifier.weight"], state["classifier.bias"] = arrays
    return state
