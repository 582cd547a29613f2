"""Texts by the short phrases in them: a convolutional network over words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder, LearnedOptions

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


Width = Annotated[int, Field(ge=1, le=16)]


class WordsOptions(LearnedOptions):
    """Which words a network knows, and how it is kept from learning texts by heart."""

    max_words: Annotated[int, Field(ge=1, le=4096)] = 256  # of a text that are read
    bits: Annotated[int, Field(ge=8, le=20)] = 17  # words are hashed into 2^bits buckets
    least_count: Annotated[int, Field(ge=1)] = 2  # rarer words share one vector, as unseen ones do
    word_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of words seen as unknown
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5


class TextCNNOptions(WordsOptions):
    """How long the phrases are, in words."""

    shortest: Width = 2
    longest: Width = 4

    @model_validator(mode="after")
    def _are_in_order(self) -> TextCNNOptions:
        if self.shortest > self.longest:
            raise ValueError(f"`shortest` {self.shortest} must not exceed `longest` {self.longest}")
        return self


class TextCNN(LearnedEncoder):
    """A convolution over words for each length of phrase, and its maximum over the text."""

    name: ClassVar[str] = "text_cnn"
    kind: ClassVar[str] = "text"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised", "contrastive")
    input_shape: ClassVar[str] = "int64 (batch, steps), twice"
    output_shape: ClassVar[str] = "float32 (batch, logits of all targets), or (batch, dim)"
    size: ClassVar[str] = "50 k parameters by default and 64 a known word"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = "Kim 2014, https://arxiv.org/abs/1408.5882"
    options_model: ClassVar[type[base.Options]] = TextCNNOptions
    options: TextCNNOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Text.collate` needs: how words are numbered, and the cut."""
        return {"word_bits": self.options.bits, "max_words": self.options.max_words}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`.

        Args:
            constants: ``lookup``, as `mm_assets.training.encoder_fitting.fit_words` gives it.
        """
        import torch

        from mm_assets.encoders.networks.text_cnn import TextCNN as Network
        from mm_assets.encoders.networks.words import Words

        asked = self.options
        words = Words(
            torch.from_numpy(constants["lookup"]), dim=asked.dim, dropout=asked.word_dropout
        )
        widths = range(asked.shortest, asked.longest + 1)
        return Network(words, widths=widths, dropout=asked.dropout)


ENCODER = TextCNN
