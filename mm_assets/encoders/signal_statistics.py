"""How a signal is distributed, how it changes and at which frequencies, in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class SignalStatisticsOptions(base.Options):
    """What is summarised."""

    channels: Annotated[int, Field(ge=1, le=1024)] = 1  # as the modality's
    max_s: Annotated[float, Field(gt=0)] = 60.0
    segment: Annotated[int, Field(ge=8, le=8192)] = 256  # samples per Fourier transform


class SignalStatistics(base.Encoder):
    """Moments, quantiles, Hjorth parameters and Welch's spectrum; no weights, nothing to fit."""

    name: ClassVar[str] = "signal_statistics"
    kind: ClassVar[str] = "signal"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    input_shape: ClassVar[str] = "float32 (batch, channels, time) and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, 30 per channel + 1 per pair of channels + 1)"
    size: ClassVar[str] = "no weights"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = (
        "Hjorth 1970, https://doi.org/10.1016/0013-4694(70)90143-4; "
        "Welch 1967, https://doi.org/10.1109/TAU.1967.1161901; "
        "Esteller et al. 2001 (line length), https://doi.org/10.1109/IEMBS.2001.1020545"
    )
    options_model: ClassVar[type[base.Options]] = SignalStatisticsOptions
    options: SignalStatisticsOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Signal.collate` needs: the number of channels, and the cut."""
        return {"channels": self.options.channels, "max_s": self.options.max_s}

    def weights_digest(self) -> str:
        """Give an empty text: there are no weights."""
        return ""

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector."""
        channels = int(self.options.channels)
        return 30 * channels + channels * (channels - 1) // 2 + 1

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.network`."""
        from mm_assets.encoders.networks.signal_statistics import SignalStatistics as Network

        return Network(self.options.channels, self.options.segment).eval()


ENCODER = SignalStatistics
