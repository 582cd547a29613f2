import json

import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.errors import DataContractError, StageError
from mm_assets.data.vectors import Embeddings, align_vectors, read_embeddings, write_embeddings


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


@pytest.mark.parametrize("version", [0, 2, None])
def test_vectors_of_another_schema_are_refused(tmp_path, version):
    folder = tmp_path / "text"
    folder.mkdir()
    write_embeddings(folder, make(["a"], [0]))
    described = json.loads((folder / "encoder.json").read_text())
    assert described.pop("schema_version") == 1
    if version is not None:
        described["schema_version"] = version
    (folder / "encoder.json").write_text(json.dumps(described))

    with pytest.raises(
        StageError,
        match=rf"/text have schema version {version}, this release reads 1; make them again with "
        r"`dvc repro -f embed@text`",
    ):
        read_embeddings(folder)
