"""Google's speech embedding: what is said, in 96 numbers each 80 ms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.weights import digest_weights, find_weights

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class SpeechEmbeddingOptions(base.Options):
    """How much of a recording is heard."""

    max_s: Annotated[float, Field(ge=0.1, le=600)] = 15.0


class SpeechEmbedding(base.Encoder):
    """Small convolutional network, trained to tell 125 000 spoken keyphrases of videos apart."""

    name: ClassVar[str] = "speech_embedding"
    kind: ClassVar[str] = "audio"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    sequential: ClassVar[bool] = True
    input_shape: ClassVar[str] = "float32 (batch, time) at 16 kHz and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, 96), or (batch, steps, 96)"
    size: ClassVar[str] = "0.33 M parameters, 2.4 MB"
    licence: ClassVar[str] = "Apache-2.0 (weights: Google speech_embedding, by openWakeWord)"
    source: ClassVar[str] = "Lin et al. 2020, https://arxiv.org/abs/2002.01322"
    options_model: ClassVar[type[base.Options]] = SpeechEmbeddingOptions
    options: SpeechEmbeddingOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Audio.collate` needs: 16 kHz, and the cut."""
        return {"rate_hz": 16_000, "max_s": self.options.max_s}

    def weights_digest(self) -> str:
        """Give the SHA-256 of the weights; see `Encoder.weights_digest`."""
        return digest_weights(self.weights, self.name)

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector."""
        return 96

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network, which averages over steps; see `Encoder.network`."""
        from mm_assets.encoders.networks.mean_over_steps import MeanOverSteps

        return MeanOverSteps(self.sequence_network(state)).eval()

    def sequence_network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.sequence_network`."""
        from mm_assets.encoders.networks.speech_embedding import load_speech_embedding

        return load_speech_embedding(find_weights(self.weights, self.name))


ENCODER = SpeechEmbedding
