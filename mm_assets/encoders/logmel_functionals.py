"""How something sounds: statistics of log-mel bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class LogMelFunctionalsOptions(base.Options):
    """What is heard."""

    rate_hz: Annotated[int, Field(ge=4000, le=48_000)] = 16_000  # 8000 for sound of the telephone
    max_s: Annotated[float, Field(ge=0.1, le=600)] = 15.0
    bands: Annotated[int, Field(ge=8, le=128)] = 40


class LogMelFunctionals(base.Encoder):
    """Eight numbers per band: where its energy lies, and how it moves; nothing to fit."""

    name: ClassVar[str] = "logmel_functionals"
    kind: ClassVar[str] = "audio"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    input_shape: ClassVar[str] = "float32 (batch, time) at rate_hz and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, 8 * bands)"
    size: ClassVar[str] = "no weights"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = (
        "Davis & Mermelstein 1980, https://doi.org/10.1109/TASSP.1980.1163420; "
        "Eyben et al. 2016, https://doi.org/10.1109/TAFFC.2015.2457417 (functionals)"
    )
    options_model: ClassVar[type[base.Options]] = LogMelFunctionalsOptions
    options: LogMelFunctionalsOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Audio.collate` needs: rate and cut."""
        return {"rate_hz": self.options.rate_hz, "max_s": self.options.max_s}

    def weights_digest(self) -> str:
        """Give an empty text: there are no weights."""
        return ""

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector."""
        return 8 * int(self.options.bands)

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.network`."""
        from mm_assets.encoders.networks.logmel_functionals import LogMelFunctionals as Network

        return Network(rate_hz=self.options.rate_hz, bands=self.options.bands).eval()


ENCODER = LogMelFunctionals
