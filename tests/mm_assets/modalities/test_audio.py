import contextlib
import io
import json
import pickle
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.contracts.errors import BadSampleError
from mm_assets.modalities.audio import (
    Waveform,
    change_tempo_and_pitch,
    resample,
    set_loudness,
    trim_silence,
)
from mm_assets.modalities.base import load_modality
from mm_assets.sources.sample.voice import draw_speaker, speak, write_voice


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
    film = io.BytesIO()
    with av.open(film, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        container.mux([*stream.encode(picture), *stream.encode(None)])
    for data, detail in [
        (b"no sound" * 20, "Invalid data"),
        (buffer.getvalue(), "files may be aac, aiff"),
        (film.getvalue(), "no audio stream"),
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


STILL = {"gain_db": 0.0, "snr_db": 300.0, "shift_s": 0.0, "tempo": 1.0, "pitch_semitones": 0.0}


def test_gain_noise_and_shift_have_the_planned_strength():
    wave = Waveform(tone(duration_s=4.0, amplitude=0.2), 16_000)
    plan = STILL | {"gain_db": 6.0, "snr_db": 20.0, "shift_s": 0.1, "seed": 5}
    rendered = make().render(wave, plan).samples
    assert len(rendered) == len(wave.samples) + 1600
    clean = np.concatenate([np.zeros(1600), wave.samples]) * 10 ** (6 / 20)
    noise = rendered - clean
    ratio_db = 10 * np.log10(np.mean(clean**2) / np.mean(noise**2))
    assert ratio_db == pytest.approx(20, abs=0.2)


def test_a_negative_shift_cuts_the_start():
    wave = Waveform(tone(), 16_000)
    plan = STILL | {"shift_s": -0.25, "seed": 0}
    np.testing.assert_allclose(make().render(wave, plan).samples, wave.samples[4000:], atol=1e-6)


@given(st.integers(0, 2**31))
def test_a_rendering_is_the_same_each_time_and_within_its_limits(seed):
    modality, wave = make(), Waveform(tone(duration_s=0.1), 16_000)
    plan = json.loads(json.dumps(modality.plan(np.random.default_rng(seed))))
    once = modality.render(wave, plan)
    np.testing.assert_array_equal(once.samples, modality.render(wave, plan).samples)
    assert abs(plan["gain_db"]) <= 2
    assert 25 <= plan["snr_db"] <= 45
    assert 1 / 1.0501 <= plan["tempo"] <= 1.0501
    assert abs(plan["pitch_semitones"]) <= 0.5
    assert np.abs(once.samples).max() <= 1
    assert once.samples.dtype == np.float32


@pytest.mark.parametrize("duration_s", [0.1, 1.0, 4.0])
@pytest.mark.parametrize(
    ("tempo", "semitones"), [(1.25, 0.0), (0.8, 0.0), (1.0, 3.0), (1.0, -6.0), (1.25, -6.0)]
)
def test_tempo_and_pitch_change_by_what_was_asked_and_alone(duration_s, tempo, semitones):
    wave = Waveform(tone(440, duration_s), 16_000)
    changed = change_tempo_and_pitch(wave, tempo, semitones).samples
    # Overlapped blocks of 40 ms leave the end open.
    assert len(changed) / 16_000 == pytest.approx(duration_s / tempo, abs=0.02)
    octave = 2 ** (semitones / 12)
    assert find_frequency(changed, 16_000) == pytest.approx(440 * octave, rel=0.005)
    assert np.sqrt(np.mean(changed**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.06)
    again = change_tempo_and_pitch(wave, tempo, semitones).samples
    np.testing.assert_array_equal(changed, again)


def test_a_plan_of_no_change_changes_nothing():
    wave = Waveform(tone(), 16_000)
    rendered = make().render(wave, STILL | {"seed": 0}).samples
    np.testing.assert_allclose(rendered, wave.samples, atol=1e-6)


def measure_with_ffmpeg(samples, rate_hz):
    """Measure integrated loudness with FFmpeg's own meter."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=rate_hz, format="fltp", layout="mono", time_base=Fraction(1, rate_hz)
    )
    graph.link_nodes(source, graph.add("ebur128", "metadata=1"), graph.add("abuffersink"))
    graph.configure()
    frame = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
    frame.sample_rate, frame.pts = rate_hz, 0
    graph.push(frame)
    graph.push(None)
    found = None
    with contextlib.suppress(av.EOFError, av.BlockingIOError):
        while True:
            found = graph.pull().metadata["lavfi.r128.I"]
    return float(found)


@pytest.mark.parametrize("lufs", [-30.0, -23.0])
def test_loudness_is_what_ffmpeg_measures(tmp_path, lufs):
    rng = np.random.default_rng(0)
    steps = np.repeat(rng.random(16), 24_000)  # half a second each, some below the relative gate
    samples = (0.1 * steps * rng.standard_normal(len(steps))).astype(np.float32)
    encode(samples[None], tmp_path / "x.wav", rate_hz=48_000)
    heard = make(loudness_lufs=lufs).decode("x.wav", tmp_path).samples
    assert measure_with_ffmpeg(heard, 48_000) == pytest.approx(lufs, abs=0.1)


def test_loudness_stops_where_it_would_clip():
    peaky = np.zeros(48_000, np.float32)
    peaky[::4800] = 0.5
    loud = set_loudness(Waveform(peaky, 48_000), -5.0)
    assert np.abs(loud.samples).max() == pytest.approx(1)
    silent = Waveform(np.zeros(48_000, np.float32), 48_000)
    assert set_loudness(silent, -23.0) is silent


def test_silence_is_cut_off_at_both_ends_but_not_inside(tmp_path):
    quiet, loud = 1e-4 * tone(200, 0.5), tone(440, 0.3)
    parts = np.concatenate([quiet, loud, quiet, loud, quiet])
    trimmed = trim_silence(Waveform(parts, 16_000), -40.0).samples
    np.testing.assert_array_equal(trimmed, np.concatenate([loud, quiet, loud]))
    untouched = trim_silence(Waveform(parts, 16_000), -100.0).samples
    np.testing.assert_array_equal(untouched, parts)
    encode(np.concatenate([quiet, loud[:800], quiet])[None], tmp_path / "x.wav")
    with pytest.raises(
        BadSampleError, match=r"without the silence around it, it lasts 0\.\d+ s, 0.1"
    ):
        make(trim_db=-40.0).decode("x.wav", tmp_path)


def test_a_channel_can_be_chosen(tmp_path):
    encode(np.stack([tone(440), tone(880)]), tmp_path / "x.wav")
    heard = make(channel=1).decode("x.wav", tmp_path).samples
    np.testing.assert_array_equal(heard, tone(880))
    with pytest.raises(BadSampleError, match=r"it has 2 channels, of which `channel: 2` is none"):
        make(channel=2).decode("x.wav", tmp_path)


@pytest.mark.parametrize(
    ("codec", "step"),
    [("pcm_u8", 2**-7), ("pcm_s16le", 2**-15), ("pcm_s24le", 2**-23), ("pcm_s32le", 2**-23)],
)
def test_whole_numbers_of_any_width_come_back_within_a_step(tmp_path, codec, step):
    encode(tone()[None], tmp_path / "x.wav", codec)
    samples = make().decode("x.wav", tmp_path).samples
    np.testing.assert_allclose(samples, tone(), atol=step)


def write_header(path, rate_hz, channels, frames=16_000):
    """Write 16-bit silence whose header says what it likes."""
    data = bytes(2 * channels * frames)
    chunk = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * channels * 2, channels * 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + chunk + b"data" + struct.pack("<I", len(data))
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + len(data)) + body + data)


@pytest.mark.parametrize(
    ("rate_hz", "channels", "reason", "detail"),
    [
        (1, 1, "audio_rate", r"1 samples a second, legal are 1000 to 384000"),
        (10_000_000, 1, "audio_rate", r"10000000 samples a second"),
        (16_000, 65, "audio_channels", r"it has 65 channels, legal are 1 to 64"),
        (0, 1, "audio_unreadable", r"FFmpeg cannot decode it"),
        (16_000, 0, "audio_unreadable", r"FFmpeg cannot decode it"),
    ],
)
def test_an_absurd_header_has_its_reason(tmp_path, rate_hz, channels, reason, detail):
    write_header(tmp_path / "x.wav", rate_hz, channels)
    with pytest.raises(BadSampleError, match=detail) as caught:
        make().decode("x.wav", tmp_path)
    assert caught.value.reason == reason


def test_decoding_stops_soon_after_the_limit(tmp_path):
    """Ten minutes of a tone in a FLAC file of some kilobytes: no more than the limit is decoded."""
    import tracemalloc

    encode(np.tile(tone(400, 1.0, 8000), 600)[None], tmp_path / "x.flac", "flac", 8000)
    tracemalloc.start()
    with pytest.raises(BadSampleError, match="longer than the limit of 1 s"):
        make(max_s=1.0).decode("x.flac", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = (tmp_path / "x.flac").stat().st_size
    assert peak < 3 * size + 1_000_000 < 600 * 8000 * 4


def test_the_sound_of_a_video_is_heard(tmp_path):
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        pictures = container.add_stream("mpeg4", rate=25)
        pictures.width = pictures.height = 64
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for at in range(25):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 10 * at, np.uint8), "rgb24")
            container.mux(pictures.encode(picture))
        container.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(tone()[None], "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    wave = make().decode("x.mp4", tmp_path)
    assert len(wave.samples) / wave.rate_hz == pytest.approx(1, abs=0.2)
    assert find_frequency(wave.samples, wave.rate_hz) == pytest.approx(440, abs=2)


def test_what_changes_values_is_in_the_key_and_what_limits_them_is_not():
    def key(**options):
        return make(**options).preprocessing()

    assert key() == key(max_s=5.0) == key(min_s=0.2, silence_db=-50.0, max_megabytes=1.0)
    changed = [{"channel": 0}, {"trim_db": -40.0}, {"loudness_lufs": -23.0}]
    assert all(key(**options) != key() for options in changed)


def test_a_kind_can_be_sent_to_another_process():
    assert pickle.dumps(make(trim_db=-40.0))


def say(seed, folder):
    """Give a spoken clip with its pauses, as it comes out of a compressed file."""
    rng = np.random.default_rng(seed)
    write_voice(folder / "x.ogg", speak(draw_speaker(rng), "negative", rng))
    return make().decode("x.ogg", folder)


def measure_snr_db(clean, noisy):
    noise = noisy.samples.astype(np.float64) - clean.samples
    return 10 * np.log10(clean.samples.var(dtype=np.float64) / np.mean(noise**2))


@pytest.mark.parametrize(("level", "snr_db"), [(0.01, 39.5), (0.3, 25), (0.6, 10), (1.0, -10)])
def test_noise_has_the_stated_ratio_and_covers_all_of_the_recording(level, snr_db, tmp_path):
    for seed in range(4):
        wave = say(seed, tmp_path)
        noisy = make().corrupt(wave, level, np.random.default_rng(seed))
        assert (noisy.rate_hz, len(noisy.samples)) == (wave.rate_hz, len(wave.samples))
        assert measure_snr_db(wave, noisy) == pytest.approx(snr_db, abs=0.1)
        noise = (noisy.samples - wave.samples).astype(np.float64)
        parts = np.array([np.mean(part**2) for part in np.array_split(noise, 10)])
        assert (np.abs(10 * np.log10(parts / np.mean(noise**2))) < 6).all()
        alike = np.corrcoef(noisy.samples, wave.samples)[0, 1]
        assert alike == pytest.approx((1 + 10 ** (-snr_db / 10)) ** -0.5, abs=0.05)


def test_noise_is_white_or_pink_each_as_often(require_share):
    wave, pink = Waveform(tone(amplitude=0.1, duration_s=0.1), 16_000), 0
    for seed in range(400):
        noise = make().corrupt(wave, 0.9, np.random.default_rng(seed)).samples - wave.samples
        power = np.abs(np.fft.rfft(noise)) ** 2
        low = power[: len(power) // 8].sum() / power.sum()  # 1/8 of white's, 3/4 of pink's
        assert abs(low - 0.125) < 0.08 or low > 0.5
        pink += low > 0.5
    require_share(pink, 400, 0.5)


@pytest.mark.parametrize("level", [0.2, 1.0])
def test_what_would_be_too_loud_is_turned_down_and_not_clipped(level):
    quiet = tone(amplitude=0.01)
    loud = Waveform(np.float32(99) * quiet, 16_000)
    for seed in range(4):
        low = make().corrupt(Waveform(quiet, 16_000), level, np.random.default_rng(seed))
        high = make().corrupt(loud, level, np.random.default_rng(seed))
        assert np.abs(high.samples).max() == 1
        np.testing.assert_allclose(high.samples, low.samples / np.abs(low.samples).max(), atol=1e-6)


def test_silence_stays_silent():
    silence = Waveform(np.zeros(800, np.float32), 8000)
    for seed in range(4):
        assert not make().corrupt(silence, 1.0, np.random.default_rng(seed)).samples.any()


def test_the_more_noise_the_less_of_the_recording_is_left(tmp_path):
    wave = say(0, tmp_path)
    alike = []
    for level in np.linspace(0, 1, 11):
        drawn = [make().corrupt(wave, float(level), np.random.default_rng(s)) for s in range(4)]
        alike.append(np.mean([np.corrcoef(one.samples, wave.samples)[0, 1] for one in drawn]))
    assert (np.diff(alike) < 0).all()
    assert alike[-1] < 0.35
