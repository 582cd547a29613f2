import numpy as np
import pytest
import torch

from mm_assets.contracts.config import Config
from mm_assets.contracts.errors import StageError, TrainingError
from mm_assets.data.table import read_augmented
from mm_assets.evaluation.answers import answer_rows
from mm_assets.evaluation.baselines import answer_linear, answer_specialists
from mm_assets.stages.baselines import baselines, narrow_config
from mm_assets.stages.train import train
from mm_assets.stages.trained import gather_rows, read_vectors
from mm_assets.training.baselines import read_baselines


@pytest.fixture
def short(embedded):
    embedded.params["train"] = {"epochs": 4, "learning_rate": 0.01, "seeds": 1}
    return embedded


def drop_hint(project, split):
    """Take a modality out of a split, and the rows that then have nothing left."""
    there = (project.rows["split"] == split).to_numpy()
    present, matrix = project.vectors["hint"]
    project.vectors["hint"] = (present & ~there, matrix)
    kept = project.vectors["clear"][0] | ~there
    project.rows = project.rows[kept].reset_index(drop=True)
    project.vectors = {name: (p[kept], m[kept]) for name, (p, m) in project.vectors.items()}


@pytest.mark.slow
def test_the_stage_leaves_a_specialist_per_modality_and_a_linear_model(short):
    project = short.load()
    report = baselines(project)
    folder = project.workspace.baselines
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.*")} == {
        f"{place}/{file}"
        for place in ("specialists/clear", "specialists/hint", "linear")
        for file in ("model.safetensors", "config.json")
    }
    assert report.metrics["specialists"] == 2
    assert [row[0] for row in report.tables[0].rows] == ["clear", "hint"]
    assert [suite.name for suite in report.suites] == ["baselines_are_trained"]
    assert not report.blocks


@pytest.mark.slow
def test_a_specialist_is_what_train_makes_where_there_is_no_other_modality(short, read_bytes):
    project = short.load()
    baselines(project)
    specialist = read_bytes(project.workspace.baselines / "specialists/hint")
    present, matrix = short.vectors["hint"]
    short.rows = short.rows[present].reset_index(drop=True)
    short.vectors = {"hint": (np.ones(present.sum(), dtype=bool), matrix[present])}
    del short.params["modalities"]["clear"]
    alone = short.load()
    train(alone)
    made = read_bytes(alone.workspace.model)
    assert {path: made[path] for path in specialist} == specialist


@pytest.mark.slow
def test_one_modality_has_no_specialist(short):
    present, matrix = short.vectors.pop("clear")
    short.rows = short.rows[present].reset_index(drop=True)
    short.vectors = {"hint": (np.ones(present.sum(), dtype=bool), matrix[present])}
    del short.params["modalities"]["clear"]
    project = short.load()
    report = baselines(project)
    assert report.metrics["specialists"] == 0
    assert not read_baselines(project.workspace.baselines, ["hint"]).specialists


@pytest.mark.slow
def test_two_processes_train_what_one_does(short, read_bytes):
    project = short.load()
    one = baselines(project)
    files = read_bytes(project.workspace.baselines)
    short.params["compute"]["threads"] = 2
    assert baselines(short.load()) == one
    assert read_bytes(project.workspace.baselines) == files


@pytest.mark.slow
def test_test_rows_do_not_reach_the_baselines(short, read_bytes):
    project = short.load()
    baselines(project)
    before = read_bytes(project.workspace.baselines)
    test = (short.rows["split"] == "test").to_numpy()
    short.rows.loc[test, "side"] = "nonsense"
    short.vectors["clear"][1][test] = np.nan
    baselines(short.load())
    assert read_bytes(project.workspace.baselines) == before


def test_a_modality_that_no_training_row_has_is_told_as_train_tells_it(short):
    drop_hint(short, "train")
    project = short.load()
    told = r"modality 'hint' needs at least 1 training row that has it, got 0; add such rows"
    with pytest.raises(StageError, match=told):
        baselines(project)
    with pytest.raises(StageError, match=told):
        train(project)


@pytest.mark.slow
def test_a_specialist_that_no_validation_row_could_stop_is_left_out_and_shown_so(short):
    drop_hint(short, "validation")
    project = short.load()
    report = baselines(project)
    assert report.tables[0].rows[1] == ("hint", None, None, None, None)
    assert list(read_baselines(project.workspace.baselines, ["clear", "hint"]).specialists) == [
        "clear"
    ]


def test_labels_that_leave_nothing_to_learn_stop_the_stage(short):
    short.rows["side"] = "left"
    with pytest.raises(TrainingError, match=r"target 'side' needs at least 2 classes, got 1"):
        baselines(short.load())


@pytest.mark.slow
def test_baselines_that_learned_nothing_are_warned_of(short):
    present, matrix = short.vectors["hint"]
    short.vectors["hint"] = (present, np.ones_like(matrix))
    short.params["train"] = {"epochs": 1, "learning_rate": 3.0, "seeds": 1}
    report = baselines(short.load())
    assert "hint_loss_fell_by_nats" in [result.column for result in report.suites[0].failed]
    assert not report.blocks


@pytest.mark.slow
def test_they_are_read_again_and_answer_the_rows_that_have_their_modalities(short):
    project = short.load()
    baselines(project)
    found = read_baselines(project.workspace.baselines, list(project.modalities))
    table = read_augmented(project.workspace.augmented, splits=["test"])
    rows = gather_rows(project, table, read_vectors(project), found.linear.targets)
    answers = answer_specialists(found.specialists, rows)
    for place, name in enumerate(("clear", "hint")):
        mine = answers[name]["side"]
        having = np.flatnonzero(rows.presence[:, place])
        assert mine.rows.tolist() == [n for n in having if n != len(rows) - 1]  # it has no label
        alone = rows.only(name).take(torch.tensor([4]))
        (probabilities,) = answer_rows(found.specialists[name], alone)["side"].probabilities
        np.testing.assert_allclose(mine.probabilities[4], probabilities, atol=1e-6)
    assert len(answer_linear(found.linear, rows)["side"].rows) == len(rows) - 1


def test_a_specialist_is_told_nothing_of_other_modalities():
    asked = {
        "finetune": {"text": {}, "photo": {}},
        "alignment": {"weight": 0.5},
    }
    config = Config.model_construct(train=Config.model_fields["train"].annotation(**asked))
    one = narrow_config(config, ["text"]).train
    assert (list(one.finetune), one.alignment) == (["text"], None)
    both = narrow_config(config, ["text", "photo"]).train
    assert both == config.train
