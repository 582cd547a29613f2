import numpy as np
import pytest
from PIL import Image

from mm_assets.sources.sample.photo import LIGHTS, OBJECTS, SIZE_PX, take_photo, write_photo


@pytest.mark.parametrize("intent", list(OBJECTS))
@pytest.mark.parametrize("sentiment", list(LIGHTS))
def test_a_photo_is_a_small_colour_square(intent, sentiment, tmp_path):
    photo = take_photo(intent, sentiment, np.random.default_rng(0))
    write_photo(tmp_path / "photo.jpg", photo)

    with Image.open(tmp_path / "photo.jpg") as stored:
        assert (stored.format, stored.mode, stored.size) == ("JPEG", "RGB", (SIZE_PX, SIZE_PX))
        error = np.asarray(stored, float) - np.asarray(photo, float)
    assert np.sqrt(np.mean(error**2)) < 25  # of 255: lossy, but the same picture
    assert (tmp_path / "photo.jpg").stat().st_size < 8_000


@pytest.mark.slow
def test_light_is_dim_and_blue_for_bad_news_and_bright_and_warm_for_good():
    means = {
        sentiment: np.mean(
            [np.asarray(take_photo(i, sentiment, np.random.default_rng(s))) for i in OBJECTS
             for s in range(10)], axis=(0, 1, 2),
        )
        for sentiment in LIGHTS
    }  # fmt: skip
    brightness = [means[s].mean() for s in ("negative", "neutral", "positive")]
    assert np.diff(brightness).min() > 15
    assert means["negative"][2] > means["negative"][0]
    assert means["positive"][0] > means["positive"][2] + 30


def test_the_same_seed_gives_the_same_photo_and_another_seed_another():
    first, again, other = (
        np.asarray(take_photo("account", "neutral", np.random.default_rng(seed)))
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 5


def test_only_the_object_differs_between_intents_of_one_seed():
    scenes = [np.asarray(take_photo(i, "neutral", np.random.default_rng(1)), int) for i in OBJECTS]
    for a in range(len(scenes)):
        for b in range(a):
            assert np.abs(scenes[a] - scenes[b]).mean() > 5
