import json
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.signal import butter, find_peaks, sosfreqz

from mm_assets.contracts.errors import BadSampleError, ConfigError, DataContractError
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.signal import Recording
from mm_assets.sources.ecg import draw_patient, record

HERE = Path()  # of cells that are no files
RATE_HZ = 100.0


def make(augment=None, **options):
    options = {"rate_hz": RATE_HZ, "max_gap_s": 0.05, **options}
    return load_modality("signal", options, augment or {}, where="modalities.x")


def sine(frequency_hz, duration_s=4.0, rate_hz=RATE_HZ):
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return np.sin(2 * np.pi * frequency_hz * time_s)


def amplitude(samples, frequency_hz, rate_hz=RATE_HZ):
    """Of a sine in the middle of a signal."""
    inside = samples[len(samples) // 4 : -len(samples) // 4]
    time_s = np.arange(len(inside)) / rate_hz
    return 2 * np.abs(np.mean(inside * np.exp(-2j * np.pi * frequency_hz * time_s)))


SIGNAL = np.stack([sine(2), 10 + sine(3)])


@pytest.fixture
def written(tmp_path):
    """Write one signal of two channels in every format; give the cells and the folder."""
    np.save(tmp_path / "a.npy", SIGNAL)
    np.savez(tmp_path / "a.npz", SIGNAL)
    frame = pd.DataFrame(SIGNAL.T, columns=["x", "y"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, header=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    lists = SIGNAL.tolist()
    cells = [f"a.{end}" for end in ("npy", "npz", "csv", "tsv", "parquet")]
    return [*cells, lists, json.dumps(lists), np.array([*map(np.array, lists)])], tmp_path


def test_one_signal_is_the_same_however_it_is_written(written):
    cells, folder = written
    modality = make(channels=2)
    for cell in cells:
        value = modality.decode(cell, folder)
        assert value.samples.dtype == np.float32
        assert value.rate_hz == RATE_HZ
        np.testing.assert_allclose(value.samples, SIGNAL, rtol=1e-6, atol=1e-6)
    assert len({modality.read(cell, folder) for cell in cells[5:]}) == 1


def test_a_flat_list_is_one_channel_and_no_other_shape_has_its_identity():
    modality = make()
    flat, nested = list(range(40)), [list(range(20)), list(range(20, 40))]
    assert modality.decode(flat, HERE).samples.shape == (1, 40)
    assert modality.read(flat, HERE) != modality.read(nested, HERE)


def test_layout_says_where_time_lies(tmp_path):
    np.save(tmp_path / "a.npy", SIGNAL.T)
    with pytest.raises(
        BadSampleError, match=r"has 400 of 2 samples each; set .*layout: time_first"
    ):
        make(channels=2).decode("a.npy", tmp_path)
    value = make(channels=2, layout="time_first").decode("a.npy", tmp_path)
    np.testing.assert_allclose(value.samples, SIGNAL, rtol=1e-6, atol=1e-6)


def test_a_table_gives_the_columns_that_are_asked_for(tmp_path):
    pd.DataFrame({"s": np.arange(400), "x": SIGNAL[0], "y": SIGNAL[1]}).to_csv(
        tmp_path / "a.csv", index=False
    )
    with pytest.raises(BadSampleError, match=r"it has 3 \(s, x, y\); name the wanted ones"):
        make(channels=2).decode("a.csv", tmp_path)
    value = make(channels=2, columns=["y", "x"]).decode("a.csv", tmp_path)
    np.testing.assert_allclose(value.samples, SIGNAL[::-1], rtol=1e-6, atol=1e-6)


def test_a_probe_measures_the_signal_in_its_own_units():
    cell = [*SIGNAL[0][:100], None, None, *SIGNAL[0][102:]]
    measured = make().probe(cell, HERE)
    assert len(measured.pop("content")) == 64
    assert measured == {
        "channels": 1,
        "duration_s": 4.0,
        "rate_hz": RATE_HZ,
        "missing_share": 2 / 400,
        "minimum": pytest.approx(-1, abs=0.01),
        "maximum": pytest.approx(1, abs=0.01),
    }


def test_short_gaps_are_bridged_by_straight_lines():
    ramp = np.arange(50.0)
    holes = ramp.copy()
    holes[[0, 1, 20, 21, 22, 49]] = np.nan
    value = make(max_missing=0.2).decode(holes.tolist(), HERE)
    expected = ramp.copy()
    expected[[0, 1, 49]] = [2, 2, 48]  # outside, the nearest sample
    np.testing.assert_allclose(value.samples[0], expected)


NAN = float("nan")


@pytest.mark.parametrize(
    ("cell", "options", "reason", "detail"),
    [
        ([1.0] * 5 + [2.0], {}, "signal_too_short", r"0\.06 s \(6 samples\), 0\.1 s and 2"),
        ([1.0, 2.0] * 50, {"max_s": 0.5}, "signal_too_long", r"lasts 1\.000 s, 0\.5 s is most"),
        ([1.0, float("inf")] * 20, {}, "signal_not_finite", "some samples are infinite"),
        (
            [1.0, 2.0] * 10 + [NAN] * 6 + [1.0],
            {},
            "signal_gap_too_long",
            r"channel 1 misses 0\.06 s in one stretch, `max_gap_s` is 0\.05",
        ),
        ([NAN] * 20, {"max_gap_s": 9.0}, "signal_gap_too_long", "misses 0.2 s"),
        ([1.0, NAN, 2.0] * 10, {}, "signal_missing", r"33\.3 % of its samples are missing"),
        ([1.0, 1e13] * 10, {}, "signal_amplitude", r"reaches 1e\+13, `max_amplitude` is 1e\+12"),
        ([1.0, 6.0] * 10, {"max_amplitude": 5.0}, "signal_amplitude", r"reaches 6"),
        ([3.0] * 20, {}, "signal_flat", "no channel ever changes"),
        ([[1.0, 2.0] * 10] * 3, {}, "signal_channels", r"`options.channels` is 1, but it has 3$"),
        ("[1, 2", {}, "array_unreadable", "must hold a path, a list of numbers or equally long"),
        ([[1.0], [1.0, 2.0]], {}, "array_unreadable", "equally long lists of numbers"),
        ([], {}, "array_unreadable", r"got \[\]"),
        (["a"], {}, "array_unreadable", r"got \['a'\]"),
        (5, {}, "array_unreadable", "got 5"),
        ([[[1.0]]], {}, "array_unreadable", "a list of numbers"),
        ("[" * 100_000, {}, "array_unreadable", "a list of numbers"),
        (
            "[" + "1," * 9_999 + "1]",
            {"max_megabytes": 0.01},
            "array_too_large",
            r"the cell has 0\.0 MB, the limit is 0\.01",
        ),
        ("nowhere.csv", {}, "file_missing", "there is no file 'nowhere.csv'"),
        ("../a.csv", {}, "path_outside_data", "leads outside the data folder"),
    ],
)
def test_a_bad_signal_has_its_reason(cell, options, reason, detail):
    modality = make(**options)
    for look in (modality.probe, modality.decode):
        with pytest.raises(BadSampleError, match=detail) as caught:
            look(cell, HERE)
        assert caught.value.reason == reason


def test_a_flat_signal_may_be_legal_and_a_lost_lead_is():
    assert not make(flat="allow", scale="robust").decode([3.0] * 20, HERE).samples.any()
    assert make(channels=2).decode([[3.0] * 20, [1.0, 2.0] * 10], HERE).samples.shape == (2, 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"band_hz": [1.0, 50.0]}, r"`band_hz` must lie below half of `rate_hz`, which is 50"),
        ({"band_hz": [9.0, 3.0]}, "`band_hz` must rise"),
        ({"channels": 2, "columns": ["x"]}, "`channels` must be the number of `columns`, 1"),
        ({"resample_hz": 1e-4}, "`resample_hz` must be nearer to `rate_hz` 100"),
        ({"min_s": 9.0, "max_s": 1.0}, "`min_s` must not exceed `max_s`"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_the_rate_must_be_stated():
    with pytest.raises(ConfigError, match=r"`modalities.x.options.rate_hz` is missing"):
        load_modality("signal", {}, {}, where="modalities.x")


@pytest.mark.parametrize("frequency_hz", [0.5, 2.0, 8.0, 20.0, 35.0])
@pytest.mark.parametrize("band_hz", [[1.0, 25.0], [None, 10.0], [5.0, None]])
def test_a_band_is_kept_as_the_filters_response_says(frequency_hz, band_hz):
    low, high = band_hz
    form = ("lowpass", high, 4) if low is None else ("highpass", low, 4)
    form = ("bandpass", band_hz, 2) if low and high else form
    sections = butter(form[2], form[1], form[0], fs=RATE_HZ, output="sos")
    _, response = sosfreqz(sections, [frequency_hz], fs=RATE_HZ)
    value = make(band_hz=band_hz).decode(sine(frequency_hz, 40.0).tolist(), HERE)
    # Twice through the filter, so that nothing moves in time.
    expected = float(np.abs(response[0])) ** 2
    assert amplitude(value.samples[0], frequency_hz) == pytest.approx(expected, abs=0.01)


def test_a_filter_moves_nothing_in_time():
    bump = np.exp(-(((np.arange(400) - 150) / 6) ** 2))
    value = make(band_hz=[0.5, 20.0]).decode(bump.tolist(), HERE)
    assert value.samples[0].argmax() == 150


@pytest.mark.parametrize(("resample_hz", "steps"), [(50.0, 200), (250.0, 1000), (33.3, 134)])
def test_resampling_keeps_what_the_new_rate_can_hold_and_nothing_else(resample_hz, steps):
    both = sine(3.0) + sine(40.0)
    value = make(resample_hz=resample_hz).decode(both.tolist(), HERE)
    assert value.samples.shape == (1, steps)
    assert value.rate_hz == resample_hz
    assert amplitude(value.samples[0], 3.0, resample_hz) == pytest.approx(1, abs=0.02)
    alias_hz = abs(40.0 - round(40.0 / resample_hz) * resample_hz)
    kept = 1 if resample_hz > 80 else 0
    assert amplitude(value.samples[0], alias_hz, resample_hz) == pytest.approx(kept, abs=0.05)


@pytest.mark.parametrize(("window", "first"), [("start", 0), ("middle", 100), ("end", 200)])
def test_a_window_is_cut_out(window, first):
    ramp = np.arange(400.0)
    value = make(window_s=2.0, window=window).decode(ramp.tolist(), HERE)
    np.testing.assert_array_equal(value.samples[0], ramp[first : first + 200])
    assert make(window_s=9.0).decode(ramp.tolist(), HERE).samples.shape == (1, 400)


def test_a_robust_scale_hardly_heeds_an_artefact():
    noise = np.random.default_rng(0).normal(50, 3, 4000)
    noise[:40] = 1e6
    samples = make(scale="robust").decode(noise.tolist(), HERE).samples[0]
    assert np.median(samples) == pytest.approx(0, abs=1e-6)
    assert samples[40:].std() == pytest.approx(1, rel=0.05)


def test_a_filtered_electrocardiogram_keeps_its_beats_where_they_were(tmp_path):
    rng = np.random.default_rng(3)
    raw = record(draw_patient(rng, "p1"), "normal", rng)[0] * 1000
    np.savetxt(tmp_path / "ecg.csv", raw, header="lead_i", comments="")
    modality = make(rate_hz=250, band_hz=[0.5, 40.0], resample_hz=125)
    measured = modality.probe("ecg.csv", tmp_path)
    assert measured["duration_s"] == 10
    assert (measured["minimum"], measured["maximum"]) == (
        pytest.approx(raw.min()),
        pytest.approx(raw.max()),
    )
    value = modality.decode("ecg.csv", tmp_path)
    assert value.samples.shape == (1, 1250)
    before, _ = find_peaks(raw, prominence=400, distance=80)
    after, _ = find_peaks(value.samples[0], prominence=400, distance=40)
    assert len(after) == len(before) >= 10  # 60 to 100 beats a minute
    np.testing.assert_allclose(after / 125, before / 250, atol=0.012)


def test_a_plan_is_json_and_rendering_it_is_the_same_each_time():
    modality, value = (
        make({"channel_dropout": 0.5}, channels=2),
        Recording(np.float32(SIGNAL), RATE_HZ),
    )
    plans = [modality.plan(np.random.default_rng(k)) for k in range(20)]
    for plan in plans:
        rendered = modality.render(value, json.loads(json.dumps(plan)))
        np.testing.assert_array_equal(rendered.samples, modality.render(value, plan).samples)
        assert rendered.samples.dtype == np.float32
        assert rendered.samples.any(axis=1).any()  # never all channels
        assert 390 <= rendered.samples.shape[1] <= 400
    assert len({json.dumps(plan) for plan in plans}) == 20


OFF = {"noise": 0.0, "scaling": 0.0, "magnitude_warp": 0.0, "time_warp": 0.0, "shift_s": 0.0}


def render(changes, samples=SIGNAL):
    modality = make({**OFF, **changes}, channels=len(samples))
    value = Recording(np.float32(samples), RATE_HZ)
    return modality.render(value, modality.plan(np.random.default_rng(1))).samples


def test_each_change_does_what_it_says():
    np.testing.assert_array_equal(render({}), np.float32(SIGNAL))
    factor = render({"scaling": 0.5})[1] / np.float32(SIGNAL[1])  # which is never near zero
    assert factor.std() < 1e-5
    assert 0.5 <= factor.mean() <= 1.5
    assert render({"shift_s": 1.0}).shape[1] < 400
    # The same noise relative to each channel, whatever its size.
    loud = np.stack([sine(2), 100 * sine(3)])
    noise = render({"noise": 0.5}, loud) - loud
    assert noise[1].std() == pytest.approx(100 * noise[0].std(), rel=0.2)
    ramp = np.stack([np.arange(400.0)])
    pace = np.diff(render({"time_warp": 0.2}, ramp)[0])
    assert (pace > 0.6).all()
    assert (pace < 1.7).all()
    assert pace.std() > 0.01
    drift = render({"magnitude_warp": 0.3}, np.ones((1, 400)))[0]
    assert 0.7 - 1e-6 <= drift.min() < drift.max() <= 1.3 + 1e-6
    assert np.abs(np.diff(drift)).max() < 0.02


def test_a_batch_is_padded_and_says_how_long_each_row_is():
    modality = make(channels=2)
    values = [Recording(np.ones((2, n), np.float32), RATE_HZ) for n in (50, 300, 120)]
    arrays = modality.collate(values, {"max_s": 2.0})
    assert arrays["samples"].shape == (3, 2, 200)
    assert arrays["length"].tolist() == [50, 200, 120]
    assert arrays["length"].dtype == np.int64
    assert arrays["samples"].sum(axis=(1, 2)).tolist() == [100, 400, 240]
    absent = modality.collate([modality.placeholder({})], {"max_s": 2.0})
    assert absent["samples"].shape == (1, 2, 10)
    with pytest.raises(DataContractError, match=r"is for 3 channels, .* is 2; set `channels: 2`"):
        modality.collate(values, {"max_s": 2.0, "channels": 3})


def test_a_signal_is_described_by_its_curves():
    sketch = make(channels=2).describe(Recording(np.float32(SIGNAL), RATE_HZ))
    assert sketch.caption == "2 channels, 4.00 s at 100 Hz"
    assert sketch.curves.shape == (2, 400)


def test_limits_are_no_part_of_what_is_decoded_and_a_process_can_be_sent_it():
    told = make().preprocessing()
    assert make(max_s=9.0, max_gap_s=1.0, max_missing=0.5).preprocessing() == told
    assert make(band_hz=[1.0, None]).preprocessing() != told
    sent = ForkingPickler.loads(ForkingPickler.dumps(make()))
    assert sent.options == make().options


def trace(repeats=40):
    """Give two leads of a heart, long enough to measure noise to 0.1 dB, one with an offset."""
    rng = np.random.default_rng(5)
    leads = np.tile(record(draw_patient(rng, "a"), "normal", rng), repeats)
    return Recording((leads + np.array([[0], [40]])).astype(np.float32), 250.0)


@pytest.mark.parametrize(("level", "snr_db"), [(0.02, 39), (0.3, 25), (0.6, 10), (1.0, -10)])
def test_noise_has_the_stated_ratio_and_one_stretch_is_lost(level, snr_db):
    value = trace()
    noisy = make(channels=2).corrupt(value, level, np.random.default_rng(6))
    starts = []
    for clean, row in zip(value.samples.astype(np.float64), noisy.samples, strict=True):
        (lost,) = np.nonzero(row == 0)
        assert len(lost) == round(level / 2 * len(row))
        assert np.ptp(lost) == len(lost) - 1, "in one stretch"
        starts.append(lost[0])
        noise = np.delete(row - clean, lost)
        assert 10 * np.log10(clean.var() / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.1)
    assert starts[0] != starts[1]
    assert noisy.rate_hz == value.rate_hz


def test_a_stretch_is_lost_anywhere_and_a_flat_channel_gets_no_noise():
    value = Recording(np.stack([np.full(10, 2.0), np.arange(10.0) + 1]).astype(np.float32), 10.0)
    starts = set()
    for seed in range(200):
        flat, _ = make(channels=2).corrupt(value, 0.8, np.random.default_rng(seed)).samples
        assert sorted(flat) == [0] * 4 + [2] * 6
        starts.add(int(np.argmin(flat)))
    assert starts == set(range(7))


def test_the_more_noise_the_less_of_the_signal_is_left():
    value = trace(repeats=1)
    alike = []
    for level in np.linspace(0, 1, 11):
        drawn = [
            make(channels=2).corrupt(value, float(level), np.random.default_rng(seed)).samples[0]
            for seed in range(8)
        ]
        alike.append(np.mean([np.corrcoef(one, value.samples[0])[0, 1] for one in drawn]))
    assert (np.diff(alike) < 0).all()
    assert alike[-1] < 0.3
