import contextlib
import io
import json

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.contracts.errors import BadSampleError
from mm_assets.modalities.audio import Waveform, resample
from mm_assets.modalities.base import load_modality


def make(augment=None, **options):
    return load_modality("audio", options, augment or {}, where="modalities.audio")


def tone(frequency_hz=440.0, duration_s=1.0, rate_hz=16_000, amplitude=0.5):
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def encode(channels, path, codec="pcm_f32le", rate_hz=16_000):
    """Write float32 (channel, time) with FFmpeg."""
    layout = {1: "mono", 2: "stereo"}[len(channels)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), "fltp", layout)
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(
            format=stream.codec_context.format,
            layout=layout,
            rate=rate_hz,
            frame_size=stream.codec_context.frame_size,
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


def find_frequency(samples, rate_hz):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(spectrum) * rate_hz / len(samples)


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz"),
    [
        ("x.wav", "pcm_s16le", 16_000),
        ("x.flac", "flac", 44_100),
        ("x.ogg", "libopus", 48_000),
        ("x.mp3", "libmp3lame", 22_050),
        ("x.m4a", "aac", 32_000),
    ],
)
def test_every_container_gives_the_tone_that_was_put_in(tmp_path, name, codec, rate_hz):
    encode(tone(rate_hz=rate_hz)[None], tmp_path / name, codec, rate_hz)

    found = make().probe(name, tmp_path)
    wave = make().decode(name, tmp_path)

    assert (found["rate_hz"], wave.rate_hz) == (rate_hz, rate_hz)
    assert found["duration_s"] == pytest.approx(1, abs=0.08)  # lossy codecs pad
    assert find_frequency(wave.samples, rate_hz) == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(wave.samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.06)
    assert wave.samples.dtype == np.float32


def test_lossless_samples_come_back_exactly(tmp_path):
    encode(tone()[None], tmp_path / "x.wav")
    np.testing.assert_array_equal(make().decode("x.wav", tmp_path).samples, tone())


def test_channels_are_averaged_and_loud_samples_clipped(tmp_path):
    left, right = np.full((2, 16_000), 0.5, np.float32)
    left[:8000] = 3
    encode(np.stack([left, -right / 5]), tmp_path / "x.wav")
    samples = make().decode("x.wav", tmp_path).samples
    np.testing.assert_allclose(samples[:8000], 1)
    np.testing.assert_allclose(samples[8000:], 0.2, rtol=1e-6)


@pytest.mark.parametrize(
    ("samples", "reason", "detail"),
    [
        (tone(duration_s=0.05), "audio_too_short", r"it lasts 0.050 s, 0.1 s is least"),
        (tone(duration_s=2.5), "audio_too_long", r"longer than the limit of 2 s"),
        (tone(amplitude=5e-4), "audio_silent", r"peak is below -60 dB of full scale"),
        (np.zeros(16_000, np.float32), "audio_silent", r"peak is below"),
        (np.full(16_000, np.nan, np.float32), "audio_not_finite", r"not finite"),
    ],
)
def test_a_bad_recording_has_its_reason(tmp_path, samples, reason, detail):
    encode(samples[None], tmp_path / "x.wav")
    modality = make(max_s=2.0)
    for look in (modality.probe, modality.decode):
        with pytest.raises(BadSampleError, match=detail) as caught:
            look("x.wav", tmp_path)
        assert caught.value.reason == reason


def test_what_is_no_sound_is_unreadable(tmp_path):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, "PNG")
    for data, detail in [
        (b"no sound" * 20, "Invalid data"),
        (buffer.getvalue(), "no audio stream"),
    ]:
        (tmp_path / "x.wav").write_bytes(data)
        with pytest.raises(BadSampleError, match=detail) as caught:
            make().decode("x.wav", tmp_path)
        assert caught.value.reason == "audio_unreadable"
        assert "0x" not in caught.value.detail


@given(cut=st.integers(1, 3000), at=st.integers(0, 2999), byte=st.integers(0, 255))
def test_no_damage_escapes_as_another_error(tmp_path_factory, cut, at, byte):
    folder = tmp_path_factory.getbasetemp()
    if not (folder / "sound.ogg").exists():
        encode(tone(duration_s=0.5, rate_hz=48_000)[None], folder / "sound.ogg", "libopus", 48_000)
    data = bytearray((folder / "sound.ogg").read_bytes())
    data[at % len(data)] = byte
    (folder / "damaged.ogg").write_bytes(bytes(data[:cut]))
    with contextlib.suppress(BadSampleError):
        make().decode("damaged.ogg", folder)


def test_resampling_keeps_the_tone_and_drops_what_the_new_rate_cannot_hold():
    low = resample(Waveform(tone(440, rate_hz=48_000), 48_000), 16_000)
    assert len(low.samples) == pytest.approx(16_000, abs=50)
    assert find_frequency(low.samples, 16_000) == pytest.approx(440, abs=2)
    assert np.abs(low.samples[200:-200]).max() == pytest.approx(0.5, rel=0.02)
    high = resample(Waveform(tone(10_000, rate_hz=48_000), 48_000), 16_000)
    assert np.abs(high.samples[200:-200]).max() < 0.01


def test_a_batch_is_cut_and_padded():
    modality, inputs = make(), {"rate_hz": 8000, "max_s": 0.5}
    waves = [Waveform(tone(rate_hz=8000), 8000), modality.placeholder(inputs)]
    arrays = modality.collate(waves, inputs)
    assert list(arrays) == ["samples", "length"]
    np.testing.assert_array_equal(arrays["length"], [4000, 800])
    np.testing.assert_array_equal(arrays["samples"][0], waves[0].samples[:4000])
    assert not arrays["samples"][1].any()
    assert (arrays["samples"].dtype, arrays["length"].dtype) == (np.float32, np.int64)


def test_gain_noise_and_shift_have_the_planned_strength():
    wave = Waveform(tone(duration_s=4.0, amplitude=0.2), 16_000)
    plan = {"gain_db": 6.0, "snr_db": 20.0, "shift_s": 0.1, "seed": 5}
    rendered = make().render(wave, plan).samples
    assert len(rendered) == len(wave.samples) + 1600
    clean = np.concatenate([np.zeros(1600), wave.samples]) * 10 ** (6 / 20)
    noise = rendered - clean
    ratio_db = 10 * np.log10(np.mean(clean**2) / np.mean(noise**2))
    assert ratio_db == pytest.approx(20, abs=0.2)


def test_a_negative_shift_cuts_the_start():
    wave = Waveform(tone(), 16_000)
    plan = {"gain_db": 0.0, "snr_db": 300.0, "shift_s": -0.25, "seed": 0}
    np.testing.assert_allclose(make().render(wave, plan).samples, wave.samples[4000:], atol=1e-6)


@given(st.integers(0, 2**31))
def test_a_rendering_is_the_same_each_time_and_within_its_limits(seed):
    modality, wave = make(), Waveform(tone(duration_s=0.1), 16_000)
    plan = json.loads(json.dumps(modality.plan(np.random.default_rng(seed))))
    once = modality.render(wave, plan)
    np.testing.assert_array_equal(once.samples, modality.render(wave, plan).samples)
    assert abs(plan["gain_db"]) <= 2
    assert 25 <= plan["snr_db"] <= 45
    assert np.abs(once.samples).max() <= 1
    assert once.samples.dtype == np.float32
