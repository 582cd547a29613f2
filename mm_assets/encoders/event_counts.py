"""Histories as counts per type and window, sums of values, and gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

Seconds = Annotated[float, Field(gt=0)]


class EventCountsOptions(base.Options):
    """Over which windows events are counted, all of them ending with the last event."""

    # An hour, a day, a week, thirty days; everything is counted besides.
    windows_s: list[Seconds] = Field([3600.0, 86_400.0, 604_800.0, 2_592_000.0])
    max_types: Annotated[int, Field(ge=1, le=4096)] = 64  # the most frequent ones have counts
    max_events: Annotated[int, Field(ge=1)] = 512  # of a history, the last ones


class EventCounts(base.Encoder):
    """Per window and type the logarithm of how often; values per type; how far apart events lie.

    Types that training rows do not have, and their rarest, are counted together. The numbers grow
    with the logarithm of counts, sums and seconds, as ``sign(x) ln(1 + |x|)``.
    """

    name: ClassVar[str] = "event_counts"
    kind: ClassVar[str] = "events"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    fitted: ClassVar[bool] = True
    input_shape: ClassVar[str] = "int64 (batch, steps) and float32 (batch, steps, 4)"
    output_shape: ClassVar[str] = "float32 (batch, (windows + 2) (types + 1) + 5)"
    size: ClassVar[str] = "8 bytes a type"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = (
        "recency, frequency and monetary value: Fader, Hardie & Lee 2005, "
        "https://doi.org/10.1509/jmkr.2005.42.4.415"
    )
    options_model: ClassVar[type[base.Options]] = EventCountsOptions
    options: EventCountsOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Events.collate` needs: the cut."""
        return {"max_events": self.options.max_events}

    def weights_digest(self) -> str:
        """Give an empty text: there are no weights."""
        return ""

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector, which the known types decide."""
        slots = len(self.require_state(state)["types"]) + 1
        return (len(self.options.windows_s) + 2) * slots + 5

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network.

        Args:
            state: ``types``, int64 (known,), the hashes of the types that have counts of their own,
                as `mm_assets.training.encoder_fitting.fit_encoder` gives them.
        """
        import torch

        from mm_assets.encoders.networks.event_counts import EventCounts as Network

        known = torch.from_numpy(self.require_state(state)["types"])
        return Network(known, self.options.windows_s).eval()


ENCODER = EventCounts
