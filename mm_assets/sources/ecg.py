"""Made-up electrocardiograms of six rhythms, by a published model of the heart's electrical cycle.

Each class shows in the trace as textbooks say: in the rate, in how regular the beats are, in their
shape. Patients differ in the shape of their beats, in noise and in age, and every trace is one that
no other row has. What the model lacks are the artefacts and mixtures of real wards.

Source:
    McSharry et al. 2003, A dynamical model for generating synthetic electrocardiogram signals,
    https://doi.org/10.1109/TBME.2003.808805 (model, Table I and the spectrum of heart rates).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from mm_assets.data.atomic import write_json
from mm_assets.data.card import CARD_VERSION
from mm_assets.data.progress import show_progress

RATE_HZ = 250
DURATION_S = 10.0
RHYTHMS = (
    "normal",
    "bradycardia",
    "tachycardia",
    "atrial_fibrillation",
    "ventricular_ectopy",
    "st_elevation",
)
# Beats per minute between which the mean rate is drawn.
RATES_BPM = {
    "normal": (60, 100),
    "bradycardia": (38, 60),
    "tachycardia": (100, 160),
    "atrial_fibrillation": (65, 140),
    "ventricular_ectopy": (60, 100),
    "st_elevation": (60, 100),
}
IRREGULARITY = {"atrial_fibrillation": 0.2}  # of intervals, re their mean; 0.03 in sinus rhythm
# Table I: waves P, Q, R, S, T by the angle where they lie, their strength and their width (rad).
ANGLES = np.array([-math.pi / 3, -math.pi / 12, 0, math.pi / 12, math.pi / 2])
STRENGTHS = np.array([1.2, -5.0, 30.0, -7.5, 0.75])
WIDTHS = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
P, R, T = 0, 2, 4
# A second lead looks at the heart from another side.
SECOND_LEAD = np.array([0.8, 0.4, 0.55, 1.6, 1.1])
LEADS = 2
FINE_HZ = 1000  # at which the model is integrated
MILLIVOLTS = 25.0  # per unit of the model, so that an average R reaches about 1 mV


@dataclass(frozen=True)
class Patient:
    """Whose heart it is.

    Attributes:
        name: Of the group.
        age: In years.
        sex: ``f`` or ``m``.
        strengths: Of waves P to T, by lead, (lead, wave).
        angles: Where they lie at 60 beats per minute, rad.
        noise_mv: Standard deviation of muscle noise.
        wander_mv: Amplitude of the baseline's wander with the breath.
        breath_hz: Breaths per second.
    """

    name: str
    age: int
    sex: str
    strengths: np.ndarray
    angles: np.ndarray
    noise_mv: float
    wander_mv: float
    breath_hz: float


def generate_ecg(folder: Path, *, patients: int = 80, traces: int = 8, seed: int = 11) -> None:
    """Write `samples.csv`, `card.json` and one NPY file per trace, int16 (2, 2500) in microvolts.

    Args:
        folder: An empty folder, or one that is not there yet.
        patients: How many people there are.
        traces: Of each.
        seed: Of everything that is drawn.
    """
    import pyarrow as pa
    import pyarrow.csv

    (folder / "ecg").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for number in show_progress(range(patients), title="ecg", total=patients):
        patient = draw_patient(np.random.default_rng([seed, number]), f"p{number:03d}")
        for trace in range(traces):
            rng = np.random.default_rng([seed, number, 1 + trace])
            rhythm = draw_rhythm(rng, patient.age)
            name = f"{patient.name}-{trace}"
            millivolts = record(patient, rhythm, rng)
            path = f"ecg/{name}.npy"
            np.save(folder / path, np.round(1000 * millivolts).astype(np.int16))
            rows.append(
                {
                    "id": name,
                    "patient": patient.name,
                    "ecg": path,
                    "age": patient.age,
                    "sex": patient.sex,
                    "rhythm": rhythm,
                }
            )
    pa.csv.write_csv(pa.Table.from_pylist(rows), folder / "samples.csv")
    write_json(
        folder / "card.json",
        {
            "schema_version": CARD_VERSION,
            "title": "Electrocardiograms of six rhythms (generated)",
            "description": (
                f"{len(rows)} traces of 10 s and two leads, of {patients} made-up patients, by the "
                "model of McSharry et al. 2003. No real person's heart is in it, and a model that "
                "does well here has not been tried on one."
            ),
            "licence": "Apache-2.0, as the code that generated it",
        },
    )


def draw_patient(rng: np.random.Generator, name: str) -> Patient:
    """Draw how one person's beats look."""
    own = rng.lognormal(0, 0.2, 5)
    leads = np.stack([np.ones(5), SECOND_LEAD * rng.lognormal(0, 0.15, 5)])
    return Patient(
        name=name,
        age=int(rng.integers(25, 90)),
        sex="fm"[rng.integers(2)],
        strengths=STRENGTHS * own * leads,
        angles=ANGLES * rng.normal(1, 0.05, 5),
        noise_mv=float(rng.uniform(0.01, 0.05)),
        wander_mv=float(rng.uniform(0.02, 0.15)),
        breath_hz=float(rng.uniform(0.15, 0.35)),
    )


