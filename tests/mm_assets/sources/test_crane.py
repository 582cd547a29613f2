import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.errors import SourceError
from mm_assets.modalities.base import load_modality
from mm_assets.sources.crane import CLEAR, FRAMES, bound, draw_crane, film, generate_crane, hum


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crane") / "data"
    generate_crane(folder, rows=16, cranes=4)
    return folder


def find_crate(frames):
    """Follow the crate as an outsider would: the middle of what differs from the clip's median."""
    moved = np.abs(frames.astype(int) - np.median(frames, axis=0)).sum(axis=3) > 100
    return [np.argwhere(one).mean(axis=0) for one in (moved[0], moved[-1])]


@pytest.mark.parametrize(
    ("motion", "way"), [("left", (0, -1)), ("right", (0, 1)), ("up", (-1, 0)), ("down", (1, 0))]
)
def test_a_crate_moves_where_its_label_says(motion, way):
    for number in range(8):
        frames = film(draw_crane(0, number), motion, np.random.default_rng(number), fog=False)
        first, last = find_crate(frames)
        assert np.dot(last - first, way) > 5


def test_a_frame_in_the_middle_says_nothing_of_the_motion():
    """With equal draws it is the same frame to the pixel, but for half a step of the crate."""
    middles = []
    for motion in ("left", "right"):
        rng = np.random.default_rng(1)
        frames = film(draw_crane(0, 0), motion, rng, fog=False).astype(int)
        middles.append((frames[FRAMES // 2 - 1], frames[FRAMES // 2]))
    assert np.abs(middles[0][0] - middles[1][1]).max() == 0 or (
        np.mean(np.abs(middles[0][0] - middles[1][1]).max(axis=2) > 90) < 0.03
    )


@pytest.mark.parametrize(("load", "hz"), [("light", 320), ("heavy", 160)])
def test_the_motor_of_a_heavy_load_is_an_octave_lower(load, hz):
    for number in range(4):
        crane = draw_crane(0, number)
        sound = hum(crane, "left", load, np.random.default_rng(number), wind=False)
        power = np.abs(np.fft.rfft(sound)) ** 2
        strongest = np.fft.rfftfreq(len(sound), 1 / 16_000)[power.argmax()]
        assert strongest == pytest.approx(hz * crane.tune, rel=0.15)


def test_what_fog_and_wind_leave_is_noise():
    rng = np.random.default_rng(0)
    crane = draw_crane(0, 0)
    frames = film(crane, "up", rng, fog=True)
    assert frames.std(axis=(1, 2)).max() < 2 * crane.grain
    power = np.abs(np.fft.rfft(hum(crane, "up", "heavy", rng, wind=True))) ** 2
    assert power.max() < 30 * power.mean()  # no line stands out


def test_the_bound_is_what_guessing_the_best_class_comes_to():
    """Drawn anew: a clear channel names the class, else the commonest is guessed."""
    rng = np.random.default_rng(0)
    draws = 200_000
    seen, heard = (rng.random(draws) < CLEAR[name] for name in ("video", "audio"))
    motion, heavy = rng.integers(0, 4, draws), rng.random(draws) < 0.4
    assert np.mean(seen | heard | (motion == 0)) == pytest.approx(
        bound("motion", ("video", "audio")), abs=4e-3
    )
    assert np.mean(seen | (motion == 0)) == pytest.approx(bound("motion", ("video",)), abs=4e-3)
    assert np.mean(heard | ~heavy) == pytest.approx(bound("load", ("audio",)), abs=4e-3)
    assert bound("load", ("video",)) == pytest.approx(0.6)


def test_one_file_holds_picture_and_sound(clips):
    table = pd.read_csv(clips / "samples.csv")
    assert list(table.columns) == ["id", "crane", "clip", "motion", "load"]
    assert table.groupby("crane").size().tolist() == [4] * 4
    video, audio = (load_modality(kind, {}, {}, where="x") for kind in ("video", "audio"))
    for cell in table["clip"]:
        assert video.probe(cell, clips)["duration_s"] == pytest.approx(1.2, abs=0.01)
        assert audio.probe(cell, clips)["duration_s"] == pytest.approx(1.2, abs=0.1)
    card = json.loads((clips / "card.json").read_text())
    assert card["upper_bounds"]["motion"] == {"video": 0.85, "audio": 0.775, "video+audio": 0.955}


def test_the_same_seed_gives_the_same_bytes(clips, tmp_path):
    def digest(folder):
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.*")
        }

    generate_crane(tmp_path / "again", rows=16, cranes=4)
    assert digest(tmp_path / "again") == digest(clips)


def test_a_folder_that_holds_files_is_refused(clips):
    with pytest.raises(SourceError, match=r"need an empty folder, but .* holds files; empty it"):
        generate_crane(clips)
