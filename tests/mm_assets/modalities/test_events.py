import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.contracts.errors import BadSampleError
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.events import History
from mm_assets.modalities.tabular import hash_category


def load(augment=None, **options):
    return load_modality("events", options, augment or {}, where="modalities.visits")


def test_events_are_put_in_order_whatever_the_cell_looks_like(tmp_path):
    lists = [[3.5, "buy", 19.9], [0, "view", None], [1, "view", None]]
    history = load().decode(lists, tmp_path)
    np.testing.assert_array_equal(history.times_s, [0, 1, 3.5])
    assert history.types == ("view", "view", "buy")
    np.testing.assert_allclose(history.values, [np.nan, np.nan, 19.9], rtol=1e-6)
    for same in (json.dumps(lists), np.array(lists, dtype=object), tuple(lists)):
        assert load().read(same, tmp_path) == load().read(lists, tmp_path)


def test_mappings_and_dates_are_read(tmp_path):
    cell = [
        {"time": "2026-01-01T00:00:00Z", "type": "a"},
        {"time": "2026-01-01T01:00:00+00:00", "type": "b", "value": 2},
        {"time": "2026-01-02", "type": "c"},
    ]
    history = load().decode(cell, tmp_path)
    np.testing.assert_array_equal(np.diff(history.times_s), [3600, 82_800])


def test_probe_measures(tmp_path):
    measured = load().probe('[[10, "a"], [5, "b"], [20, "a"]]', tmp_path)
    content = measured.pop("content")
    assert measured == {"events": 3, "types": 2, "span_s": 15.0}
    assert content == load().probe('[[5, "b"], [10.0, "a", null], [20, "a"]]', tmp_path)["content"]


def test_that_nothing_happened_is_known(tmp_path):
    assert load().probe("[]", tmp_path)["events"] == 0
    assert load().describe(load().decode([], tmp_path)).text == "no event"


@pytest.mark.parametrize(
    ("cell", "options", "reason", "detail"),
    [
        ("no JSON", {}, "events_unreadable", r"a list of events such as .* got 'no JSON'"),
        ("[" * 100_000, {}, "events_unreadable", "list of events"),
        ({"time": 1}, {}, "events_unreadable", "list of events"),
        ([[1]], {}, "event_unreadable", r"event 1 must be \[time, type\]"),
        ([[1, "a"], [1, ""]], {}, "event_unreadable", r"event 2 must be"),
        ([[1, "a", 2, 3]], {}, "event_unreadable", r"got \[1, 'a', 2, 3\]"),
        ([{"when": 1, "type": "a"}], {}, "event_unreadable", "event 1"),
        ([["noon", "a"]], {}, "time_unreadable", r"time of event 1 must be seconds or an ISO 8601"),
        ([[None, "a"]], {}, "time_unreadable", "got None"),
        ([[float("inf"), "a"]], {}, "time_unreadable", "got inf"),
        ([[1, "a", "much"]], {}, "number_unreadable", "'value' holds 'much'"),
        ([[1, "a", 1e300]], {}, "number_not_finite", "'value' holds 1e"),
        ([[1, "a"]] * 3, {"max_events": 2}, "events_too_many", r"holds 3 events, the limit is 2"),
        ([[1, "a"]], {"min_events": 2}, "events_too_few", r"holds 1 events, `options.min_events`"),
    ],
)
def test_a_bad_cell_has_a_reason(cell, options, reason, detail, tmp_path):
    with pytest.raises(BadSampleError, match=detail) as caught:
        load(**options).probe(cell, tmp_path)
    assert caught.value.reason == reason


def test_a_batch_holds_the_last_events_with_gap_age_and_value(tmp_path):
    modality = load()
    long = modality.decode([[0, "a"], [10, "b", 7], [16, "a"]], tmp_path)
    arrays = modality.collate([long, modality.decode([], tmp_path)], {"max_events": 2})
    np.testing.assert_array_equal(arrays["types"][0], [hash_category("b"), hash_category("a")])
    np.testing.assert_array_equal(arrays["numbers"][0], [[0, 6, 7, 1], [6, 0, 0, 0]])
    assert not arrays["types"][1].any()
    assert not arrays["numbers"][1].any()


