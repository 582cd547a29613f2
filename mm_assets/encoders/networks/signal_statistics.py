"""Statistics of a signal that rounding cannot make jump: no peaks are picked, nothing is counted."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
BANDS = 12  # of equal width in octaves, apart from the lowest ones, which are a bin at least
TINY = 1e-30  # variance below which nothing varies
BEYOND = 1e30  # sorts behind every standard score


class SignalStatistics(nn.Module):
    """Of each channel: distribution, change and spectrum; besides correlations and duration.

    Per channel, in this order: mean; log standard deviation; of standard scores the skewness,
    ``log(1 + kurtosis)`` and `QUANTILES`; rate of zero crossings (soft); line length; Hjorth's
    mobility and complexity; log of the share of power in each of `BANDS`; spectral centroid and
    spread in cycles per sample; spectral entropy, 1 for white noise. Then the correlation of every
    pair of channels, and the log of the number of samples.

    Source:
        Hjorth 1970, https://doi.org/10.1016/0013-4694(70)90143-4; Welch 1967,
        https://doi.org/10.1109/TAU.1967.1161901, with Hann windows that overlap by half, each
        segment's mean taken off.
    """

    quantiles: Tensor
    fourier: Tensor
    bands: Tensor
    frequencies: Tensor

    def __init__(self, channels: int, segment: int) -> None:
        super().__init__()
        self.segment, self.hop = segment, segment // 2
        bins = segment // 2
        window = torch.hann_window(segment, dtype=torch.float64)
        angle = 2 * math.pi * torch.arange(segment).double()[:, None] / segment
        angle = angle * torch.arange(1, bins + 1)  # (segment, bin), without the constant part
        fourier = torch.cat([angle.cos(), angle.sin()], dim=1) * window[:, None]
        # A one-sided spectrum has the power of both sides, but Nyquist's frequency has one.
        sides = torch.full((bins,), math.sqrt(2), dtype=torch.float64)
        sides[-1] = 1.0 if segment % 2 == 0 else sides[-1]
        self._register("fourier", fourier * sides.repeat(2))
        self._register("bands", cut_bands(bins).double())
        self._register("frequencies", torch.arange(1, bins + 1) / segment)
        self._register("quantiles", torch.tensor(QUANTILES))
        pairs = torch.triu_indices(channels, channels, offset=1)
        self.pairs = (pairs[0] * channels + pairs[1]).tolist()

    def _register(self, name: str, value: Tensor) -> None:
        """Keep a constant; made in float64, used in float32."""
        self.register_buffer(name, value.float(), persistent=False)

    def forward(
        self, samples: Float[Tensor, "batch channel time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Summarise signals.

        Args:
            samples: Zero padded at the end.
            length: True number of samples of each, at least 2.

        Returns:
            Statistics, float32, which do not depend on the padding.
        """
        count = length.to(samples.dtype)[:, None, None]  # (batch, 1, 1)
        step = torch.arange(samples.shape[2], device=samples.device)
        valid = (step < length[:, None]).to(samples.dtype)[:, None]  # (batch, 1, time)
        mean = (samples * valid).sum(dim=2, keepdim=True) / count
        centred = (samples - mean) * valid
        variance = centred.square().sum(dim=2, keepdim=True) / count
        # What float32 rounds is no variation.
        scale = torch.sqrt(variance + (1e-6 * mean).square() + TINY)
        score = centred / scale  # (batch, channel, time)
        shape = torch.cat(
            [
                mean,
                torch.log(scale),
                score.pow(3).sum(dim=2, keepdim=True) / count,
                torch.log1p(score.pow(4).sum(dim=2, keepdim=True) / count),
                self.find_quantiles(score, valid, length),
            ],
            dim=2,
        )
        own = torch.cat(
            [shape, measure_change(score, valid, count), self.measure_spectrum(score, length)],
            dim=2,
        )
        parts = [own.flatten(1), torch.log(count[:, 0])]
        if self.pairs:
            correlation = score @ score.transpose(1, 2) / count  # (batch, channel, channel)
            parts.insert(1, correlation.flatten(1)[:, self.pairs])
        return torch.cat(parts, dim=1)

    def find_quantiles(
        self,
        score: Float[Tensor, "batch channel time"],
        valid: Float[Tensor, "batch 1 time"],
        length: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch channel quantile"]:
        """Interpolate between neighbours in sorted order, as `numpy.quantile` does."""
        ordered = torch.where(valid > 0, score, BEYOND).sort(dim=2).values
        place = self.quantiles * (length[:, None] - 1).to(score.dtype)  # (batch, quantile)
        below = place.floor()
        share = (place - below)[:, None]
        low = below.long()[:, None].expand(-1, score.shape[1], -1)
        high = torch.minimum(low + 1, (length - 1)[:, None, None])
        return ordered.gather(2, low) * (1 - share) + ordered.gather(2, high) * share

    def measure_spectrum(
        self, score: Float[Tensor, "batch channel time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channel feature"]:
        """Give log band shares, centroid, spread and entropy of the averaged periodogram."""
        share = self.estimate_spectrum(score, length)
        share = share / (share.sum(dim=2, keepdim=True) + 1e-12)
        centroid = (share * self.frequencies).sum(dim=2, keepdim=True)
        spread = (share * (self.frequencies - centroid).square()).sum(dim=2, keepdim=True)
        entropy = -(share * torch.log(share + 1e-12)).sum(dim=2, keepdim=True)
        return torch.cat(
            [
                torch.log(share @ self.bands + 1e-6),
                centroid,
                torch.sqrt(spread + 1e-12),
                entropy / math.log(share.shape[2]),
            ],
            dim=2,
        )

    def estimate_spectrum(
        self, score: Float[Tensor, "batch channel time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channel bin"]:
        """Average the power of the segments that fit; a shorter signal is one segment."""
        # So much padding that the last frame starts where the signal is over.
        frames = F.pad(score, (0, self.segment)).unfold(2, self.segment, self.hop).contiguous()
        step = torch.arange(frames.shape[2], device=score.device)  # (frame,)
        last = ((length - self.segment).clamp(min=0) // self.hop)[:, None]
        used = (step <= last).to(score.dtype)[:, None, :, None]  # (batch, 1, frame, 1)
        place = torch.arange(self.segment, device=score.device)
        inside = (step[:, None] * self.hop + place < length[:, None, None]).to(score.dtype)
        inside = inside[:, None]  # (batch, 1, frame, segment)
        mean = frames.sum(dim=3, keepdim=True) / (inside.sum(dim=3, keepdim=True) + 1e-6)
        cosine, sine = ((frames - mean * inside) @ self.fourier).chunk(2, dim=3)
        power = (cosine.square() + sine.square()) * used  # (batch, channel, frame, bin)
        return power.sum(dim=2) / used.sum(dim=2)


def measure_change(
    score: Float[Tensor, "batch channel time"],
    valid: Float[Tensor, "batch 1 time"],
    count: Float[Tensor, "batch 1 1"],
) -> Float[Tensor, "batch channel 4"]:
    """Give zero-crossing rate, line length, mobility and complexity of standard scores.

    A crossing counts in full between values that are far from zero, and less between values that
    are near it, so that noise around zero does not count as crossing.
    """
    sign = score / torch.sqrt(score.square() + 1e-4)
    pair, triple = valid[:, :, 1:], valid[:, :, 2:]
    pairs, triples = count - 1, (count - 2).clamp(min=1)
    crossing = ((sign[:, :, 1:] - sign[:, :, :-1]).square() / 4 * pair).sum(2, keepdim=True)
    first = (score[:, :, 1:] - score[:, :, :-1]) * pair
    second = (first[:, :, 1:] - first[:, :, :-1]) * triple
    slope = torch.sqrt(first.square().sum(dim=2, keepdim=True) / pairs + 1e-12)
    bend = torch.sqrt(second.square().sum(dim=2, keepdim=True) / triples + 1e-12)
    length = first.abs().sum(dim=2, keepdim=True) / pairs
    return torch.cat([crossing / pairs, length, slope, bend / slope.square()], dim=2)


def cut_bands(bins: int) -> Float[Tensor, "bin band"]:
    """Share bins 1 to `bins` out to bands of equal width in octaves; a bin may lie in two."""
    edges = torch.logspace(0, math.log2(bins + 1), BANDS + 1, base=2, dtype=torch.float64)
    low, high = torch.arange(1, bins + 1)[:, None], torch.arange(2, bins + 2)[:, None]
    overlap = torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])
    return overlap.clamp(min=0).float()
