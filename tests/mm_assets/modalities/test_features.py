import json
from pathlib import Path

import numpy as np
import pytest

from mm_assets.contracts.errors import BadSampleError, ConfigError
from mm_assets.modalities.base import load_modality

HERE = Path()


def make(dim=3, **augment):
    return load_modality("features", {"dim": dim}, augment, where="modalities.x")


@pytest.mark.parametrize(
    "cell", ["[1, 2.5, -3]", [1, 2.5, -3], (1, 2.5, -3), np.array([1, 2.5, -3])]
)
def test_one_vector_is_the_same_however_it_is_written(cell):
    modality = make()
    np.testing.assert_array_equal(modality.decode(cell, HERE), np.float32([1, 2.5, -3]))
    assert modality.decode(cell, HERE).dtype == np.float32
    assert modality.probe(cell, HERE) == {
        **modality.probe("[1.0, 2.5, -3.0]", HERE),
        "length": 3,
        "minimum": -3.0,
        "maximum": 2.5,
    }


@pytest.mark.parametrize(
    ("cell", "reason", "detail"),
    [
        ("[1, 2]", "vector_length", r"`options.dim` = 3 numbers, got 2"),
        ([], "vector_length", r"got 0"),
        ("[1, null, 2]", "vector_not_finite", r"number 2 of 3 is nan"),
        ([1, 2, float("inf")], "vector_not_finite", r"number 3 of 3 is inf"),
        (
            [1, 2, 1e300],
            "vector_not_finite",
            r"number 3 of 3 is 1e\+300; all must be finite as 32-bit",
        ),
        ("1, 2, 3", "vector_unreadable", r"list of numbers such as \[0.5, 2\], got '1, 2, 3'$"),
        (["a", "b", "c"], "vector_unreadable", r"must hold a list of numbers"),
        ([[1, 2, 3]], "vector_unreadable", r"must hold a flat list, got 2 dimensions"),
        (5, "vector_unreadable", r"must hold a flat list, got 0 dimensions"),
        ('{"a": 1}', "vector_unreadable", r"must hold a list of numbers"),
    ],
)
def test_a_bad_vector_has_its_reason(cell, reason, detail):
    modality = make()
    for look in (modality.probe, modality.decode):
        with pytest.raises(BadSampleError, match=detail) as caught:
            look(cell, HERE)
        assert caught.value.reason == reason


def test_the_length_must_be_stated():
    with pytest.raises(ConfigError, match=r"`modalities.x.options.dim` is missing"):
        load_modality("features", {}, {}, where="modalities.x")


def test_a_batch_is_a_matrix():
    arrays = make().collate([np.float32([1, 2, 3]), make().placeholder({})], {})
    np.testing.assert_array_equal(arrays["vector"], [[1, 2, 3], [0, 0, 0]])
    assert arrays["vector"].dtype == np.float32


def test_noise_is_relative_and_the_same_each_time():
    modality, value = make(10_000, noise=0.1), np.linspace(-5, 1000, 10_000, dtype=np.float32)
    plan = json.loads(json.dumps(modality.plan(np.random.default_rng(3))))
    rendered = modality.render(value, plan)
    np.testing.assert_array_equal(rendered, modality.render(value, plan))
    ratio = rendered / value - 1
    assert abs(ratio.mean()) < 0.004  # four standard errors
    assert abs(ratio.std() - 0.1) < 0.003


def test_no_noise_changes_nothing():
    modality, value = make(noise=0.0), np.float32([1, 2, 3])
    rendered = modality.render(value, modality.plan(np.random.default_rng(0)))
    np.testing.assert_array_equal(rendered, value)


SEQUENCE = {"dim": 2, "sequence": True}


def load(**options):
    return load_modality("features", options, {}, where="modalities.x")


def test_a_sequence_is_read_from_lists_json_and_parquet(tmp_path):
    steps = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    modality = load(**SEQUENCE)
    nested = np.array([np.array(step) for step in steps] + [None], dtype=object)[:3]
    for cell in (steps, "[[1, 2], [3, 4], [5, 6]]", np.array(steps), nested):
        np.testing.assert_array_equal(modality.decode(cell, tmp_path), np.float32(steps))
        assert modality.read(cell, tmp_path) == modality.read(steps, tmp_path)
    found = modality.probe_many([steps, "[[1, 2]]", "[1, 2]"], tmp_path)
    assert list(found.measured["steps"]) == [3, 1]
    assert list(found.errors) == [2]


