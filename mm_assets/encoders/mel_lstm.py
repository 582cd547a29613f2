"""A recurrent network over log-mel spectrograms, fitted on training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder
from mm_assets.encoders.mel_cnn import MelCnnOptions, build_hearing

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class MelLstmOptions(MelCnnOptions):
    """As `mel_cnn`'s, and how wide the recurrent layer is."""

    dim: Annotated[int, Field(ge=2, le=2048)] = 64
    width: Annotated[int, Field(ge=4, le=1024)] = 64  # of each direction


class MelLstm(LearnedEncoder):
    """One bidirectional LSTM layer; steps of 20 ms."""

    name: ClassVar[str] = "mel_lstm"
    kind: ClassVar[str] = "audio"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised", "contrastive")
    input_shape: ClassVar[str] = "float32 (batch, time) at rate_hz and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, logits), or (batch, dim)"
    size: ClassVar[str] = "88 k parameters"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = (
        "Graves & Schmidhuber 2005, https://doi.org/10.1016/j.neunet.2005.06.042; "
        "Park et al. 2019, https://arxiv.org/abs/1904.08779 (SpecAugment)"
    )
    options_model: ClassVar[type[base.Options]] = MelLstmOptions
    options: MelLstmOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Audio.collate` needs: rate and cut."""
        return {"rate_hz": self.options.rate_hz, "max_s": self.options.max_s}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`."""
        from mm_assets.encoders.networks.mel_lstm import MelLstm as Network

        options = self.options
        return Network(
            build_hearing(options),
            bands=options.bands,
            dim=options.dim,
            width=options.width,
            dropout=options.dropout,
        )


ENCODER = MelLstm