def draw_rhythm(rng: np.random.Generator, age: int) -> str:
    """Draw a class; atrial fibrillation grows with age, as it does among people."""
    weights = np.ones(len(RHYTHMS))
    weights[RHYTHMS.index("atrial_fibrillation")] = 0.2 + 1.8 * (age - 25) / 65
    return str(rng.choice(RHYTHMS, p=weights / weights.sum()))


def record(
    patient: Patient, rhythm: str, rng: np.random.Generator
) -> Float64[np.ndarray, "lead time"]:
    """Give 10 s of two leads, in millivolts, at 250 Hz.

    Args:
        patient: Whose heart it is.
        rhythm: One of `RHYTHMS`.
        rng: Of this trace.
    """
    from scipy.signal import lfilter

    rate_bpm = rng.uniform(*RATES_BPM[rhythm])
    intervals_s = draw_intervals(rng, rhythm, rate_bpm, patient.breath_hz)
    early = np.zeros(len(intervals_s), dtype=bool)
    if rhythm == "ventricular_ectopy":
        early, intervals_s = put_ectopic_beats(rng, intervals_s)
    beat, angle, beats_per_s = find_phase(intervals_s, start_s=rng.uniform(0, intervals_s[0]))
    time_s = np.arange(len(angle)) / FINE_HZ
    leads = []
    for lead in range(LEADS):
        strengths = np.tile(patient.strengths[lead], (len(intervals_s), 1))  # (beat, wave)
        widths = np.tile(WIDTHS, (len(intervals_s), 1))
        if rhythm == "atrial_fibrillation":
            strengths[:, P] = 0
        strengths[early] *= [0, 0.2, 0.18, 0.25, -3.0]  # no P, wide QRS, T the other way
        widths[early] *= [1, 2, 3.2, 3.2, 1]  # a wave is as high as its strength times its width^2
        # At higher rates the waves lie further apart in the cycle (the paper's section III).
        pace = np.sqrt(rate_bpm / 60) * np.array([1, 1, 1, 1, math.sqrt(60 / rate_bpm)])
        slope = _sum_waves(angle, patient.angles * pace, strengths[beat], widths[beat])
        if rhythm == "st_elevation":
            slope += _sum_waves(
                angle,
                np.array([0.75]),
                np.full((len(angle), 1), rng.uniform(0.9, 1.8) * (1, 0.7)[lead]),
                np.full((len(angle), 1), 0.45),
            )
        # dz/dt = slope - z, solved over one step; the paper's z0 is added as wander below. With
        # the pace in it a beat is as high at every rate.
        decay = math.exp(-1 / FINE_HZ)
        leads.append(lfilter([1 - decay], [1, -decay], slope * beats_per_s))
    wave = np.stack(leads) * MILLIVOLTS
    wander = patient.wander_mv * np.sin(
        2 * np.pi * (patient.breath_hz * time_s + rng.random((LEADS, 1)))
    )
    if rhythm == "atrial_fibrillation":
        wander = wander + draw_fibrillation(rng, time_s)
    settled = round(2 * FINE_HZ)
    clean = (wave + wander)[:, settled :: FINE_HZ // RATE_HZ][:, : round(DURATION_S * RATE_HZ)]
    noisy: np.ndarray = clean + patient.noise_mv * rng.standard_normal(clean.shape)
    return noisy


def draw_intervals(
    rng: np.random.Generator, rhythm: str, rate_bpm: float, breath_hz: float
) -> Float64[np.ndarray, " beat"]:
    """Draw the times between beats: they swing with breath and blood pressure, or by chance."""
    beats = math.ceil((DURATION_S + 5) * rate_bpm / 60) + 4
    mean_s = 60 / rate_bpm
    spread = IRREGULARITY.get(rhythm)
    if spread:
        return np.clip(mean_s * rng.gamma(1 / spread**2, spread**2, beats), 0.3, 2.5)
    time_s = np.arange(beats) * mean_s
    swing = np.sin(2 * np.pi * (breath_hz * time_s + rng.random()))  # with the breath
    swing += np.sin(2 * np.pi * (0.1 * time_s + rng.random()))  # Mayer waves
    return np.asarray(mean_s * (1 + 0.03 * swing))


def put_ectopic_beats(
    rng: np.random.Generator, intervals_s: Float64[np.ndarray, " beat"]
) -> tuple[np.ndarray, Float64[np.ndarray, " beat"]]:
    """Let some beats come early, each followed by a pause that makes up for it.

    Returns:
        Which beats, bool (beat,), and the intervals; the interval before an early beat belongs to
        the beat before it.
    """
    early = rng.random(len(intervals_s)) < 0.2
    early[:3] = early[-2:] = False
    early[rng.integers(5, 9)] = True  # one is heard in any case
    early[1:] &= ~early[:-1]
    changed = intervals_s.copy()
    places = np.flatnonzero(early)
    gained = changed[places - 1] * rng.uniform(0.25, 0.4, len(places))
    changed[places - 1] -= gained
    changed[places] += gained
    return early, changed


def find_phase(
    intervals_s: Float64[np.ndarray, " beat"], *, start_s: float
) -> tuple[np.ndarray, Float64[np.ndarray, " step"], Float64[np.ndarray, " step"]]:
    """Give the beat of every fine step, its angle in [-pi, pi), 0 where R is, and beats a second."""
    peaks_s = np.concatenate([[0], np.cumsum(intervals_s)])
    steps = round((DURATION_S + 3) * FINE_HZ)
    time_s = start_s + np.arange(steps) / FINE_HZ
    cycles = np.interp(time_s, peaks_s, np.arange(len(peaks_s)))
    beat = np.floor(cycles + 0.5).astype(np.int64).clip(max=len(intervals_s) - 1)
    angle = 2 * np.pi * (cycles - np.floor(cycles + 0.5))
    return beat, angle, np.gradient(cycles) * FINE_HZ


def draw_fibrillation(
    rng: np.random.Generator, time_s: Float64[np.ndarray, " step"]
) -> Float64[np.ndarray, " step"]:
    """Draw the fine waves of atria that beat no more: 4 to 9 Hz, and never quite the same."""
    rate_hz = rng.uniform(4, 9) * (1 + 0.1 * np.sin(2 * np.pi * 0.3 * (time_s + rng.random())))
    size_mv = rng.uniform(0.02, 0.08)
    return np.asarray(size_mv * np.sin(2 * np.pi * np.cumsum(rate_hz) / FINE_HZ))


def _sum_waves(
    angle: Float64[np.ndarray, " step"],
    places: Float64[np.ndarray, " wave"],
    strengths: Float64[np.ndarray, "step wave"],
    widths: Float64[np.ndarray, "step wave"],
) -> Float64[np.ndarray, " step"]:
    """Sum the waves' pull on the trace at every step; see the paper's equation 1."""
    away = (angle[:, None] - places + np.pi) % (2 * np.pi) - np.pi
    pull = -strengths * away * np.exp(-((away / widths) ** 2) / 2)
    return np.asarray(pull.sum(axis=1))
