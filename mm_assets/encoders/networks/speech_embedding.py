"""Google's speech embedding, rebuilt from its two ONNX files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mm_assets.contracts.errors import WeightsError

HOP = 160  # samples from frame to frame: 10 ms
WINDOW = 512  # samples of a frame
SEEN, STEP = 76, 8  # frames that a vector sees, and from one vector to the next
FULL_SCALE = 32_768.0  # the front end hears 16-bit numbers
LEAST_POWER = 1e-10
RANGE_DB = 80.0  # what is further below a recording's loudest band is raised to there
DIM = 96


class SpeechEmbedding(nn.Module):
    """A vector each 80 ms, of the 775 ms around it.

    The network has no padding in time and its strides make up 8 frames, so that one pass over a
    recording gives what windows of 76 frames, 8 apart, give one by one.

    Args:
        real: Cosines of the front end's windowed transform, float32 (window, bin).
        imaginary: Its sines.
        mel: Filters, float32 (bin, band).
        layers: From (batch, 1, frame, band) to (batch, 96, step, 1).

    Source:
        Lin et al. 2020, https://arxiv.org/abs/2002.01322
    """

    real: Tensor
    imaginary: Tensor
    mel: Tensor

    def __init__(
        self,
        real: Float[Tensor, "window bin"],
        imaginary: Float[Tensor, "window bin"],
        mel: Float[Tensor, "bin band"],
        layers: nn.Module,
    ) -> None:
        super().__init__()
        self.register_buffer("real", real)
        self.register_buffer("imaginary", imaginary)
        self.register_buffer("mel", mel)
        self.layers = layers

    def forward(
        self, samples: Float[Tensor, "batch time"], length: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch step dim"], Bool[Tensor, "batch step"]]:
        """Embed recordings.

        Args:
            samples: Mono at 16 kHz in [-1, 1], zero padded at the end.
            length: True number of samples of each, at least 1.

        Returns:
            Vectors, and which of them are none of padding. A recording too short for one window
            is followed by silence until it has one.
        """
        least = WINDOW + (SEEN - 1) * HOP
        padded = nn.functional.pad(samples, (0, least))
        frames = (length.clamp(min=least) - WINDOW) // HOP + 1
        count = (frames - SEEN) // STEP + 1
        vectors = self.layers(self.hear(padded, frames)[:, None])  # (batch, dim, step, 1)
        vectors = vectors.squeeze(3).transpose(1, 2)
        valid = torch.arange(vectors.shape[1], device=samples.device) < count[:, None]
        return vectors, valid

    def hear(
        self, samples: Float[Tensor, "batch time"], count: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame band"]:
        """Give mel bands as the network wants them: in tenths of decibels, plus 2.

        Args:
            samples: In [-1, 1].
            count: Frames of each that are no padding, whose loudest band the others are held to.
        """
        cut = (samples * FULL_SCALE).unfold(1, WINDOW, HOP).contiguous()
        power = ((cut @ self.real).square() + (cut @ self.imaginary).square()) @ self.mel
        decibels = 10 / math.log(10) * torch.log(power.clamp(min=LEAST_POWER))
        valid = torch.arange(decibels.shape[1], device=samples.device) < count[:, None]
        loudest = torch.where(valid[:, :, None], decibels, -math.inf).amax(dim=(1, 2), keepdim=True)
        return torch.maximum(decibels, loudest - RANGE_DB) / 10 + 2


def load_speech_embedding(folder: Path) -> SpeechEmbedding:
    """Read the weights out of ``melspectrogram.onnx`` and ``embedding_model.onnx``.

    Raises:
        WeightsError: The files hold another network.
    """
    front, layers = _read(folder / "melspectrogram.onnx"), []
    for kind, weights, attributes in _read(folder / "embedding_model.onnx"):
        if kind in _LAYERS:
            layers.append(_LAYERS[kind](weights, attributes))
        elif kind != "Reshape":  # which moves a channel of 1 about
            raise WeightsError(
                f"speech_embedding cannot rebuild a layer {kind!r} of embedding_model.onnx; run "
                "`mm weights` to fetch the pinned one"
            )
    (real, *_), (imaginary, *_) = [weights for kind, weights, _ in front if kind == "Conv"]
    (mel,) = [weights[0] for kind, weights, _ in front if kind == "MatMul"]
    network = SpeechEmbedding(real[:, 0].T, imaginary[:, 0].T, mel, nn.Sequential(*layers))
    return network.eval().requires_grad_(False)


def _read(path: Path) -> list[tuple[str, list[Tensor], dict[str, Any]]]:
    """Give each node's operation, weights and attributes, in order."""
    import onnx

    graph = onnx.load(path).graph
    known = {
        one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy())
        for one in graph.initializer
    }
    return [
        (
            node.op_type,
            [known[name] for name in node.input if name in known],
            {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute},
        )
        for node in graph.node
    ]


def _build_convolution(weights: list[Tensor], attributes: dict[str, Any]) -> nn.Module:
    outer, inner, high, wide = weights[0].shape
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right):
        raise WeightsError(f"speech_embedding cannot pad a convolution by {attributes['pads']}")
    layer = nn.Conv2d(
        inner,
        outer,
        (high, wide),
        stride=tuple(attributes["strides"]),
        padding=(top, left),
        bias=len(weights) > 1,
    )
    layer.load_state_dict(dict(zip(("weight", "bias"), weights, strict=False)))
    return layer


class _Floor(nn.Module):
    def __init__(self, least: float) -> None:
        super().__init__()
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=self.least)


_LAYERS: dict[str, Callable[[list[Tensor], dict[str, Any]], nn.Module]] = {
    "Conv": _build_convolution,
    "LeakyRelu": lambda _, attributes: nn.LeakyReLU(attributes["alpha"]),
    "Max": lambda weights, _: _Floor(float(weights[0])),
    "MaxPool": lambda _, attributes: nn.MaxPool2d(
        tuple(attributes["kernel_shape"]), tuple(attributes["strides"])
    ),
}
