"""What spectrogram networks do to what they hear while they are fitted."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def add_noise(
    samples: Float[Tensor, "batch time"], length: Int[Tensor, " batch"], *, snr_db: float
) -> Float[Tensor, "batch time"]:
    """Add white noise, at a ratio drawn for each recording from `snr_db` to 30 dB above it."""
    valid = torch.arange(samples.shape[1], device=samples.device) < length[:, None]
    level = (samples.square().sum(dim=1) / length).sqrt()
    ratio_db = snr_db + 30 * torch.rand(len(samples), device=samples.device)
    noise = torch.randn_like(samples) * valid
    return samples + noise * (level * 10 ** (-ratio_db / 20))[:, None]


def warp(
    spectrogram: Float[Tensor, "batch frame band"],
    count: Int[Tensor, " batch"],
    centre_hz: Float[Tensor, " band"],
    *,
    tract: float,
    tempo: float,
    crop: float,
) -> tuple[Float[Tensor, "batch stretched band"], Int[Tensor, " batch"]]:
    """Scale frequencies, as a shorter or longer vocal tract does, and cut and stretch time.

    Args:
        spectrogram: Of mel bands.
        count: Frames of each that are no padding.
        centre_hz: Of the bands, which lie evenly in mel.
        tract: Largest natural logarithm of the scale.
        tempo: Largest natural logarithm of the tempo's change.
        crop: Largest share of the frames that is cut off the start, and off the end.

    Returns:
        The spectrogram, with room for the slowest tempo, and its counts.

    Source:
        Jaitly & Hinton 2013, Vocal Tract Length Perturbation (VTLP) improves speech recognition;
        Ko et al. 2015, https://doi.org/10.21437/Interspeech.2015-711 (tempo)
    """
    batch, frames, bands = spectrogram.shape
    device = spectrogram.device

    def draw() -> Float[Tensor, "batch 1"]:
        return 2 * torch.rand(batch, 1, device=device) - 1

    faster = torch.exp(tempo * draw())
    mel = torch.log1p(torch.exp(tract * draw()) * centre_hz / 700)  # (batch, band)
    lowest, highest = torch.log1p(centre_hz[0] / 700), torch.log1p(centre_hz[-1] / 700)
    band = 2 * (mel - lowest) / (highest - lowest) - 1
    start, end = crop * count[:, None] * torch.rand(2, batch, 1, device=device)
    stretched = math.ceil(frames * math.exp(tempo))
    # Frames lie at -1..1, as bands do: see `grid_sample`.
    frame = start + faster * torch.arange(stretched, device=device)
    frame = 2 * frame / max(frames - 1, 1) - 1
    grid = torch.stack(
        [
            band[:, None].expand(-1, stretched, -1),
            frame[:, :, None].expand(-1, -1, bands),
        ],
        dim=3,
    )  # (batch, stretched, band, 2)
    warped = F.grid_sample(
        spectrogram[:, None], grid, padding_mode="border", align_corners=True
    ).squeeze(1)
    left = (count[:, None] - start - end) / faster
    return warped, left[:, 0].long().clamp(1, stretched)


def mask_stripes(
    spectrogram: Float[Tensor, "batch frame band"],
    valid: Bool[Tensor, "batch frame"],
    *,
    time: float,
    frequency: float,
    stripes: int = 2,
) -> Float[Tensor, "batch frame band"]:
    """Set stripes of frames and of bands to 0: SpecAugment without its time warp.

    Args:
        spectrogram: Whose mean is 0.
        valid: False where a frame is padding.
        time: Widest stripe of frames, as a share of those that are valid.
        frequency: Widest stripe of bands, as a share of them.
        stripes: Of each sort.

    Source:
        Park et al. 2019, https://arxiv.org/abs/1904.08779
    """
    bands = torch.full((len(valid), 1), spectrogram.shape[2], device=valid.device)
    frames = valid.sum(dim=1, keepdim=True)
    for _ in range(stripes):
        hidden = _draw_stripe(frames, spectrogram.shape[1], time)[:, :, None]
        hidden = hidden | _draw_stripe(bands, spectrogram.shape[2], frequency)[:, None]
        spectrogram = spectrogram.masked_fill(hidden, 0)
    return spectrogram


def _draw_stripe(
    count: Int[Tensor, "batch 1"], size: int, widest: float
) -> Bool[Tensor, "batch size"]:
    """Draw one stripe within the first `count` of `size` places."""
    width = widest * count * torch.rand(count.shape, device=count.device)
    start = (count - width) * torch.rand(count.shape, device=count.device)
    place = torch.arange(size, device=count.device)
    return (place >= start) & (place < start + width)
