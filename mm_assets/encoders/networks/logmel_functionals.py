"""Statistics of log-mel bands over a recording."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mm_assets.encoders.networks.log_mel import LogMel, find_valid

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FUNCTIONALS = 3 + len(QUANTILES)


class LogMelFunctionals(nn.Module):
    """Mean, standard deviation, quantiles and mean change of every band.

    Args:
        rate_hz: Of the samples.
        bands: Of the spectrogram.
    """

    def __init__(self, *, rate_hz: int, bands: int) -> None:
        super().__init__()
        self.log_mel = LogMel(rate_hz=rate_hz, bands=bands)
        self.dim = FUNCTIONALS * bands

    def forward(
        self, samples: Float[Tensor, "batch time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed recordings.

        Args:
            samples: Mono, zero padded at the end.
            length: True number of samples of each, at least 1.

        Returns:
            Blocks of one number per band: mean, standard deviation, quantiles (as numpy's, linear
            between neighbours) and root mean square of the change from frame to frame.
        """
        log_mel, count = self.log_mel(samples, length)
        valid = find_valid(count, log_mel)[:, :, None]  # (batch, frame, 1)
        frames = count.to(log_mel.dtype)[:, None]  # (batch, 1)
        mean = (log_mel * valid).sum(dim=1) / frames
        variance = ((log_mel - mean[:, None]).square() * valid).sum(dim=1) / frames
        change = (log_mel[:, 1:] - log_mel[:, :-1]).square() * valid[:, 1:]
        change = change.sum(dim=1) / (frames - 1).clamp(min=1)

        # Padding is sorted behind all frames.
        ordered = torch.where(valid, log_mel, 1e9).sort(dim=1).values
        blocks = [mean, torch.sqrt(variance + 1e-9)]
        for quantile in QUANTILES:
            place = quantile * (frames - 1)  # (batch, 1)
            below, above = place.floor().long(), place.ceil().long()

            def take(at: Tensor) -> Tensor:
                index = at[:, :, None].expand(-1, -1, ordered.shape[2])
                return ordered.gather(1, index).squeeze(1)

            blocks.append(torch.lerp(take(below), take(above), place - below))
        return torch.cat([*blocks, torch.sqrt(change + 1e-9)], dim=1)
