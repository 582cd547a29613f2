import json
import wave

import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.config import ComputeConfig, parse_config
from mm_assets.contracts.errors import StageError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.vectors import read_embeddings
from mm_assets.embedding import cells, encoding
from mm_assets.stages.embed import embed
from mm_assets.stages.project import build_project

pytestmark = pytest.mark.slow  # each runs the stage

RNG = np.random.default_rng(0)
PLAN = {"gain_db": -3.0, "snr_db": 30.0, "shift_s": 0.0, "tempo": 1.0, "pitch_semitones": 0.0} | {
    "seed": 1
}


def write_tone(path, pitch_hz, duration_s=0.3):
    """Write 16-bit mono with the standard library."""
    time_s = np.arange(round(duration_s * 16_000)) / 16_000
    samples = (8000 * np.sin(2 * np.pi * pitch_hz * time_s)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Eight samples with a voice clip and a vector, two copies, one absent modality."""
    monkeypatch.delenv("MM_STORE", raising=False)
    config = parse_config(
        {
            "version": 2,
            "modalities": {
                "voice": {
                    "kind": "audio",
                    "column": "voice",
                    "encoder": {"name": "voice_functionals"},
                },
                "numbers": {
                    "kind": "features",
                    "column": "numbers",
                    "options": {"dim": 3},
                    "encoder": {"name": "standardized"},
                },
            },
            "targets": {"label": {"kind": "multiclass", "column": "label"}},
            "compute": {"device": "cpu"},
        }
    )
    workspace = Workspace(tmp_path)
    workspace.data.mkdir()
    workspace.augmented.mkdir(parents=True)
    splits = ["train"] * 5 + ["validation"] + ["test"] * 2
    rows = [
        {"id": f"s{i}", "copy": 0, "split": split, "render": None, "voice": f"{i}.wav"}
        for i, split in enumerate(splits)
    ]
    for i in range(8):
        write_tone(workspace.data / f"{i}.wav", 100 + 20 * i, 0.2 + 0.05 * i)
    render = json.dumps({"voice": PLAN, "numbers": {"noise": 0.1, "seed": 2}})
    rows += [{**rows[i], "copy": 1, "render": render} for i in (0, 1)]
    for row in rows:
        row["numbers"] = [float(row["id"][1:]), 2.0, -(float(row["id"][1:]) ** 2)]
        row["label"] = "a"
    rows[3]["voice"] = None
    pd.DataFrame(rows).assign(group=None).to_parquet(workspace.augmented / "samples.parquet")
    return build_project(config, workspace)


def computed(capsys):
    """Give how many vectors the last run computed and how many it took from the store."""
    line = [text for text in capsys.readouterr().err.splitlines() if "from the store" in text][-1]
    words = line.split()
    return int(words[1]), int(words[4])


def test_every_present_row_has_a_vector_and_the_report_says_so(project):
    report = embed(project, "voice")
    got = read_embeddings(project.workspace.embeddings("voice"))
    pairs = list(zip(got.ids, got.copies, strict=True))
    assert pairs == [(f"s{i}", 0) for i in (0, 1, 2, 4, 5, 6, 7)] + [("s0", 1), ("s1", 1)]
    assert got.matrix.shape == (9, 106)
    assert not report.blocks
    assert (report.stage, report.rows_in, report.rows_out) == ("embed@voice", 10, 9)
    assert report.metrics == {
        "encoder": "voice_functionals",
        "dim": 106,
        "samples_with_modality": 7,
        "copies_with_modality": 2,
        "distinct_contents": 9,
    }


def test_a_row_has_the_vector_that_its_own_cell_gives(project):
    """The independent way: one at a time, no threads, no batches, no store."""
    import torch

    embed(project, "voice")
    got = read_embeddings(project.workspace.embeddings("voice"))
    modality, encoder = project.modalities["voice"], project.encoders["voice"]
    for sample, copy, vector in zip(got.ids, got.copies, got.matrix, strict=True):
        value = modality.decode(f"{sample[1:]}.wav", project.workspace.data)
        if copy:
            value = modality.render(value, PLAN)
        arrays = modality.collate([value], encoder.inputs())
        with torch.inference_mode():
            alone = encoder.network()(*map(torch.from_numpy, arrays.values()))[0].numpy()
        np.testing.assert_allclose(vector, alone, atol=1e-4, rtol=1e-5)


def test_a_second_run_computes_nothing_and_gives_equal_bytes(project, capsys):
    first = embed(project, "voice").model_dump_json()
    folder = project.workspace.embeddings("voice")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert computed(capsys) == (9, 0)
    assert embed(project, "voice").model_dump_json() == first
    assert computed(capsys) == (0, 9)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_one_changed_file_costs_its_own_vectors_and_a_renamed_one_none(project, capsys):
    embed(project, "voice")
    write_tone(project.workspace.data / "5.wav", 440)
    embed(project, "voice")
    assert computed(capsys) == (1, 8)

    (project.workspace.data / "5.wav").rename(project.workspace.data / "renamed.wav")
    table = project.workspace.augmented / "samples.parquet"
    rows = pd.read_parquet(table)
    rows["voice"] = rows["voice"].replace("5.wav", "renamed.wav")
    rows.to_parquet(table)
    embed(project, "voice")
    assert computed(capsys) == (0, 9)


def test_what_an_interrupted_run_computed_is_kept(project, capsys, monkeypatch):
    monkeypatch.setattr(cells, "FILE_BATCH", 2)
    monkeypatch.setattr(encoding, "SHARD", 4)
    # The smallest file comes last, and cannot be decoded.
    (project.workspace.data / "0.wav").write_bytes(b"no sound")
    with pytest.raises(
        StageError, match=r"embed@voice: sample 's0' \(0.wav\) was valid and cannot"
    ):
        embed(project, "voice")
    write_tone(project.workspace.data / "0.wav", 100, 0.2)
    capsys.readouterr()

    embed(project, "voice")

    assert computed(capsys) == (5, 4)


def test_a_cell_that_broke_since_validation_names_sample_file_and_reason(project):
    (project.workspace.data / "4.wav").write_bytes(b"no sound")
    with pytest.raises(
        StageError,
        match=r"sample 's4' \(4.wav\) was valid and cannot be used now: audio_unreadable: .*"
        r"run `dvc repro` to validate it again",
    ):
        embed(project, "voice")
    assert not project.workspace.embeddings("voice").exists()


def test_a_modality_that_no_row_has_is_an_error(project):
    table = project.workspace.augmented / "samples.parquet"
    pd.read_parquet(table).assign(voice=None).to_parquet(table)
    with pytest.raises(StageError, match=r"no row has this modality; check `modalities.voice.col"):
        embed(project, "voice")


def test_an_encoder_that_learns_learns_from_training_samples_alone(project):
    embed(project, "numbers")
    got = read_embeddings(project.workspace.embeddings("numbers"))
    training = np.array([[i, 2, -(i**2)] for i in range(5)], dtype=np.float64)
    np.testing.assert_allclose(got.state["mean"], training.mean(axis=0))
    np.testing.assert_allclose(got.state["scale"], [training[:, 0].std(), 1, training[:, 2].std()])
    originals = got.matrix[got.copies == 0]
    np.testing.assert_allclose(originals[:5, [0, 2]].mean(axis=0), 0, atol=1e-6)
    assert got.encoder["fingerprint"] == project.encoders["numbers"].fingerprint(
        got.state, preprocessing=project.modalities["numbers"].preprocessing()
    )


def test_another_state_does_not_take_vectors_of_the_first(project, capsys):
    embed(project, "numbers")
    table = project.workspace.augmented / "samples.parquet"
    rows = pd.read_parquet(table)
    rows.loc[rows["id"] == "s4", "split"] = "test"
    rows.to_parquet(table)
    embed(project, "numbers")
    assert computed(capsys) == (10, 0)


def test_a_vector_that_is_not_finite_is_reported_and_never_remembered(project, capsys, monkeypatch):
    import torch
    from torch import nn

    class Broken(nn.Module):
        def forward(self, samples, length):
            return torch.full((len(length), 106), float("nan"))

    monkeypatch.setattr(project.encoders["voice"], "network", lambda state=None: Broken())
    assert embed(project, "voice").blocks
    monkeypatch.undo()
    capsys.readouterr()
    assert not embed(project, "voice").blocks
    assert computed(capsys) == (9, 0)


def test_vectors_do_not_depend_on_the_number_of_workers(project, monkeypatch, tmp_path):
    import torch

    monkeypatch.setattr(cells, "FILE_BATCH", 2)
    threads, matrices = torch.get_num_threads(), []
    for workers in (1, 4):
        monkeypatch.setattr(ComputeConfig, "count_threads", lambda self, n=workers: n)
        monkeypatch.setenv("MM_STORE", str(tmp_path / f"store{workers}"))
        embed(project, "voice")
        matrices.append(read_embeddings(project.workspace.embeddings("voice")).matrix)
    np.testing.assert_array_equal(*matrices)
    assert torch.get_num_threads() == threads
