"""A small convolutional network over log-mel spectrograms, fitted on training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder, LearnedOptions

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from mm_assets.encoders.networks.hearing import Hearing

Share = Annotated[float, Field(ge=0, le=0.5)]


class MelCnnOptions(LearnedOptions):
    """What is heard, how wide the network is, and what it has to bear while it is fitted.

    `dim` decides what it costs: the last stage has half as many channels.
    """

    dim: Annotated[int, Field(ge=32, le=2048, multiple_of=8)] = 128
    epochs: Annotated[int, Field(ge=1, le=1000)] = 30
    learning_rate: Annotated[float, Field(gt=0)] = 4e-3
    rate_hz: Annotated[int, Field(ge=4000, le=48_000)] = 16_000  # 8000 for sound of the telephone
    max_s: Annotated[float, Field(ge=0.1, le=600)] = 15.0
    bands: Annotated[int, Field(ge=16, le=128)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    snr_db: float = 0.0  # of white noise: drawn between this, the strongest, and 30 dB above
    tract: Share = 0.15  # natural logarithm of all frequencies' scale: voices of other sizes
    tempo: Share = 0.2  # natural logarithm of its scale
    crop: Annotated[float, Field(ge=0, le=0.4)] = 0.1  # of the duration, at each end
    hidden: Share = 0.2  # widest stripe of frames and of bands, of which two are hidden


def build_hearing(options: MelCnnOptions) -> Hearing:
    """Build what turns sound into log-mel bands, and distorts it while a network is fitted."""
    from mm_assets.encoders.networks.hearing import Hearing

    return Hearing(
        rate_hz=options.rate_hz,
        bands=options.bands,
        snr_db=options.snr_db,
        tract=options.tract,
        tempo=options.tempo,
        crop=options.crop,
        hidden=options.hidden,
    )


class MelCnn(LearnedEncoder):
    """Six 3 x 3 convolutions with ways around them; a minute's fit for a thousand short clips."""

    name: ClassVar[str] = "mel_cnn"
    kind: ClassVar[str] = "audio"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised", "contrastive")
    input_shape: ClassVar[str] = "float32 (batch, time) at rate_hz and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, logits), or (batch, dim)"
    size: ClassVar[str] = "77 k parameters"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = (
        "Tang & Lin 2018, https://arxiv.org/abs/1710.10361; "
        "Park et al. 2019, https://arxiv.org/abs/1904.08779 (SpecAugment)"
    )
    options_model: ClassVar[type[base.Options]] = MelCnnOptions
    options: MelCnnOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Audio.collate` needs: rate and cut."""
        return {"rate_hz": self.options.rate_hz, "max_s": self.options.max_s}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`."""
        from mm_assets.encoders.networks.mel_cnn import MelCnn as Network

        asked = self.options
        return Network(build_hearing(asked), dim=asked.dim, dropout=asked.dropout)


ENCODER = MelCnn
