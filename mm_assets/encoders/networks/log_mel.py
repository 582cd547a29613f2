"""Log-mel spectrograms as matrix products, so that the exported graph and this module agree."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

WINDOW_S, HOP_S = 0.025, 0.01
LOWEST_HZ = 60.0  # below lies hum
FLOOR_SHARE = 0.01  # of a recording's mean power, where `raise_floor` puts the floor
LOUD_NATS = 4.0  # below the loudest frame, 17 dB, where frames begin to count less
FLOOR = 1e-6  # power of a band that counts as none; 16-bit rounding noise lies there


def to_mel(frequency_hz: float) -> float:
    """Give a pitch in mel, by O'Shaughnessy's formula, as torchaudio and HTK have it."""
    return 2595 * math.log10(1 + frequency_hz / 700)


class LogMel(nn.Module):
    """Short-time power in mel bands, in nats, as torchaudio's `MelSpectrogram` with Hann windows.

    Frames lie wholly inside the recording, one each 10 ms.

    Args:
        rate_hz: Of the samples.
        bands: Triangular filters, evenly spaced in mel from 60 Hz to half the rate.

    Attributes:
        centre_hz: Of the filters.

    Source:
        Davis & Mermelstein 1980, https://doi.org/10.1109/TASSP.1980.1163420
    """

    spectrum: Tensor
    mel: Tensor
    centre_hz: Tensor

    def __init__(self, *, rate_hz: int, bands: int) -> None:
        super().__init__()
        from torchaudio.functional import melscale_fbanks

        self.window, self.hop = round(WINDOW_S * rate_hz), round(HOP_S * rate_hz)
        size = 2 ** math.ceil(math.log2(self.window))
        window = torch.hann_window(self.window, dtype=torch.float64)
        time = torch.arange(self.window, dtype=torch.float64)
        angle = 2 * math.pi * time[:, None] * torch.arange(size // 2 + 1) / size
        basis = window[:, None] * torch.cat([torch.cos(angle), torch.sin(angle)], dim=1)
        mel = melscale_fbanks(size // 2 + 1, LOWEST_HZ, rate_hz / 2, bands, rate_hz)
        edges = torch.linspace(to_mel(LOWEST_HZ), to_mel(rate_hz / 2), bands + 2)
        self.register_buffer("centre_hz", 700 * (10 ** (edges[1:-1] / 2595) - 1), persistent=False)
        self.register_buffer("spectrum", basis.float(), persistent=False)
        self.register_buffer("mel", mel, persistent=False)

    def forward(
        self, samples: Float[Tensor, "batch time"], length: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frame band"], Int[Tensor, " batch"]]:
        """Give the spectrogram, and how many of its frames are no padding, at least one."""
        # A window of zeros behind gives the shortest recording a frame; overlapping views would
        # make the product that follows several times slower than a copy does.
        padded = nn.functional.pad(samples, (0, self.window))
        frames = padded.unfold(1, self.window, self.hop).contiguous()
        real, imaginary = (frames @ self.spectrum).chunk(2, dim=2)  # (batch, frame, bin)
        bands = (real.square() + imaginary.square()) @ self.mel
        count = (length - self.window).clamp(min=0) // self.hop + 1
        return torch.log(bands + FLOOR), count


def find_valid(
    count: Int[Tensor, " batch"], log_mel: Float[Tensor, "batch frame band"]
) -> Bool[Tensor, "batch frame"]:
    """Tell frames from padding."""
    return torch.arange(log_mel.shape[1], device=count.device) < count[:, None]


def raise_floor(
    log_mel: Float[Tensor, "batch frame band"], valid: Bool[Tensor, "batch frame"]
) -> Float[Tensor, "batch frame band"]:
    """Add power 20 dB below the recording's mean to every band: quieter rooms sound like others."""
    power = torch.exp(log_mel) * valid[:, :, None]
    mean = power.sum(dim=(1, 2), keepdim=True) / (
        valid.sum(dim=1)[:, None, None] * log_mel.shape[2]
    )
    return torch.log(torch.exp(log_mel) + FLOOR_SHARE * mean)


def normalize_bands(
    log_mel: Float[Tensor, "batch frame band"], valid: Bool[Tensor, "batch frame"]
) -> Float[Tensor, "batch frame band"]:
    """Take each band's mean over the recording away, and scale the whole to a variance near 1.

    What microphone, distance and gain do to a band is the same in all its frames. Loud frames
    alone decide mean and variance, however much silence there is around them. Padding gets 0.

    Source:
        Atal 1974, https://doi.org/10.1121/1.1914702 (mean subtraction)
    """
    loudness = torch.logsumexp(log_mel, dim=2, keepdim=True)  # (batch, frame, 1)
    loudness = torch.where(valid[:, :, None], loudness, -1e9)
    below = loudness.amax(dim=1, keepdim=True) - loudness  # nats
    weight = torch.sigmoid(2 * (LOUD_NATS - below)) * valid[:, :, None]
    count = weight.sum(dim=1, keepdim=True)
    mean = (log_mel * weight).sum(dim=1, keepdim=True) / count
    centred = (log_mel - mean) * valid[:, :, None]
    variance = (centred.square() * weight).sum(dim=(1, 2), keepdim=True)
    variance = variance / (count * log_mel.shape[2])
    return centred / (variance.sqrt() + 0.1)  # a tenth of a neper keeps silence from growing
