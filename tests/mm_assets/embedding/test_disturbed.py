import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io.wavfile

from mm_assets.contracts.config import ComputeConfig
from mm_assets.contracts.errors import DataContractError
from mm_assets.data.vectors import align_sequences, align_vectors
from mm_assets.embedding.disturbed import encode_disturbed, seed_noise
from mm_assets.embedding.encoding import build_network
from mm_assets.embedding.preparation import Item, Noise, collate_each
from mm_assets.encoders.base import load_encoder
from mm_assets.modalities.base import load_modality

LEVELS = (0.0, 0.5, 1.0)


def make_rows(cells):
    count = len(cells)
    rows = pd.DataFrame({"id": [f"s{n}" for n in range(count)], "copy": 0, "x": cells})
    return rows.assign(split="test", group=None, render=None)


def disturb(cells, kind, name, *, state=None, folder=Path(), options=(), sequence=False, seed=3):
    encoder = load_encoder(
        name, {}, kind=kind, weights=Path(), where="modalities.x.encoder", sequence=sequence
    )
    return encode_disturbed(
        "x",
        make_rows(cells),
        lambda: build_network(encoder, state or {}),
        levels=LEVELS,
        seed=seed,
        modality=load_modality(kind, dict(options), {}, where="modalities.x"),
        encoder=encoder,
        folder=folder,
        compute=ComputeConfig(device="cpu", threads=2),
    )


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    return [json.dumps(row.tolist()) for row in rng.normal(size=(50, 3))]


STATE = {"mean": np.zeros(3, np.float32), "scale": np.ones(3, np.float32)}


def test_level_0_is_the_cell_itself_and_each_row_and_level_has_noise_of_its_own(numbers):
    numbers[7] = None
    found = disturb(numbers, "features", "standardized", state=STATE, options={"dim": 3})
    given = np.array([json.loads(cell) for cell in numbers if cell is not None], np.float32)
    assert list(found) == list(LEVELS)
    np.testing.assert_allclose(found[0.0].matrix, given, atol=1e-6)
    away = [np.abs(found[level].matrix - given).mean() for level in LEVELS]
    assert away[0] < away[1] < away[2]
    vectors, present = align_vectors(found[0.5], make_rows(numbers))
    assert present.tolist() == [n != 7 for n in range(50)]
    assert len(np.unique(vectors[present] - given, axis=0)) == 49


def test_noise_follows_from_seed_modality_row_and_level_alone(numbers):
    def encode(cells, seed):
        found = disturb(
            cells, "features", "standardized", state=STATE, options={"dim": 3}, seed=seed
        )
        return found[1.0].matrix

    whole = encode(numbers, 3)
    np.testing.assert_array_equal(encode(numbers[:20], 3), whole[:20])
    assert not np.allclose(encode(numbers, 4), whole)
    seeds = {
        seed_noise(seed, name, sample, level)
        for seed in (1, 2)
        for name in ("x", "y")
        for sample in ("s1", "s2")
        for level in (0.5, 1.0)
    }
    assert len(seeds) == 16


def test_sequences_keep_their_steps():
    rng = np.random.default_rng(1)
    cells = [json.dumps(rng.normal(size=(steps, 3)).tolist()) for steps in (2, 5, 3)]
    options = {"dim": 3, "sequence": True}
    found = disturb(
        cells, "features", "standardized_steps", state=STATE, options=options, sequence=True
    )
    values, there = align_sequences(found[0.0], make_rows(cells))
    assert there.sum(axis=1).tolist() == [2, 5, 3]
    np.testing.assert_allclose(values[1], json.loads(cells[1]), atol=1e-6)


@pytest.mark.slow
def test_files_are_disturbed_where_they_are_decoded(tmp_path):
    rng = np.random.default_rng(2)
    time = np.arange(16_000) / 16_000
    for n in range(3):
        tone = 0.5 * np.sin(2 * np.pi * (150 + 60 * n) * time) + 0.01 * rng.normal(size=16_000)
        samples = (tone * 32_767).astype(np.int16)
        scipy.io.wavfile.write(tmp_path / f"{n}.wav", 16_000, samples)
    names = [f"{n}.wav" for n in range(3)]
    found = disturb(names, "audio", "voice_functionals", folder=tmp_path)
    encoder = load_encoder("voice_functionals", {}, kind="audio", weights=Path(), where="x")
    modality = load_modality("audio", {}, {}, where="x")
    for row, name in enumerate(names):
        arrays = modality.collate([modality.decode(name, tmp_path)], encoder.inputs())
        alone = embed(encoder, arrays)
        np.testing.assert_allclose(found[0.0].matrix[row], alone, rtol=1e-5, atol=1e-5)
        assert not np.allclose(found[1.0].matrix[row], alone, rtol=0.01)


def embed(encoder, arrays):
    import torch

    with torch.inference_mode():
        return encoder.network()(*map(torch.from_numpy, arrays.values()))[0].numpy()


class CountingFeatures:
    """Features that count how often they are decoded."""

    def __init__(self):
        self.decoded = 0
        self.inner = load_modality("features", {"dim": 1}, {}, where="x")

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def decode(self, cell, folder):
        self.decoded += 1
        return self.inner.decode(cell, folder)


def test_a_cell_at_several_levels_is_decoded_once():
    modality = CountingFeatures()
    items = [
        Item(n, cell, None, Noise(level, 1))
        for n, cell in enumerate(("[1]", "[2]"))
        for level in LEVELS
    ]
    found = collate_each(items, modality=modality, folder=Path(), inputs={})
    assert len(found) == 6
    assert modality.decoded == 2
    assert [float(found[n]["vector"].item()) for n in (0, 3)] == [1, 2]


def test_a_level_beyond_1_is_refused():
    encoder = load_encoder("standardized", {}, kind="features", weights=Path(), where="x")
    with pytest.raises(DataContractError, match=r"level of noise must be from 0 .* got 1\.5"):
        encode_disturbed(
            "x",
            make_rows(["[1, 2, 3]"]),
            lambda: build_network(encoder, STATE),
            levels=[1.5],
            seed=0,
            modality=load_modality("features", {"dim": 3}, {}, where="modalities.x"),
            encoder=encoder,
            folder=Path(),
            compute=ComputeConfig(device="cpu", threads=1),
        )
