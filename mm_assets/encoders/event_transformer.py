"""Histories whose events attend to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from mm_assets.encoders import base
from mm_assets.encoders.event_gru import EventGRU, EventSequenceOptions

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class EventTransformerOptions(EventSequenceOptions):
    """How deep, beside what `event_gru` takes."""

    layers: Annotated[int, Field(ge=1, le=24)] = 2
    heads: Annotated[int, Field(ge=1)] = 4
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3

    @model_validator(mode="after")
    def _heads_fit(self) -> EventTransformerOptions:
        if self.dim % (2 * self.heads):
            raise ValueError(f"`dim` {self.dim} must be a multiple of 2 `heads` = {2 * self.heads}")
        return self


class EventTransformer(EventGRU):
    """A transformer over types, gaps, ages and values."""

    name: ClassVar[str] = "event_transformer"
    version: ClassVar[int] = 1
    size: ClassVar[str] = "170 k parameters by default"
    source: ClassVar[str] = (
        "Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; "
        "Li et al. 2020 (BEHRT), https://arxiv.org/abs/1907.09538"
    )
    options_model: ClassVar[type[base.Options]] = EventTransformerOptions
    options: EventTransformerOptions

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`."""
        from mm_assets.encoders.networks.event_sequence import EventTransformer as Network

        asked = self.options
        return Network(
            bits=asked.bits,
            dim=asked.dim,
            dropout=asked.dropout,
            layers=asked.layers,
            heads=asked.heads,
        )


ENCODER = EventTransformer
