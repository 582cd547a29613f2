import json
import sys

import pytest
from click.testing import CliRunner

from mm_assets.cli.main import main, mm
from mm_assets.contracts.errors import BadSampleError, ServingError


@pytest.fixture
def model(small_onnx_model, monkeypatch):
    monkeypatch.chdir(small_onnx_model.parent)
    return small_onnx_model


def predict(*arguments):
    result = CliRunner().invoke(mm, ["predict", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    "cells", [["--right", "[1, 2]", "--left", "[0.5]"], ["--right", "[1, 2]"], ["--left", "[0.5]"]]
)
def test_any_modality_may_be_left_out(model, cells):
    answer = json.loads(predict("--model", str(model), "--json", *cells))

    assert sum(answer["mood"].values()) == pytest.approx(1)


def test_a_person_gets_classes_by_probability(model):
    lines = predict(f"--model={model}", "--right", "[3, 0]").splitlines()

    assert lines[0] == "mood"
    assert [line.split()[0] for line in lines[1:]] == ["sad", "glad"]


def test_help_names_the_models_modalities(model):
    output = predict("--model", str(model), "--help")

    assert "--right LIST" in output
    assert "The features of the sample." in output


def test_nothing_given_is_refused(model):
    with pytest.raises(ServingError, match="give at least one of right, left"):
        predict("--model", str(model))


def test_a_bad_cell_is_refused(model):
    with pytest.raises(BadSampleError, match="right: "):
        predict("--model", str(model), "--right", "[1]")


def test_an_error_is_its_message_alone_and_exit_code_1(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mm", "predict", "--text", "hello"])

    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("error: no exported model in artifacts/onnx")


def test_a_model_that_was_not_exported_says_which_key_to_set(tmp_path, monkeypatch):
    (tmp_path / "artifacts/onnx").mkdir(parents=True)
    (tmp_path / "artifacts/onnx/DISABLED").touch()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ServingError, match=r"`export\.enabled` is false in params.yaml"):
        predict("--text", "hello")
