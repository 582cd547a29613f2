"""How something is said, as fixed functionals of short-time contours.

Everything is a matrix product or a smooth function: no complex numbers, no branches, no peak
picking, so that the exported graph and this module agree, and small changes stay small.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

RATE_HZ = 16_000
HOP = 160  # 10 ms
WINDOW = 400  # 25 ms, for spectrum and energy
SPECTRUM = 512  # DFT length
MELS, COEFFICIENTS = 40, 13
PITCH_WINDOW = 800  # 50 ms: three periods of the lowest pitch
PITCH_SPECTRUM = 2048  # at least the window and the longest lag, so that lags do not wrap around
PITCH_LOW_HZ, PITCH_HIGH_HZ = 60.0, 500.0
PITCH_REFERENCE_HZ = 150.0  # log pitch is 0 here, and where nothing is voiced
PITCH_BAND_HZ = 2000.0  # harmonics above tell little about pitch and cost much
MODULATIONS_HZ = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0)  # of loudness: syllables a second
FUNCTIONALS = 6


class VoiceFunctionals(nn.Module):
    """MFCC, pitch, voicing and loudness contours, summarised over the recording.

    Contours, one value each 10 ms: 13 MFCC (Davis & Mermelstein 1980; as torchaudio computes
    them), log pitch, voicing strength and log energy. Of each: mean, standard deviation, soft
    maximum, soft minimum, slope and mean rate of change. Pitch counts each frame by how voiced it
    is. Besides: how strongly loudness beats at syllable rates, and the log duration.

    Source:
        Functionals of low-level descriptors: Eyben et al. 2016 (eGeMAPS),
        https://doi.org/10.1109/TAFFC.2015.2457417. Pitch by windowed, normalised autocorrelation:
        Boersma 1993, "Accurate short-term analysis of the fundamental frequency".
    """

    window: Tensor
    spectrum: Tensor
    mel: Tensor
    cosine: Tensor
    pitch_spectrum: Tensor
    lags: Tensor
    log_pitch: Tensor
    preference: Tensor
    modulations: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchaudio.functional import create_dct, melscale_fbanks

        window = torch.hann_window(WINDOW, dtype=torch.float64)
        bins = torch.arange(SPECTRUM // 2 + 1, dtype=torch.float64)
        # torch.stft puts the window in the middle of the DFT; a power spectrum does not care.
        self._register("window", window.square())
        self._register("spectrum", window[:, None] * _fourier_basis(WINDOW, SPECTRUM, bins))
        self._register(
            "mel", melscale_fbanks(SPECTRUM // 2 + 1, 0.0, RATE_HZ / 2, MELS, RATE_HZ).double()
        )
        self._register("cosine", create_dct(COEFFICIENTS, MELS, norm="ortho").double())

        window = torch.hann_window(PITCH_WINDOW, dtype=torch.float64)
        band = int(PITCH_BAND_HZ / RATE_HZ * PITCH_SPECTRUM)
        bins = torch.arange(1, band + 1, dtype=torch.float64)  # without the constant part
        lag = torch.arange(
            math.floor(RATE_HZ / PITCH_HIGH_HZ), math.ceil(RATE_HZ / PITCH_LOW_HZ) + 1
        ).double()
        self._register(
            "pitch_spectrum",
            window[:, None] * _fourier_basis(PITCH_WINDOW, PITCH_SPECTRUM, bins),
        )
        # Boersma's correction: the window's own autocorrelation is divided out.
        padded = torch.zeros(PITCH_SPECTRUM, dtype=torch.float64)
        padded[:PITCH_WINDOW] = window
        own = torch.fft.irfft(torch.fft.rfft(padded).abs().square())
        inverse = torch.cos(2 * math.pi * bins[:, None] * lag / PITCH_SPECTRUM)
        self._register("lags", inverse * own[0] / own[lag.long()])
        self._register("log_pitch", torch.log(RATE_HZ / lag / PITCH_REFERENCE_HZ))
        # Multiples of the period fit as well as the period itself: prefer the shortest.
        self._register("preference", -0.1 * torch.log2(lag / lag[0]))
        self._register("modulations", torch.tensor(MODULATIONS_HZ, dtype=torch.float64))

    def _register(self, name: str, value: Tensor) -> None:
        """Keep a constant; made in float64, used in float32."""
        self.register_buffer(name, value.float(), persistent=False)

    @property
    def dim(self) -> int:
        """Length of the vector."""
        return FUNCTIONALS * (COEFFICIENTS + 3) + len(MODULATIONS_HZ) + 1

    def forward(
        self, samples: Float[Tensor, "batch time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed recordings.

        Args:
            samples: Mono at 16 kHz in [-1, 1], zero padded at the end.
            length: True number of samples of each, at least 1.

        Returns:
            Functionals, float32, which do not depend on the padding.
        """
        power, energy = self.short_time_spectrum(samples)
        count = count_frames(length)  # (batch,)
        step = torch.arange(power.shape[1], device=samples.device)  # (frame,)
        valid = (step < count[:, None]).to(samples.dtype)  # (batch, frame)
        log_pitch, voicing = self.pitch(samples)
        log_energy = torch.log(energy + 1e-6)

        plain = torch.cat(
            [self.mfcc(power), voicing[:, :, None], log_energy[:, :, None]], dim=2
        )  # (batch, frame, 15)
        return torch.cat(
            [
                summarize(plain, valid),
                summarize(log_pitch[:, :, None], valid * voicing.square()),
                self.beat(log_energy, valid),
                torch.log(length.to(samples.dtype) / RATE_HZ)[:, None],
            ],
            dim=1,
        )

    def short_time_spectrum(
        self, samples: Float[Tensor, "batch time"]
    ) -> tuple[Float[Tensor, "batch frame bin"], Float[Tensor, "batch frame"]]:
        """Give each frame's power spectrum, and its mean energy weighted by the window."""
        frames = cut_frames(samples, WINDOW)
        parts = frames @ self.spectrum  # (batch, frame, 2 * bin)
        real, imaginary = parts.chunk(2, dim=2)
        energy = frames.square() @ self.window / self.window.sum()
        return real.square() + imaginary.square(), energy

    def mfcc(
        self, power: Float[Tensor, "batch frame bin"]
    ) -> Float[Tensor, "batch frame coefficient"]:
        """Give mel-frequency cepstral coefficients of a power spectrum."""
        return torch.log(power @ self.mel + 1e-6) @ self.cosine

    def pitch(
        self, samples: Float[Tensor, "batch time"]
    ) -> tuple[Float[Tensor, "batch frame"], Float[Tensor, "batch frame"]]:
        """Estimate pitch as the softmax-weighted mean over lags of the autocorrelation.

        Returns:
            Natural log of the pitch over 150 Hz (meaningless where unvoiced), and voicing in
            0..1: the autocorrelation at the period, near 1 for a tone, low for noise, 0 in silence.
        """
        parts = cut_frames(samples, PITCH_WINDOW) @ self.pitch_spectrum
        real, imaginary = parts.chunk(2, dim=2)
        power = real.square() + imaginary.square()  # (batch, frame, bin)
        # A floor of -60 dB keeps rounding noise in silence from looking periodic.
        total = power.sum(dim=2, keepdim=True) + 1e-6 * PITCH_WINDOW * PITCH_SPECTRUM / 16
        correlation = power @ self.lags / total  # (batch, frame, lag)
        weight = torch.softmax(100 * (correlation + self.preference), dim=2)
        voicing = (weight * correlation).sum(dim=2).clamp(0, 1)
        return weight @ self.log_pitch, voicing

    def beat(
        self, log_energy: Float[Tensor, "batch frame"], valid: Float[Tensor, "batch frame"]
    ) -> Float[Tensor, "batch modulation"]:
        """Give the amplitude of the loudness contour's oscillation at each modulation rate."""
        count = valid.sum(dim=1, keepdim=True)
        centred = (log_energy - (log_energy * valid).sum(dim=1, keepdim=True) / count) * valid
        time = torch.arange(log_energy.shape[1], device=log_energy.device) * (HOP / RATE_HZ)
        phase = 2 * math.pi * time[:, None] * self.modulations  # (frame, modulation)
        real, imaginary = centred @ torch.cos(phase), centred @ torch.sin(phase)
        return torch.sqrt(real.square() + imaginary.square() + 1e-6) / count


