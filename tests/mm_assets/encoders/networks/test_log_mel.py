import math

import numpy as np
import pytest
import torch
import torchaudio

from mm_assets.encoders.networks.log_mel import LogMel, find_valid, normalize_bands, raise_floor
from mm_assets.encoders.networks.logmel_functionals import QUANTILES, LogMelFunctionals
from mm_assets.encoders.networks.mel_lstm import reverse
from mm_assets.encoders.networks.spectrogram_augment import add_noise, mask_stripes, warp


def noise(duration_s=0.5, rate_hz=16_000):
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(1, round(duration_s * rate_hz), generator=generator)


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_log_mel_is_torchaudio_s(rate_hz):
    samples = noise(rate_hz=rate_hz)
    window = round(0.025 * rate_hz)
    reference = torchaudio.transforms.MelSpectrogram(
        rate_hz,
        n_fft=2 ** math.ceil(math.log2(window)),
        win_length=window,
        hop_length=rate_hz // 100,
        f_min=60.0,
        n_mels=32,
        center=False,
    )
    size = reference.n_fft
    # torchaudio puts the window in the middle of the transform, ours starts with it.
    around = torch.nn.functional.pad(samples, ((size - window) // 2, size))
    found, count = LogMel(rate_hz=rate_hz, bands=32)(samples, torch.tensor([samples.shape[1]]))
    frames = int(count)
    assert frames == (samples.shape[1] - window) // (rate_hz // 100) + 1
    wanted = torch.log(reference(around) + 1e-6)[0].T
    torch.testing.assert_close(found[0, :frames], wanted[:frames], atol=2e-3, rtol=0)


def test_the_shortest_recording_has_a_frame():
    _, count = LogMel(rate_hz=16_000, bands=16)(torch.zeros(2, 500), torch.tensor([1, 500]))
    assert count.tolist() == [1, 1]


def test_gain_and_microphone_do_not_matter_after_normalisation():
    log_mel, count = LogMel(rate_hz=16_000, bands=16)(noise(), torch.tensor([8000]))
    valid = find_valid(count, log_mel)
    microphone = torch.linspace(-3, 3, 16)
    once, other = (normalize_bands(one, valid) for one in (log_mel, log_mel + 5 + microphone))
    torch.testing.assert_close(once, other, atol=1e-4, rtol=0)
    assert not once[~valid].any()
    # Of noise all frames are nearly as loud as the loudest.
    torch.testing.assert_close(once.mean(dim=1), torch.zeros(1, 16), atol=0.05, rtol=0)
    assert float(once[valid].square().mean()) == pytest.approx(0.8, abs=0.2)


def test_silence_around_does_not_change_the_normalisation():
    log_mel = torch.randn(1, 30, 16, generator=torch.Generator().manual_seed(0))
    quiet = torch.full((1, 20, 16), -12.0)
    all_valid = torch.ones(1, 70, dtype=torch.bool)
    alone = normalize_bands(log_mel, all_valid[:, :30])
    around = normalize_bands(torch.cat([quiet, log_mel, quiet], dim=1), all_valid)
    torch.testing.assert_close(around[:, 20:50], alone, atol=1e-3, rtol=0)


def test_the_floor_lies_20_db_below_the_mean_power():
    power = torch.tensor([[[1.0, 3.0], [0.0, 0.0], [50.0, 50.0]]])
    valid = torch.tensor([[True, True, False]])
    raised = raise_floor(torch.log(power + 1e-12), valid)
    torch.testing.assert_close(torch.exp(raised[0, 1]), torch.full((2,), 0.01), rtol=1e-4, atol=0)


def test_functionals_are_numpy_s_and_ignore_padding():
    network = LogMelFunctionals(rate_hz=16_000, bands=16)
    samples, length = noise(), torch.tensor([8000])
    log_mel, count = network.log_mel(samples, length)
    frames = log_mel[0, : int(count)].numpy()
    wanted = [frames.mean(axis=0), frames.std(axis=0), *np.quantile(frames, QUANTILES, axis=0)]
    wanted.append(np.sqrt(np.mean(np.diff(frames, axis=0) ** 2, axis=0)))
    padded = torch.nn.functional.pad(samples, (0, 3000))
    for given in (samples, padded):
        np.testing.assert_allclose(
            network(given, length)[0], np.concatenate(wanted), atol=1e-3, rtol=0
        )


def test_noise_has_the_drawn_strength_and_leaves_padding_alone():
    torch.manual_seed(0)
    samples = torch.nn.functional.pad(noise(2.0), (0, 100)).expand(200, -1)
    length = torch.full((200,), 32_000)
    added = add_noise(samples, length, snr_db=5.0) - samples
    assert not added[:, 32_000:].any()
    ratio = samples[:, :32_000].square().mean(dim=1) / added[:, :32_000].square().mean(dim=1)
    ratio_db = 10 * torch.log10(ratio)
    assert 4.8 < ratio_db.min() < 7
    assert 33 < ratio_db.max() < 35.2


def centres(bands):
    return LogMel(rate_hz=16_000, bands=bands).centre_hz


def test_filters_answer_most_at_their_centre():
    network = LogMel(rate_hz=16_000, bands=24)
    bins_hz = torch.arange(257) * 16_000 / 512
    loudest_hz = bins_hz[network.mel.argmax(dim=0)]
    torch.testing.assert_close(loudest_hz, network.centre_hz, atol=16.0, rtol=0)


def test_a_warp_of_no_strength_is_none():
    spectrogram = torch.randn(2, 9, 8)
    warped, count = warp(
        spectrogram, torch.tensor([9, 4]), centres(8), tract=0.0, tempo=0.0, crop=0.0
    )
    torch.testing.assert_close(warped, spectrogram, atol=1e-4, rtol=0)
    assert count.tolist() == [9, 4]


def test_a_warp_moves_bands_and_frames_within_its_limits():
    torch.manual_seed(0)
    spectrogram = torch.zeros(500, 50, 40)
    spectrogram[:, 25, 20] = 1
    warped, count = warp(
        spectrogram, torch.full((500,), 50), centres(40), tract=0.1, tempo=0.2, crop=0.0
    )
    found = warped.flatten(1).argmax(dim=1)
    frame, band = found // 40, found % 40
    heard_hz = centres(40)[band] / centres(40)[20]
    step = float(centres(40)[21] / centres(40)[20])
    assert math.exp(0.1) / step < heard_hz.max() < math.exp(0.1) * step
    assert math.exp(-0.1) / step < heard_hz.min() < math.exp(-0.1) * step
    assert 20 <= frame.min() < 22
    assert 29 < frame.max() <= 31
    assert 40 <= count.min() < 43
    assert 58 < count.max() <= warped.shape[1] == 62


def test_what_is_cut_off_is_no_more_than_asked():
    torch.manual_seed(0)
    ramp = torch.arange(100.0)[None, :, None].expand(500, -1, 4)
    cut, count = warp(ramp, torch.full((500,), 100), centres(4), tract=0.0, tempo=0.0, crop=0.1)
    start = cut[:, 0, 0]
    assert 0 <= start.min() < 0.5
    assert 9.5 < start.max() <= 10
    assert 80 <= count.min() < 83
    assert 97 <= count.max() <= 100


def test_stripes_are_no_wider_than_asked_and_within_the_recording():
    torch.manual_seed(0)
    valid = find_valid(torch.tensor([50] * 300), torch.ones(300, 80, 40))
    masked = mask_stripes(torch.ones(300, 80, 40), valid, time=0.2, frequency=0.1, stripes=1)
    frames = (masked == 0).all(dim=2).sum(dim=1)
    bands = (masked == 0).all(dim=1).sum(dim=1)
    assert 8 <= frames.max() <= 11
    assert 3 <= bands.max() <= 5
    assert masked[:, 50:].any(dim=2).all()


def test_reversal_stops_where_padding_starts():
    steps = torch.arange(4.0)[None, :, None].expand(2, -1, 1)
    turned = reverse(steps, torch.tensor([4, 2]))[:, :, 0].tolist()
    assert turned == [[3, 2, 1, 0], [1, 0, 2, 3]]
