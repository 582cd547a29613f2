"""What `corrupt` owes its callers, whatever the kind; each kind's own file measures its noise."""

import copy
import dataclasses

import numpy as np
import pytest
from PIL import Image

from mm_assets.contracts.errors import DataContractError
from mm_assets.modalities.audio import Waveform
from mm_assets.modalities.base import list_kinds, load_modality
from mm_assets.modalities.events import History
from mm_assets.modalities.signal import Recording
from mm_assets.modalities.video import Clip

STEPS = np.sin(np.arange(800) / 9).astype(np.float32)
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)

# By kind: its options, a decoded value, and what an encoder may ask of `collate`.
CASES = {
    "audio": ({}, Waveform(0.5 * STEPS, 8000), {"rate_hz": 16_000, "max_s": 1.0}),
    "events": (
        {},
        History(np.arange(9.0), tuple("abcabcabc"), np.arange(9, dtype=np.float32)),
        {"max_events": 16},
    ),
    "features": ({"dim": 800}, STEPS, {}),
    "image": ({}, Image.fromarray(PIXELS[0]), {"size_px": 16}),
    "signal": (
        {"rate_hz": 100, "channels": 2},
        Recording(np.stack([STEPS, 3 + STEPS]), 100.0),
        {"max_s": 9.0},
    ),
    "tabular": (
        {"columns": {"age": "numeric", "plan": "categorical", "sum": "numeric"}},
        {"age": 30.0, "plan": "pro", "sum": None},
        {},
    ),
    "text": (
        {},
        "One word after another, 再说一遍, مرة أخرى 👩‍👩‍👧 🇩🇪",
        {"ngrams": [1, 3], "bits": 12, "max_chars": 99},
    ),
    "video": (
        {},
        Clip(PIXELS, np.float32([0, 1]), 2.0, 20),
        {"size_px": 16},
    ),
}
LEVELS = (0.05, 0.3, 0.7, 1.0)


def make(kind):
    options, value, inputs = CASES[kind]
    return load_modality(kind, options, {}, where="x"), value, inputs


def flatten(value):
    """Give a value as parts that compare by `==`."""
    if dataclasses.is_dataclass(value):
        return [flatten(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, (np.ndarray, Image.Image)):
        array = np.asarray(value)
        return array.shape, str(array.dtype), array.tobytes()
    return value


def test_every_kind_has_a_case():
    assert sorted(CASES) == list_kinds()


@pytest.mark.parametrize("kind", CASES)
def test_level_0_leaves_a_value_as_it_is(kind):
    modality, value, _ = make(kind)
    same = modality.corrupt(value, 0.0, np.random.default_rng(1))
    assert flatten(same) == flatten(value)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("level", [-0.01, 1.01, float("nan"), 30.0])
def test_a_level_beyond_0_to_1_is_refused(kind, level):
    modality, value, _ = make(kind)
    with pytest.raises(
        DataContractError, match=rf"^{kind}: the level .* 0 .* to 1 .*, got {level}"
    ):
        modality.corrupt(value, level, np.random.default_rng(0))


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("level", LEVELS)
def test_a_corrupted_value_is_legal_and_repeatable_and_the_given_one_stays_whole(kind, level):
    modality, value, inputs = make(kind)
    before = copy.deepcopy(flatten(value))
    seeds = range(8)
    drawn = [modality.corrupt(value, level, np.random.default_rng(seed)) for seed in seeds]
    again = [modality.corrupt(value, level, np.random.default_rng(seed)) for seed in seeds]
    assert flatten(value) == before
    assert list(map(flatten, drawn)) == list(map(flatten, again))
    assert len({str(flatten(one)) for one in drawn}) > 1
    clean, noisy = modality.collate([value], inputs), modality.collate(drawn, inputs)
    assert clean.keys() == noisy.keys()
    for name, array in noisy.items():
        assert array.dtype == clean[name].dtype
        if kind != "tabular":  # a missing number is NaN
            assert np.isfinite(array).all()