@pytest.mark.parametrize(
    ("cell", "options", "reason", "detail"),
    [
        (
            "[1, 2]",
            {},
            "vector_unreadable",
            "equally long lists, as `options.sequence` says, got 1",
        ),
        ("[[1, 2], [3]]", {}, "vector_unreadable", "list of numbers"),
        ("[[1, 2, 3]]", {}, "vector_length", r"`options.dim` = 2 numbers, got 3"),
        ([[1.0, np.nan]], {}, "vector_not_finite", "number 2 of 2 is nan"),
        (np.empty((0, 2)), {}, "sequence_empty", "has 0 vectors, at least 1"),
        ([[1, 2]] * 3, {"max_steps": 2}, "sequence_too_long", "has 3 vectors, .* = 2 are needed"),
    ],
)
def test_a_bad_sequence_has_a_reason(cell, options, reason, detail, tmp_path):
    with pytest.raises(BadSampleError, match=detail) as caught:
        load(**SEQUENCE, **options).decode(cell, tmp_path)
    assert caught.value.reason == reason


def test_lists_of_vectors_are_told_of_the_option(tmp_path):
    with pytest.raises(BadSampleError, match=r"2 dimensions; .* set `options.sequence: true`"):
        load(dim=2).decode([[1, 2]], tmp_path)


def test_an_encoder_that_asks_for_steps_gets_them_padded_and_another_one_their_mean():
    modality = load(**SEQUENCE)
    values = [np.float32([[1, 2], [3, 4], [5, 6]]), np.float32([[7, 8]])]
    steps = modality.collate(values, {"max_steps": 2})
    np.testing.assert_array_equal(steps["vectors"], [[[1, 2], [3, 4]], [[7, 8], [0, 0]]])
    np.testing.assert_array_equal(steps["length"], [2, 1])
    np.testing.assert_array_equal(modality.collate(values, {})["vector"], [[3, 4], [7, 8]])


@pytest.mark.parametrize(("level", "snr_db"), [(0.05, 37.5), (0.5, 15), (1.0, -10)])
def test_noise_is_relative_to_each_number_and_some_are_lost(level, snr_db, require_share):
    value = np.geomspace(1e-6, 1e6, 100_000).astype(np.float32)
    value[::2] *= -1
    noisy = make(len(value)).corrupt(value, level, np.random.default_rng(4))
    lost = noisy == 0
    require_share(lost.sum(), len(value), level / 2)
    relative = (noisy[~lost] / value[~lost] - 1).astype(np.float64)
    assert -10 * np.log10(np.mean(relative**2)) == pytest.approx(snr_db, abs=0.1)
    assert abs(relative.mean()) < 4 * relative.std() / len(relative) ** 0.5
    halves = [half.std() for half in np.array_split(relative, 2)]
    assert halves[0] == pytest.approx(halves[1], rel=0.03)


def test_noise_on_a_sequence_is_relative_to_what_a_number_is_over_time():
    rng = np.random.default_rng(0)
    value = (rng.standard_normal((50_000, 2)) * [1, 1000]).astype(np.float32)
    noisy = load(**SEQUENCE).corrupt(value, 0.4, rng)
    for column, changed in zip(value.T, noisy.T, strict=True):
        noise = (changed - column)[changed != 0]
        assert 20 * np.log10(column.std() / noise.std()) == pytest.approx(20, abs=0.1)
        # As much where the number itself is near 0.
        near = np.abs(column) < 0.1 * column.std()
        assert (changed - column)[near & (changed != 0)].std() == pytest.approx(
            noise.std(), rel=0.1
        )


def test_the_largest_numbers_stay_finite():
    value = np.full(1000, np.finfo(np.float32).max)
    for one in (value, -value):
        assert np.isfinite(make(1000).corrupt(one, 1.0, np.random.default_rng(0))).all()


def test_the_more_noise_the_less_of_a_vector_is_left():
    value = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    alike = []
    for level in np.linspace(0, 1, 11):
        noisy = make(len(value)).corrupt(value, float(level), np.random.default_rng(1))
        alike.append(np.corrcoef(noisy, value)[0, 1])
    assert (np.diff(alike) < 0).all()
    assert alike[-1] < 0.3
