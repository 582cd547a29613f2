"""Patches of a signal that attend to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder, LearnedOptions

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class SignalTransformerOptions(LearnedOptions):
    """How a signal is cut, and how large the network is."""

    max_s: Annotated[float, Field(gt=0)] = 30.0
    patch: Annotated[int, Field(ge=2, le=4096)] = 16  # samples
    layers: Annotated[int, Field(ge=1, le=24)] = 2
    heads: Annotated[int, Field(ge=1)] = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    noise: Annotated[float, Field(ge=0, le=1)] = 0.05  # put on training signals, re their deviation
    masked: Annotated[float, Field(gt=0, lt=1)] = 0.4  # share of patches to be predicted
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3

    @model_validator(mode="after")
    def _heads_fit(self) -> SignalTransformerOptions:
        if self.dim % (2 * self.heads):
            raise ValueError(f"`dim` {self.dim} must be a multiple of 2 `heads` = {2 * self.heads}")
        return self


class SignalTransformer(LearnedEncoder):
    """Patches of all channels, sines for their places, and attention.

    `masked` predicts hidden patches from those beside them.
    """

    name: ClassVar[str] = "signal_transformer"
    kind: ClassVar[str] = "signal"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised", "masked", "contrastive")
    input_shape: ClassVar[str] = "float32 (batch, channels, time) and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, dim)"
    size: ClassVar[str] = "100 k parameters by default"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = (
        "Nie et al. 2023 (PatchTST), https://arxiv.org/abs/2211.14730; "
        "Vaswani et al. 2017, https://arxiv.org/abs/1706.03762"
    )
    options_model: ClassVar[type[base.Options]] = SignalTransformerOptions
    options: SignalTransformerOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Signal.collate` needs: the cut."""
        return {"max_s": self.options.max_s}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`.

        Args:
            constants: ``mean`` and ``scale``, float32 (channel,).
        """
        from mm_assets.encoders.networks.signal_transformer import SignalTransformer as Network

        asked = self.options
        return Network(
            constants["mean"],
            constants["scale"],
            dim=asked.dim,
            patch=asked.patch,
            layers=asked.layers,
            heads=asked.heads,
            dropout=asked.dropout,
            noise=asked.noise,
            masked=asked.masked,
        )


ENCODER = SignalTransformer
