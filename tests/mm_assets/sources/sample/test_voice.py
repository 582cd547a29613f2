import av
import numpy as np
import pytest

from mm_assets.sources.sample.voice import (
    DURATION_S,
    MOODS,
    RATE_HZ,
    Speaker,
    draw_speaker,
    speak,
    write_voice,
)

QUIET_ROOM = Speaker(pitch_hz=150.0, tract=1.1, level_db=-25.0, noise_db=-60.0)


def measure_pitch_hz(clip):
    """Find the pitch of each 50 ms frame by autocorrelation; NaN where it is not voiced."""
    found = []
    for start in range(0, len(clip) - 800, 400):
        frame = clip[start : start + 800] - clip[start : start + 800].mean()
        echo = np.correlate(frame, frame, "full")[799:]
        lag = 40 + int(echo[40:260].argmax())
        found.append(RATE_HZ / lag if echo[lag] > 0.5 * echo[0] > 0.05 else np.nan)
    return np.array(found)


def level_db(clip):
    return 10 * np.log10(np.mean(clip**2))


@pytest.mark.parametrize("sentiment", list(MOODS))
def test_a_clip_is_mono_float_of_the_stated_length(sentiment):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        clip = speak(draw_speaker(rng), sentiment, rng)
        assert clip.shape == (DURATION_S * RATE_HZ,)
        assert clip.dtype == np.float32
        assert np.abs(clip).max() <= 1
        assert level_db(clip) > -45


def test_a_neutral_clip_keeps_the_speakers_pitch():
    pitch = measure_pitch_hz(speak(QUIET_ROOM, "neutral", np.random.default_rng(0)))
    semitones = 12 * np.log2(np.nanmedian(pitch) / QUIET_ROOM.pitch_hz)
    assert abs(semitones) < 1.2  # drawn with a standard deviation of 0.4


@pytest.mark.parametrize(("sentiment", "rises"), [("positive", True), ("negative", False)])
def test_pitch_glides_with_the_mood(sentiment, rises):
    pitch = measure_pitch_hz(speak(QUIET_ROOM, sentiment, np.random.default_rng(0)))
    third = len(pitch) // 3
    start, end = np.nanmedian(pitch[:third]), np.nanmedian(pitch[-third:])
    assert (end > 1.1 * start) if rises else (end < 0.9 * start)


def test_a_happy_voice_is_louder_and_a_sad_one_quieter_by_what_the_mood_says():
    levels = {
        mood: np.mean(
            [level_db(speak(QUIET_ROOM, mood, np.random.default_rng(seed))) for seed in range(10)]
        )
        for mood in MOODS
    }
    for mood, expected in MOODS.items():
        # The level varies by 1 dB from clip to clip.
        assert levels[mood] == pytest.approx(QUIET_ROOM.level_db + expected.loudness_db, abs=1)


def test_the_same_seed_gives_the_same_clip_and_file(tmp_path):
    for name in ("a.ogg", "b.ogg"):
        write_voice(tmp_path / name, speak(QUIET_ROOM, "positive", np.random.default_rng(4)))
    assert (tmp_path / "a.ogg").read_bytes() == (tmp_path / "b.ogg").read_bytes()


def test_a_written_clip_is_small_and_sounds_as_it_was(tmp_path):
    path = tmp_path / "clip.ogg"
    clip = speak(QUIET_ROOM, "neutral", np.random.default_rng(1))
    write_voice(path, clip)

    with av.open(str(path)) as container:
        resampler = av.AudioResampler("flt", "mono", RATE_HZ)
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        heard = np.concatenate([f.to_ndarray()[0] for f in (*frames, *resampler.resample(None))])

    assert path.stat().st_size < 8_000
    assert len(heard) / RATE_HZ == pytest.approx(DURATION_S, abs=0.02)
    assert level_db(heard) == pytest.approx(level_db(clip), abs=1)
    pitches = [np.nanmedian(measure_pitch_hz(x)) for x in (clip, heard)]
    assert pitches[0] == pytest.approx(pitches[1], rel=0.03)
