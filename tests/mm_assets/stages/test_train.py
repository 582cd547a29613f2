import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

from mm_assets.contracts.errors import TrainingError
from mm_assets.stages.train import choose_device, train
from mm_assets.training.model import load_model


def test_the_stage_leaves_a_model_its_curves_and_a_report(embedded):
    project = embedded.load()
    report = train(project)
    folder = project.workspace.model
    assert {p.name for p in folder.iterdir()} == {
        "model.safetensors",
        "config.json",
        "curves.csv",
        "curves.svg",
    }
    curve = pd.read_csv(folder / "curves.csv")
    assert list(curve.columns) == ["epoch", "train_loss", "validation_loss"]
    assert curve["epoch"].tolist() == list(range(report.metrics["epochs"] + 1))
    best = curve["validation_loss"].idxmin()
    assert report.metrics["kept_epoch"] == best
    assert (report.rows_in, report.rows_out) == (420, 360)
    assert [suite.name for suite in report.suites] == ["model_is_trained"]
    assert report.suites[0].passed
    assert (embedded.root / report.plots[0].path).is_file()


@pytest.mark.slow
def test_the_curves_can_be_read_while_it_runs(embedded):
    project = embedded.load()
    folder = project.workspace.model
    with ThreadPoolExecutor() as pool:
        running = pool.submit(train, project)
        while not (folder / "curves.csv").exists():
            assert not running.done()
            time.sleep(0.001)
        epochs = pd.read_csv(folder / "curves.csv")["epoch"].tolist()
        assert not (folder / "model.safetensors").exists()
        report = running.result()
    assert epochs[0] == 0
    assert len(epochs) <= report.metrics["epochs"]


def test_statistics_are_those_of_the_training_rows_alone(embedded):
    project = embedded.load()
    train(project)
    layer = load_model(project.workspace.model).standardize[0]
    present, matrix = embedded.vectors["clear"]
    training = matrix[present & (embedded.rows["split"] == "train").to_numpy()]
    np.testing.assert_allclose(layer.mean, training.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(layer.scale, training.std(axis=0), atol=1e-5)


@pytest.mark.slow
def test_test_rows_do_not_reach_the_model(embedded, read_bytes):
    project = embedded.load()
    train(project)
    before = read_bytes(project.workspace.model)
    test = (embedded.rows["split"] == "test").to_numpy()
    embedded.rows.loc[test, "side"] = "nonsense"
    embedded.vectors["clear"][1][test] = np.nan
    train(embedded.load())
    assert read_bytes(project.workspace.model) == before


@pytest.mark.slow
def test_two_runs_give_equal_bytes(embedded, read_bytes):
    project = embedded.load()
    first = train(project)
    files = read_bytes(project.workspace.model)
    assert train(project) == first
    assert read_bytes(project.workspace.model) == files


@pytest.mark.slow
def test_another_seed_gives_another_model(embedded, read_bytes):
    project = embedded.load()
    train(project)
    files = read_bytes(project.workspace.model)
    embedded.params["seed"] = 1
    train(embedded.load())
    assert read_bytes(project.workspace.model) != files


def test_a_modality_that_says_nothing_is_warned_of(embedded):
    present, matrix = embedded.vectors["hint"]
    embedded.vectors["hint"] = (present, np.ones_like(matrix))
    report = train(embedded.load())
    warned = [result.column for result in report.suites[0].failed]
    assert warned == ["hint_gain_nats"]
    assert not report.blocks


def test_a_model_that_learned_nothing_blocks(embedded):
    embedded.params["train"] = {"epochs": 1, "learning_rate": 3.0, "seeds": 1}
    report = train(embedded.load())
    assert report.blocks
    (failed,) = (result for result in report.suites[0].failed if result.severity == "error")
    assert failed.column == "loss_fell_by_nats"
    assert "train.learning_rate" in failed.advice


def test_labels_that_leave_nothing_to_learn_stop_the_stage(embedded):
    embedded.rows["side"] = "left"
    with pytest.raises(TrainingError, match=r"target 'side' needs at least 2 classes, got 1"):
        train(embedded.load())


def test_auto_takes_a_gpu_where_there_is_one():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu").type == "cpu"
