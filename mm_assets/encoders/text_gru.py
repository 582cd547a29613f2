"""Texts word by word, in both directions: a recurrent network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder
from mm_assets.encoders.text_cnn import WordsOptions

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class TextGRUOptions(WordsOptions):
    """Which recurrent unit; fewer and larger steps than others take, since each one is slow."""

    dim: Annotated[int, Field(ge=2, le=2048, multiple_of=2)] = 64  # half of it a direction
    cell: Literal["gru", "lstm"] = "gru"
    epochs: Annotated[int, Field(ge=1, le=1000)] = 15
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 5e-3


class TextGRU(LearnedEncoder):
    """A recurrent network over words, whose steps are weighed by attention."""

    name: ClassVar[str] = "text_gru"
    kind: ClassVar[str] = "text"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    sequential: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised", "masked", "contrastive")
    input_shape: ClassVar[str] = "int64 (batch, steps), twice"
    output_shape: ClassVar[str] = "float32 (batch, logits of all targets), or (batch, dim)"
    size: ClassVar[str] = "28 k parameters by default and 64 a known word"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = (
        "Cho et al. 2014, https://arxiv.org/abs/1406.1078; "
        "Yang et al. 2016, https://aclanthology.org/N16-1174/"
    )
    options_model: ClassVar[type[base.Options]] = TextGRUOptions
    options: TextGRUOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Text.collate` needs: how words are numbered, and the cut."""
        return {"word_bits": self.options.bits, "max_words": self.options.max_words}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`.

        Args:
            constants: ``lookup``, as `mm_assets.training.encoder_fitting.fit_words` gives it.
        """
        import torch

        from mm_assets.encoders.networks.text_gru import TextGRU as Network
        from mm_assets.encoders.networks.words import Words

        asked = self.options
        words = Words(
            torch.from_numpy(constants["lookup"]), dim=asked.dim, dropout=asked.word_dropout
        )
        return Network(words, cell=asked.cell, dropout=asked.dropout)


ENCODER = TextGRU
