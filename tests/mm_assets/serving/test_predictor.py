"""The predictor on the small graph of `conftest.py`, whose answers are known."""

import subprocess
import sys

import numpy as np
import pytest

from mm_assets.contracts.errors import BadSampleError, ServingError
from mm_assets.serving.predictor import Predictor, read_signature

WEIGHTS = {
    "right": np.array([[1.0, -1.0], [0.5, 2.0]], np.float32),
    "left": np.array([[3.0, 0.0]], np.float32),
}


def softmax(logits):
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


@pytest.fixture
def folder(small_onnx_model):
    return small_onnx_model


def test_each_row_is_answered_from_the_modalities_it_has(folder):
    answers = Predictor(folder, threads=1).predict(
        [{"right": [1, 2], "left": [0.5]}, {"right": [1, 2]}, {"left": [0.5], "right": None}]
    )

    right, left = np.array([1, 2]) @ WEIGHTS["right"], np.array([0.5]) @ WEIGHTS["left"]
    for answer, logits in zip(answers, [right + left, right, left], strict=True):
        np.testing.assert_allclose(list(answer["mood"].values()), softmax(logits), rtol=1e-6)
        assert list(answer["mood"]) == ["sad", "glad"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one row, got none"),
        ([{"right": [1, 2]}, {"smell": [1]}], "row 1 has smell, but this model reads right, left"),
        ([{"right": None}], "row 0 has no modality; give at least one of right, left"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(folder, rows, message):
    with pytest.raises(ServingError, match=message):
        Predictor(folder, threads=1).predict(rows)


def test_a_bad_cell_names_its_modality(folder):
    with pytest.raises(BadSampleError, match=r"right: .*"):
        Predictor(folder, threads=1).predict([{"right": [1, float("nan")]}])


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path):
    with pytest.raises(ServingError, match=r"no exported model in .*dvc repro export"):
        read_signature(tmp_path)


def test_a_signature_of_another_release_is_refused(folder, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "signature.json").write_text('{"schema_version": 99}')

    with pytest.raises(ServingError, match=r"schema version 99, this release reads 3"):
        read_signature(tmp_path)


def test_serving_needs_no_torch(folder):
    code = (
        "import sys\nfrom pathlib import Path\nfrom mm_assets.serving.predictor import Predictor\n"
        f"print(Predictor(Path({str(folder)!r})).predict([{{'left': [1.0]}}]))\n"
        "assert not {'torch', 'transformers', 'torchvision'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "glad" in done.stdout
