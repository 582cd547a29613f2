"""Torchvision's networks for video by name: ResNet 3D, R(2+1)D, S3D, MViT and Video Swin."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from mm_assets.contracts.errors import ConfigError
from mm_assets.encoders import base
from mm_assets.encoders.torchvision_backbone import choose_published, fetch_published, place_tensors
from mm_assets.encoders.weights import digest_file, read_tensors

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

# What most of the published weights were trained with; S3D and the transformers differ a little.
KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
CLASSIFIERS = ("fc", "classifier", "head")  # how the networks call what gives the classes


class TorchvisionVideoOptions(base.Options):
    """Which network, with which weights; the canvas, and how many frames.

    `weights`: One of its published weights; fetched by torchvision once, into the checkpoints
    folder of torch's hub.

    `file`: A state dictionary on this machine instead, ``.safetensors`` or what `torch.save` wrote,
    of this network with any number of classes.

    `frames`: Every clip is given as so many, the same ones more than once if it keeps fewer: set
    the modality's `options.frames` to as many.
    """

    model: Literal[
        "r3d_18",
        "mc3_18",
        "r2plus1d_18",
        "s3d",
        "mvit_v1_b",
        "mvit_v2_s",
        "swin3d_t",
        "swin3d_s",
        "swin3d_b",
    ] = "r3d_18"
    weights: str = "DEFAULT"
    file: str | None = None
    size_px: Annotated[int, Field(ge=32, le=512)] = 112  # MViT and S3D need 224
    frames: Annotated[int, Field(ge=1, le=128)] = 16  # MViT takes 16 alone


class TorchvisionVideo(base.Encoder):
    """What the last layer of a network for actions in video sees."""

    name: ClassVar[str] = "torchvision_video"
    kind: ClassVar[str] = "video"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    input_shape: ClassVar[str] = "uint8 (batch, frames, size_px, size_px, 3) and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, dim); dim 512 (r3d_18) to 1024 (s3d)"
    size: ClassVar[str] = "8 M parameters, 32 MB (s3d) to 88 M, 364 MB (swin3d_b)"
    licence: ClassVar[str] = "BSD-3-Clause; of some weights other terms: see torchvision"
    source: ClassVar[str] = (
        "https://docs.pytorch.org/vision/stable/models.html#video-classification"
    )
    options_model: ClassVar[type[base.Options]] = TorchvisionVideoOptions
    options: TorchvisionVideoOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Video.collate` needs: the canvas, and how many frames."""
        return {"size_px": self.options.size_px, "frames": self.options.frames}

    def weights_digest(self) -> str:
        """Give the SHA-256 of the file; see `Encoder.weights_digest`."""
        return digest_file(self.find_file())

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector.

        Raises:
            ConfigError: The network cannot take such clips.
        """
        asked = self.options
        try:
            return _measure(asked.model, asked.size_px, asked.frames)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"params.yaml: encoder torchvision_video: {asked.model} cannot take clips of "
                f"`frames` {asked.frames} and `size_px` {asked.size_px}: {str(error)[:200]}; it "
                "was trained with 16 of 112 (r3d_18, mc3_18, r2plus1d_18) or 224 pixels"
            ) from None

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.network`.

        Raises:
            WeightsError: The weights are absent, or those of another network.
        """
        from mm_assets.encoders.networks.torchvision_video import VideoBackbone

        self.dim()  # judges the canvas
        path, mean, std = self.find_file(), KINETICS_MEAN, KINETICS_STD
        if self.options.file is None:
            preset = choose_published(
                self.options.model, self.options.weights, encoder=self.name
            ).transforms()
            mean, std = preset.mean, preset.std
        network, classifier = _build(self.options.model)
        place_tensors(
            network,
            read_tensors(path),
            path,
            without=(f"{classifier}.",),
            encoder=self.name,
            model=self.options.model,
        )
        return VideoBackbone(network, mean=mean, std=std).eval().requires_grad_(False)

    def find_file(self) -> Path:
        """Give the weights' file, after fetching it where it is published and absent.

        Raises:
            WeightsError: It cannot be fetched, or is not the published one.
            ConfigError: No weights of this name are published.
        """
        asked = self.options
        if asked.file is not None:
            return Path(asked.file)
        published = choose_published(asked.model, asked.weights, encoder=self.name)
        return fetch_published(published, encoder=self.name)


def _build(model: str) -> tuple[nn.Module, str]:
    """Build a network with random weights, without its classifier, whose name comes second."""
    from torch import nn
    from torchvision import models

    network: nn.Module = models.get_model(model, weights=None)
    classifier = next(name for name in CLASSIFIERS if hasattr(network, name))
    setattr(network, classifier, nn.Identity())
    return network.eval(), classifier


@functools.cache
def _measure(model: str, size_px: int, frames: int) -> int:
    """Give the length of a vector, without weights."""
    import torch

    with torch.device("meta"), torch.inference_mode():
        found = _build(model)[0](torch.empty(1, 3, frames, size_px, size_px))
    return int(found.shape[1])


ENCODER = TorchvisionVideo