events = st.lists(
    st.tuples(
        st.floats(-1e9, 1e9),
        st.text("abцд语", min_size=1),
        st.none() | st.floats(-1e6, 1e6),
    ),
    max_size=20,
)


@given(cell=events, seed=st.integers(0, 2**32 - 1))
def test_a_rendering_is_a_history_again_and_the_same_each_time(cell, seed, tmp_path_factory):
    modality = load({"drop": 0.5, "stretch": 0.5, "noise": 0.5})
    history = modality.decode(cell, tmp_path_factory.getbasetemp())
    plan = modality.plan(np.random.default_rng(seed))
    one, two = modality.render(history, plan), modality.render(history, plan)
    assert one.types == two.types
    np.testing.assert_array_equal(one.times_s, two.times_s)
    assert (np.diff(one.times_s) >= 0).all()
    assert bool(one.types) == bool(history.types)
    assert len(one.types) == len(one.times_s) == len(one.values) <= len(history.types)


def test_without_strength_a_rendering_changes_nothing(tmp_path):
    modality = load({"drop": 0.0, "stretch": 0.0, "noise": 0.0})
    history = modality.decode([[0, "a", 1], [5, "b", 2]], tmp_path)
    copy = modality.render(history, modality.plan(np.random.default_rng(0)))
    np.testing.assert_array_equal(copy.times_s, history.times_s)
    np.testing.assert_array_equal(copy.values, history.values)


def test_the_placeholder_has_no_event():
    arrays = load().collate([load().placeholder({})], {"max_events": 8})
    assert arrays["types"].shape == (1, 2)
    assert not arrays["types"].any()


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_events_are_lost_and_moved_as_a_level_says(level, require_share):
    count = 20_000
    history = History(
        np.arange(count) * 10.0,
        tuple(str(place) for place in range(count)),
        np.where(np.arange(count) % 2, 7.0, np.nan).astype(np.float32),
    )
    changed = load().corrupt(history, level, np.random.default_rng(2))
    require_share(count - len(changed.types), count - 1, level)
    places = np.array([int(kind) for kind in changed.types])
    assert (np.diff(places) > 0).all(), "each at most once, and in order"
    assert (np.diff(changed.times_s) >= 0).all()
    np.testing.assert_array_equal(np.isnan(changed.values), places % 2 == 0)
    factors = (changed.values / 7)[places % 2 == 1].astype(np.float64)
    assert factors.std() == pytest.approx(level, rel=4 / (2 * len(factors)) ** 0.5)
    gaps = np.diff(changed.times_s)[np.diff(places) == 1] / 10  # between two that were neighbours
    assert 1 - level <= gaps.min() <= gaps.max() <= 1 + level
    assert gaps.std() == pytest.approx(level / 3**0.5, rel=0.1)  # of a uniform one


def test_at_most_noise_one_event_stays_and_nothing_stays_nothing(tmp_path):
    history, rng = load().decode([[0, "a"], [1, "b"], [2, "c"]], tmp_path), np.random.default_rng(0)
    left = {load().corrupt(history, 1.0, rng).types for _ in range(60)}
    assert left == {("a",), ("b",), ("c",)}
    assert load().corrupt(load().decode([], tmp_path), 1.0, rng).types == ()


@pytest.mark.parametrize("far_s", [1e9, 1.7e308])
def test_corrupted_times_and_values_stay_finite(far_s, tmp_path):
    cell = [[-far_s, "a", 3.4e38], [0, "b", -3.4e38], [far_s, "c", 3.4e38]] * 20
    history = load().decode(cell, tmp_path)
    for seed in range(20):
        changed = load().corrupt(history, 0.7, np.random.default_rng(seed))
        assert np.isfinite(changed.times_s).all()
        assert np.isfinite(changed.values).all()
        assert (changed.times_s[1:] >= changed.times_s[:-1]).all()
