"""What spectrogram networks hear: normalised log-mel bands, distorted while they are fitted."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mm_assets.encoders.networks.log_mel import (
    LogMel,
    find_valid,
    normalize_bands,
    raise_floor,
)
from mm_assets.encoders.networks.spectrogram_augment import add_noise, mask_stripes, warp


class Hearing(nn.Module):
    """Log-mel bands without what microphone and distance do to them.

    In training mode noise is added, bands are shifted, time is stretched and cut at both ends, and stripes are hidden,
    so that a network learns what is said and not who says it where.

    Args:
        rate_hz: Of the samples.
        bands: Of the spectrogram.
        snr_db: Strongest noise, see `add_noise`.
        tract: See `warp`.
        tempo: See `warp`.
        crop: See `warp`.
        hidden: Widest hidden stripe, see `mask_stripes`.
    """

    def __init__(
        self,
        *,
        rate_hz: int,
        bands: int,
        snr_db: float,
        tract: float,
        tempo: float,
        crop: float,
        hidden: float,
    ) -> None:
        super().__init__()
        self.snr_db, self.tract, self.tempo = snr_db, tract, tempo
        self.crop, self.hidden = crop, hidden
        self.log_mel = LogMel(rate_hz=rate_hz, bands=bands)

    def forward(
        self, samples: Float[Tensor, "batch time"], length: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frame band"], Bool[Tensor, "batch frame"]]:
        """Give the spectrogram, 0 where it is padding, and which of its frames are none."""
        if self.training:
            samples = add_noise(samples, length, snr_db=self.snr_db)
        log_mel, count = self.log_mel(samples, length)
        if self.training:
            log_mel, count = warp(
                log_mel,
                count,
                self.log_mel.centre_hz,
                tract=self.tract,
                tempo=self.tempo,
                crop=self.crop,
            )
        valid = find_valid(count, log_mel)
        log_mel = normalize_bands(raise_floor(log_mel, valid), valid)
        if self.training:
            log_mel = mask_stripes(log_mel, valid, time=self.hidden, frequency=self.hidden)
        return log_mel, valid
