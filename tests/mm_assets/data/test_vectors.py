import json

import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.errors import DataContractError, StageError
from mm_assets.data import vectors as module
from mm_assets.data.vectors import (
    Embeddings,
    MatrixFile,
    align_sequences,
    align_vectors,
    read_chunks,
    read_embeddings,
    write_embeddings,
)


def make(ids, copies, state=None):
    matrix = np.arange(len(ids) * 3, dtype=np.float32).reshape(-1, 3)
    encoder = {"name": "e", "version": 1, "fingerprint": "f", "dim": 3}
    return Embeddings(np.array(ids), np.array(copies), matrix, encoder, state or {})


def test_what_is_written_is_read_back(tmp_path):
    given = make(["007", "ä", "007"], [0, 0, 1], {"mean": np.ones(3, np.float32)})
    write_embeddings(tmp_path, given)

    got = read_embeddings(tmp_path)

    assert list(got.ids) == ["007", "ä", "007"]
    np.testing.assert_array_equal(got.copies, given.copies)
    np.testing.assert_array_equal(got.matrix, given.matrix)
    np.testing.assert_array_equal(got.state["mean"], np.ones(3))
    assert (got.encoder, got.matrix.dtype) == (given.encoder, np.float32)


def test_no_state_means_no_file(tmp_path):
    write_embeddings(tmp_path, make(["a"], [0]))
    assert not (tmp_path / "state.safetensors").exists()
    assert read_embeddings(tmp_path).state == {}


def test_equal_embeddings_are_equal_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_embeddings(tmp_path / name, make(["a", "b"], [0, 0]))
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_vectors_follow_the_rows_and_absent_ones_are_marked():
    rows = pd.DataFrame({"id": ["b", "x", "a", "a"], "copy": [0, 0, 1, 0]})

    matrix, present = align_vectors(make(["a", "a", "b"], [0, 1, 0]), rows)

    np.testing.assert_array_equal(present, [True, False, True, True])
    np.testing.assert_array_equal(matrix, [[6, 7, 8], [0, 0, 0], [3, 4, 5], [0, 1, 2]])


def test_two_vectors_of_one_row_are_refused():
    rows = pd.DataFrame({"id": ["a"], "copy": [1]})
    with pytest.raises(DataContractError, match=r"two vectors for id 'a', copy 1"):
        align_vectors(make(["a", "a"], [1, 1]), rows)


@pytest.fixture
def sequences():
    """Row a has 2 steps, b has 3, c has 1."""
    matrix = np.arange(12, dtype=np.float32).reshape(6, 2)
    encoder = {"name": "e", "dim": 2, "sequence": True}
    return Embeddings(
        np.array(["a", "b", "c"]), np.zeros(3, int), matrix, encoder, {}, np.array([2, 3, 1])
    )


def test_sequences_are_read_back_row_by_row(tmp_path, sequences):
    write_embeddings(tmp_path, sequences)
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    matrix = np.load(tmp_path / "vectors.npy")
    assert rows[["start", "steps"]].to_numpy().tolist() == [[0, 2], [2, 3], [5, 1]]
    np.testing.assert_array_equal(matrix, sequences.matrix)
    got = read_embeddings(tmp_path)
    assert isinstance(got.matrix, np.memmap)
    assert got.lengths.tolist() == [2, 3, 1]


def test_sequences_follow_the_rows_padded_and_masked(sequences):
    rows = pd.DataFrame({"id": ["c", "x", "b"], "copy": 0})

    padded, mask = align_sequences(sequences, rows)

    np.testing.assert_array_equal(mask, [[1, 0, 0], [0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(padded[0], [[10, 11], [0, 0], [0, 0]])
    np.testing.assert_array_equal(padded[1], np.zeros((3, 2)))
    np.testing.assert_array_equal(padded[2], [[4, 5], [6, 7], [8, 9]])


def test_a_vector_is_a_sequence_of_one_step():
    given = make(["a", "b"], [0, 0])
    rows = pd.DataFrame({"id": ["b", "x"], "copy": 0})
    padded, mask = align_sequences(given, rows)
    aligned, present = align_vectors(given, rows)
    np.testing.assert_array_equal(padded[:, 0], aligned)
    np.testing.assert_array_equal(mask[:, 0], present)


def test_sequences_are_no_vectors(sequences):
    with pytest.raises(DataContractError, match=r"one vector a row, got sequences of encoder e"):
        align_vectors(sequences, pd.DataFrame({"id": ["a"], "copy": [0]}))


@pytest.mark.parametrize("chunk_bytes", [1, 24, 40, 10_000])
def test_chunks_hold_whole_rows_in_their_order(tmp_path, sequences, monkeypatch, chunk_bytes):
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk_bytes)
    write_embeddings(tmp_path, sequences)
    chunks = list(read_chunks(tmp_path, sequences.lengths))
    np.testing.assert_array_equal(np.concatenate([part for part, _ in chunks]), sequences.matrix)
    assert np.concatenate([steps for _, steps in chunks]).tolist() == [2, 3, 1]
    assert all(len(part) == steps.sum() for part, steps in chunks)


def test_a_matrix_may_be_written_in_any_order(tmp_path):
    with MatrixFile(tmp_path, 4, 2) as file:
        file.put(3, np.full((1, 2), 3, np.float32))
        file.put(0, np.array([[0, 0], [1, 1]], np.float32))
    np.testing.assert_array_equal(np.load(tmp_path / "vectors.npy")[:, 0], [0, 1, 0, 3])


@pytest.mark.parametrize("version", [0, 1, None])
def test_vectors_of_another_schema_are_refused(tmp_path, version):
    folder = tmp_path / "text"
    folder.mkdir()
    write_embeddings(folder, make(["a"], [0]))
    described = json.loads((folder / "encoder.json").read_text())
    assert described.pop("schema_version") == 2
    if version is not None:
        described["schema_version"] = version
    (folder / "encoder.json").write_text(json.dumps(described))

    with pytest.raises(
        StageError,
        match=rf"/text have schema version {version}, this release reads 2; make them again with "
        r"`dvc repro -f embed@text`",
    ):
        read_embeddings(folder)
