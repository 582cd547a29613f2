"""How something is said: functionals of MFCC, pitch, voicing and loudness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class VoiceFunctionalsOptions(base.Options):
    """How much of a recording is heard."""

    max_s: Annotated[float, Field(ge=0.1, le=600)] = 15.0


class VoiceFunctionals(base.Encoder):
    """106 numbers in the manner of openSMILE's sets; no weights, nothing to fit."""

    name: ClassVar[str] = "voice_functionals"
    kind: ClassVar[str] = "audio"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    input_shape: ClassVar[str] = "float32 (batch, time) at 16 kHz and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, 106)"
    size: ClassVar[str] = "no weights"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = (
        "Eyben et al. 2016, https://doi.org/10.1109/TAFFC.2015.2457417; "
        "Boersma 1993, IFA Proceedings 17, 97-110"
    )
    options_model: ClassVar[type[base.Options]] = VoiceFunctionalsOptions
    options: VoiceFunctionalsOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Audio.collate` needs: 16 kHz, and the cut."""
        return {"rate_hz": 16_000, "max_s": self.options.max_s}

    def weights_digest(self) -> str:
        """Give an empty text: there are no weights."""
        return ""

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector."""
        return 106

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.network`."""
        from mm_assets.encoders.networks.voice_functionals import VoiceFunctionals as Network

        return Network().eval()


ENCODER = VoiceFunctionals
