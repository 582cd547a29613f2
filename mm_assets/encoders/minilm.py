"""all-MiniLM-L6-v2: one 384-d unit vector per English text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.weights import digest_weights, find_weights

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class MiniLMOptions(base.Options):
    """How much of a text is read."""

    max_tokens: Annotated[int, Field(ge=3, le=512)] = 128  # two of them are special


class MiniLM(base.Encoder):
    """Six-layer distilled BERT, trained on a billion sentence pairs; 22.7 M parameters."""

    name: ClassVar[str] = "minilm"
    kind: ClassVar[str] = "text"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    sequential: ClassVar[bool] = True  # a step is a token, special ones too
    input_shape: ClassVar[str] = "int64 ids and mask (batch, steps)"
    output_shape: ClassVar[str] = "float32 (batch, 384), or (batch, steps, 384)"
    size: ClassVar[str] = "22.7 M parameters, 84 MB"
    licence: ClassVar[str] = "Apache-2.0 (weights: sentence-transformers/all-MiniLM-L6-v2)"
    source: ClassVar[str] = (
        "Reimers & Gurevych 2019, https://arxiv.org/abs/1908.10084; "
        "Wang et al. 2020, https://arxiv.org/abs/2002.10957"
    )
    options_model: ClassVar[type[base.Options]] = MiniLMOptions
    options: MiniLMOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Text.collate` needs: the tokenizer's file and the cut."""
        tokenizer = find_weights(self.weights, self.name) / "tokenizer.json"
        return {"tokenizer": str(tokenizer), "max_tokens": self.options.max_tokens}

    def weights_digest(self) -> str:
        """Give the SHA-256 of the weights; see `Encoder.weights_digest`."""
        return digest_weights(self.weights, self.name)

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector."""
        return 384

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.network`."""
        from mm_assets.encoders.networks.sentence_bert import load_sentence_bert

        return load_sentence_bert(find_weights(self.weights, self.name))

    def sequence_network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network that does not pool; see `Encoder.sequence_network`."""
        from mm_assets.encoders.networks.sentence_bert import load_bert

        return load_bert(find_weights(self.weights, self.name))


ENCODER = MiniLM
