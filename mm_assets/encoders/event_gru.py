"""Histories read event by event, in the order in which they happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder, LearnedOptions

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class EventSequenceOptions(LearnedOptions):
    """How many events are read, and into how many rows their types are hashed."""

    max_events: Annotated[int, Field(ge=1, le=4096)] = 256  # of a history, the last ones
    bits: Annotated[int, Field(ge=4, le=16)] = 10  # 2^bits rows
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class EventGRU(LearnedEncoder):
    """A recurrent network over types, gaps, ages and values."""

    name: ClassVar[str] = "event_gru"
    kind: ClassVar[str] = "events"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised", "masked", "contrastive")
    input_shape: ClassVar[str] = "int64 (batch, steps) and float32 (batch, steps, 4)"
    output_shape: ClassVar[str] = "float32 (batch, logits of all targets), or (batch, dim)"
    size: ClassVar[str] = "95 k parameters by default"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = "Cho et al. 2014, https://arxiv.org/abs/1406.1078"
    options_model: ClassVar[type[base.Options]] = EventSequenceOptions
    options: EventSequenceOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Events.collate` needs: the cut."""
        return {"max_events": self.options.max_events}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`."""
        from mm_assets.encoders.networks.event_sequence import EventGRU as Network

        asked = self.options
        return Network(bits=asked.bits, dim=asked.dim, dropout=asked.dropout)


ENCODER = EventGRU
