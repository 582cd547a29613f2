import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.signal import butter, find_peaks, sosfiltfilt

from mm_assets.sources.ecg import (
    DURATION_S,
    LEADS,
    RATE_HZ,
    RATES_BPM,
    RHYTHMS,
    draw_patient,
    draw_rhythm,
    generate_ecg,
    record,
)


def beat(rhythm, number):
    """Give the times of one trace's R waves, found as an outsider would, in seconds."""
    rng = np.random.default_rng([3, number])
    trace = record(draw_patient(rng, "p"), rhythm, rng)
    sections = butter(2, [5, 30], "bandpass", fs=RATE_HZ, output="sos")
    steep = np.gradient(sosfiltfilt(sections, trace[0])) ** 2
    energy = np.convolve(steep, np.hanning(31), "same")
    peaks, _ = find_peaks(energy, height=0.15 * np.quantile(energy, 0.98), distance=70)
    return peaks / RATE_HZ


@pytest.mark.parametrize("rhythm", ["normal", "bradycardia", "tachycardia"])
def test_hearts_beat_at_the_rate_that_defines_the_rhythm(rhythm):
    low, high = RATES_BPM[rhythm]
    rates = [60 / np.median(np.diff(beat(rhythm, number))) for number in range(12)]
    assert low * 0.94 < min(rates)
    assert max(rates) < high * 1.06


def test_fibrillation_is_irregular_and_sinus_rhythm_is_not():
    def spread(rhythm):
        intervals = [np.diff(beat(rhythm, number)) for number in range(12)]
        return np.median([one.std() / one.mean() for one in intervals])

    assert spread("normal") < 0.06
    assert spread("atrial_fibrillation") > 0.12


def test_an_ectopic_beat_comes_early_and_is_followed_by_a_pause():
    found = 0
    for number in range(12):
        intervals = np.diff(beat("ventricular_ectopy", number))
        usual = np.median(intervals)
        places = np.flatnonzero(intervals[:-1] < 0.85 * usual)
        found += any(intervals[place + 1] > 1.15 * usual for place in places)
    assert found >= 8


def test_the_segment_after_r_is_raised_where_its_name_says_so():
    def raised(rhythm):
        heights = []
        for number in range(12):
            rng = np.random.default_rng([3, number])
            trace = record(draw_patient(rng, "p"), rhythm, rng)[0]
            places = np.round(beat(rhythm, number) * RATE_HZ).astype(int)[1:-1]
            after = np.mean([trace[at + 25 : at + 40].mean() for at in places])  # 100 to 160 ms
            heights.append(after - np.median(trace))
        return np.median(heights)

    assert raised("st_elevation") > raised("normal") + 0.2


def test_traces_are_in_millivolts_as_long_as_stated_and_of_a_heart():
    for number, rhythm in enumerate(RHYTHMS):
        rng = np.random.default_rng([3, number])
        trace = record(draw_patient(rng, "p"), rhythm, rng)
        assert trace.shape == (LEADS, DURATION_S * RATE_HZ)
        assert 0.4 < np.ptp(trace[0]) < 6


def test_fibrillation_grows_with_age():
    rng = np.random.default_rng(0)

    def share(age):
        return np.mean([draw_rhythm(rng, age) == "atrial_fibrillation" for _ in range(2000)])

    assert share(25) == pytest.approx(0.2 / 5.2, abs=4 * math.sqrt(0.04 / 2000))
    assert share(90) == pytest.approx(2 / 7, abs=4 * math.sqrt(0.2 / 2000))


def test_what_is_written_is_a_table_its_traces_and_a_card(tmp_path):
    for folder in ("one", "two"):
        generate_ecg(tmp_path / folder, patients=4, traces=3)
    rows = pd.read_csv(tmp_path / "one/samples.csv")
    assert list(rows) == ["id", "patient", "ecg", "age", "sex", "rhythm"]
    assert (len(rows), rows["id"].nunique(), rows["patient"].nunique()) == (12, 12, 4)
    assert set(rows["rhythm"]) <= set(RHYTHMS)
    assert (rows.groupby("patient")["age"].nunique() == 1).all()
    for path in rows["ecg"]:
        trace = np.load(tmp_path / "one" / path)
        assert (trace.dtype, trace.shape) == (np.int16, (2, 2500))
        np.testing.assert_array_equal(trace, np.load(tmp_path / "two" / path))
    assert "No real person" in json.loads((tmp_path / "one/card.json").read_text())["description"]