def _fourier_basis(window: int, size: int, bins: Tensor) -> Tensor:
    """Give cosines beside sines, float64 (window, 2 * bin)."""
    angle = 2 * math.pi * torch.arange(window, dtype=torch.float64)[:, None] * bins / size
    return torch.cat([torch.cos(angle), torch.sin(angle)], dim=1)


def count_frames(length: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Count the frames that lie wholly inside a recording; a shorter one has one, zero padded."""
    return ((length - WINDOW).clamp(min=0) // HOP) + 1


def cut_frames(samples: Float[Tensor, "batch time"], window: int) -> Float[Tensor, "batch frame w"]:
    """Cut frames of `window` samples whose middles lie where those of `WINDOW` lie.

    Zeros are put around, so that every recording has at least one frame and windows of any length
    give equally many frames.
    """
    before = (window - WINDOW) // 2
    padded = nn.functional.pad(samples, (before, before + WINDOW))
    # Overlapping views would make the products that follow several times slower than a copy does.
    return padded.unfold(1, window, HOP).contiguous()  # (batch, frame, window)


def summarize(
    contours: Float[Tensor, "batch frame contour"], weight: Float[Tensor, "batch frame"]
) -> Float[Tensor, "batch functional"]:
    """Summarise contours over time, counting each frame by its weight.

    Returns:
        Mean, standard deviation, soft maximum and soft minimum (means over frames weighted by
        ``exp(+-2 z)``, z the standard score), slope per second, and mean rate of change (root of
        the mean squared difference of neighbours): six blocks of one number per contour.
    """
    weight = weight[:, :, None]  # (batch, frame, 1)

    def average(values: Tensor, weight: Tensor = weight) -> Tensor:
        # A thousandth of a frame keeps a recording without any weight at 0 instead of 0 / 0.
        return (values * weight).sum(dim=1, keepdim=True) / (weight.sum(dim=1, keepdim=True) + 1e-3)

    mean = average(contours)
    centred = contours - mean
    std = torch.sqrt(average(centred.square()) + 1e-6)
    emphasis = torch.exp(2 * (centred / std).clamp(-8, 8))
    high = average(contours, weight * emphasis)
    low = average(contours, weight / emphasis)
    seconds = torch.arange(contours.shape[1], device=contours.device)[:, None] * (HOP / RATE_HZ)
    from_middle = seconds - average(seconds)
    slope = average(centred * from_middle) / (average(from_middle.square()) + 1e-3)
    change = (contours[:, 1:] - contours[:, :-1]).square()
    rate = torch.sqrt(average(change, weight[:, 1:] * weight[:, :-1]) + 1e-6)
    return torch.cat([mean, std, high, low, slope, rate], dim=2).flatten(1)
