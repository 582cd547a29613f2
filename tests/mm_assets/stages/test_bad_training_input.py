"""What cannot be trained, or only badly, stops with a sentence: early, and with nothing half-written."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file

from mm_assets.contracts.config import parse_config
from mm_assets.contracts.errors import (
    ConfigError,
    DataContractError,
    StageError,
    TrainingError,
)
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.vectors import Embeddings, read_embeddings, write_embeddings
from mm_assets.fusion.options import OPTIONS
from mm_assets.stages.augment import augment
from mm_assets.stages.evaluate import evaluate
from mm_assets.stages.project import build_project, load_project
from mm_assets.stages.train import train
from mm_assets.stages.trained import build_tuned
from mm_assets.stages.validate import validate
from mm_assets.training.model import load_model

ROOT = Path(__file__).parents[3]
PARAMS = {
    "version": 2,
    "data": {"split": "part"},
    "modalities": {
        "scan": {
            "kind": "features",
            "column": "scan",
            "options": {"dim": 2},
            "encoder": {"name": "standardized"},
        },
        "person": {
            "kind": "tabular",
            "columns": {"age": "numeric", "plan": "categorical"},
            "encoder": {"name": "tabular"},
        },
        "words": {"kind": "text", "column": "words", "encoder": {"name": "hashed_ngrams"}},
    },
    "targets": {"side": {"kind": "multiclass", "column": "side"}},
    "augment": {"copies": 0},
    "evaluation": {"bootstrap": 100},
    "compute": {"device": "cpu", "threads": 1},
}


class RawProject:
    """Forty rows, of which the first 24 are training rows and the next 8 validation rows."""

    def __init__(self, root):
        self.root, self.params = root, copy.deepcopy(PARAMS)
        rng = np.random.default_rng(0)
        self.table = pd.DataFrame(
            {
                "id": [f"s{n}" for n in range(40)],
                "part": ["train"] * 24 + ["validation"] * 8 + ["test"] * 8,
                "scan": [json.dumps(row.tolist()) for row in rng.normal(size=(40, 2)).round(3)],
                "age": rng.integers(20, 90, 40),
                "plan": rng.choice(["basic", "extra"], 40),
                "words": [f"message {n}" for n in range(40)],
                "side": ["left", "right"] * 20,
                "tags": ["a", "b", "a;b", "[]"] * 10,
                "grams": rng.normal(size=40).round(3),
            }
        )
        self.training = self.table["part"] == "train"

    def write(self):
        """Write the table, the parameters and the pipeline."""
        (self.root / "data").mkdir(exist_ok=True)
        self.table.to_csv(self.root / "data/samples.csv", index=False)
        YAML().dump(self.params, self.root / "params.yaml")
        shutil.copyfile(ROOT / "dvc.yaml", self.root / "dvc.yaml")

    def load(self):
        """Write all, and the validated rows as if they had been looked at."""
        self.write()
        project = load_project(self.root)
        keys = {key: m.column for key, m in project.config.modalities.items() if m.column}
        keys |= {key: target.column for key, target in project.config.targets.items()}
        rows = self.table.rename(columns={"part": "split"}).assign(group=self.table["id"])
        person = rows[["age", "plan"]].notna().any(axis=1)
        cells = rows[["age", "plan"]].apply(lambda row: json.dumps(row.to_dict()), axis=1)
        rows["person"] = cells.where(person, None)
        for key, column in keys.items():
            rows[key] = rows[column]
            if key == "tags":
                rows[key] = [json.dumps([t for t in "ab" if t in cell]) for cell in rows[column]]
        probes = rows.melt(id_vars="id", value_vars=list(project.modalities), var_name="modality")
        probes = probes.dropna().rename(columns={"value": "content"})
        folder = project.workspace.validated
        folder.mkdir(parents=True)
        rows.to_parquet(folder / "samples.parquet")
        probes.to_parquet(folder / "probes.parquet")
        return project


@pytest.fixture
def raw(tmp_path):
    return RawProject(tmp_path)


def refuse(raw, kind, message):
    """See stage `augment` refuse the project, before any vector is computed."""
    project = raw.load()
    with pytest.raises(kind, match=message):
        augment(project)
    assert not project.workspace.augmented.exists()


ONE_CLASS = [
    (
        "multiclass",
        "side",
        {},
        "left",
        r"'side' needs at least 2 classes, got 1 \(left\) in the tr",
    ),
    (
        "binary",
        "side",
        {},
        "left",
        r"'side' needs at least 2 classes, got 1 \(left\) in the traini",
    ),
    (
        "multiclass",
        "side",
        {"classes": ["left", "right"]},
        "left",
        r"'side' has no training row of class right; .* out of `targets\.side\.classes`",
    ),
    ("multilabel", "tags", {}, "a", r"'tags' of kind multilabel needs at least 2 labels, got 1"),
    ("multilabel", "tags", {}, "a;b", r"'tags' needs a label that some training rows lack, but al"),
    ("regression", "grams", {}, 5.0, r"'grams' needs at least 2 different numbers .*, got 5 in ev"),
    ("multiclass", "side", {}, None, r"'side' needs at least 2 classes, got 0 \(no label at all\)"),
]


@pytest.mark.parametrize(("kind", "column", "given", "label", "message"), ONE_CLASS)
def test_training_rows_that_all_say_the_same(raw, kind, column, given, label, message):
    options = {"options": {"separator": ";"}} if kind == "multilabel" else {}
    raw.params["targets"] = {column: {"kind": kind, "column": column, **given, **options}}
    raw.table[column] = raw.table[column].astype(object)
    raw.table.loc[raw.training, column] = label
    refuse(raw, TrainingError, message)


def test_fewer_rows_than_classes(raw):
    names = [f"class{n}" for n in range(30)]
    raw.params["targets"]["side"]["classes"] = names
    raw.table["side"] = (names * 2)[:40]
    refuse(raw, TrainingError, r"'side' has no training row of class class24, class25, .* add such")


def test_validation_rows_of_which_none_has_a_class_that_is_trained(raw):
    raw.table["side"] = [f"class{n}" for n in range(40)]
    message = r"calibrated, by validation rows, but none of 8 has a label of side that a training"
    refuse(raw, TrainingError, message)


@pytest.mark.parametrize(("key", "columns"), [("scan", ["scan"]), ("person", ["age", "plan"])])
def test_a_modality_that_no_training_row_has(raw, key, columns):
    raw.table[columns] = raw.table[columns].astype(object)
    raw.table.loc[raw.training, columns] = None
    refuse(raw, StageError, rf"modality '{key}' needs at least 1 training row that has it, got 0;")


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("scan", {"scan": "[1.0, 2.0]"}),
        ("person", {"age": 30, "plan": "basic"}),
        ("words", {"words": "hi"}),
    ],
)
def test_a_modality_that_never_varies_in_training_rows(raw, key, cells):
    for column, cell in cells.items():
        raw.table.loc[raw.training, column] = cell
    message = rf"'{key}' needs cells that differ .* all 24 .* hold the same.* take '{key}' out of"
    refuse(raw, StageError, message)


@pytest.mark.slow
def test_one_column_that_never_varies_is_no_error(raw):
    raw.table["age"] = 30
    raw.table["scan"] = [json.dumps([1.0, json.loads(cell)[1]]) for cell in raw.table["scan"]]
    assert not augment(raw.load()).blocks


@pytest.mark.slow
@pytest.mark.parametrize("key", ["scan", "person"])
def test_a_modality_that_no_row_has(raw, key):
    raw.table[{"scan": ["scan"], "person": ["age", "plan"]}[key]] = None
    raw.write()
    report = validate(load_project(raw.root))
    assert report.blocks
    advice = " ".join(result.advice for suite in report.suites for result in suite.failed)
    assert f"`modalities.{key}.column" in advice
    assert "names a column of nulls; take it out of params.yaml" in advice


@pytest.mark.slow
def test_rows_that_contradict_each_other_leave_none(raw):
    """Equal in all modalities and of different sides: every row is refused, and this is said."""
    raw.table = raw.table.assign(scan="[1.0, 2.0]", age=30, plan="basic", words="hi")
    raw.write()
    report = validate(load_project(raw.root))
    assert (report.rows_in, report.rows_out) == (40, 0)
    observed = {r.expected: r.observed for suite in report.suites for r in suite.failed}
    assert observed["every class has at least 1 % of the labelled rows"] == "no values"
    assert not any(result.errored for suite in report.suites for result in suite.results)


@pytest.mark.slow
def test_a_person_reads_the_sentence_alone(raw):
    raw.table.loc[raw.training, "scan"] = "[1.0, 2.0]"
    raw.write()

    def run(*arguments):
        command = [sys.executable, "-c", "from mm_assets.cli.main import main; main()", "stage"]
        environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [*command, *arguments],
            cwd=raw.root,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("validate").returncode == 0
    refused = run("augment")
    assert refused.returncode == 1
    said = [line for line in refused.stderr.splitlines() if "unit" not in line and "%|" not in line]
    assert len(said) == 1
    assert said[0].startswith("error: modality 'scan' needs cells that differ in the training rows")
    kept = sorted(path.name for path in (raw.root / "artifacts").iterdir())
    assert kept == ["logs", "pages", "reports", "validated"]


# From here on vectors are there.


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite(embedded, split, value):
    present, matrix = embedded.vectors["hint"]
    chosen = np.flatnonzero(present & (embedded.rows["split"] == split))[:3]
    matrix[chosen, 1] = value
    rows = int((present & (embedded.rows["split"] == split)).sum())
    project = embedded.load()
    first = embedded.rows["id"][chosen[0]]
    message = (
        rf"'hint' .* 3 of {rows} rows are not, such as of '{first}'; run `dvc repro -f embed@h"
    )
    with pytest.raises(DataContractError, match=message):
        train(project)
    assert not project.workspace.model.exists()


@pytest.mark.slow
def test_a_test_vector_that_is_not_finite_becomes_no_metric(embedded):
    project = embedded.load()
    train(project)
    present, matrix = embedded.vectors["clear"]
    matrix[np.flatnonzero(present & (embedded.rows["split"] == "test"))[0], 0] = np.nan
    with pytest.raises(DataContractError, match=r"modality 'clear' needs finite .* those of 1 of"):
        evaluate(embedded.load())
    assert not (project.workspace.evaluation / "metrics.json").exists()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_loss_that_explodes_keeps_the_last_good_weights(embedded, optimizer):
    embedded.params["train"] |= {"learning_rate": 1e30, "optimizer": optimizer}
    project = embedded.load()
    message = (
        r"stopped at epoch \d+, batch \d+: the loss is (nan|inf), although the vectors of clear, hint "
        r"are finite; lower `train\.learning_rate` .*best weights so far, of epoch 0, are kept in "
    )
    with pytest.raises(TrainingError, match=message) as stopped:
        train(project)
    (kept,) = (project.workspace.unfinished / "train").iterdir()
    assert str(kept) in str(stopped.value)
    assert all(torch.isfinite(weights).all() for weights in load_file(kept).values())
    assert not (project.workspace.model / "model.safetensors").exists()


def give_sequences(project, embedded):
    """Put sequences of 1 to 4 steps, scattered about the vector, in the place of `clear`."""
    rng = np.random.default_rng(0)
    folder = project.workspace.embeddings("clear")
    found = read_embeddings(folder)
    steps = rng.integers(1, 5, len(found.ids))
    matrix = np.repeat(np.array(found.matrix), steps, axis=0)
    matrix += rng.normal(0, 0.5, matrix.shape).astype(np.float32)
    encoder = {**found.encoder, "name": "standardized_steps", "sequence": True}
    shutil.rmtree(folder)
    folder.mkdir()
    write_embeddings(folder, Embeddings(found.ids, found.copies, matrix, encoder, {}, steps))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_every_fusion_takes_a_sequence_beside_a_vector(embedded, name):
    embedded.params["fusion"]["name"] = name
    embedded.params["modalities"]["clear"] |= {
        "options": {"dim": 3, "sequence": True},
        "encoder": {"name": "standardized_steps", "sequence": True},
    }
    project = embedded.load()
    give_sequences(project, embedded)
    report = train(project)
    assert not report.blocks
    # A constant answer has a loss of 0.69 nats, the mean over views of the best one about 0.35.
    assert report.metrics["validation_loss_nats"] < 0.55
    model = load_model(project.workspace.model)
    assert all(torch.isfinite(weights).all() for weights in model.parameters())


@pytest.mark.slow
def test_a_step_that_is_not_finite(embedded):
    embedded.params["modalities"]["clear"] |= {
        "options": {"dim": 3, "sequence": True},
        "encoder": {"name": "standardized_steps", "sequence": True},
    }
    embedded.vectors["clear"][1][1] = np.nan
    project = embedded.load()
    give_sequences(project, embedded)
    with pytest.raises(DataContractError, match=r"modality 'clear' .* those of 1 of .* of 's1'"):
        train(project)


# Before any work: params.yaml.


def change(place, value, **further):
    """Set a key of `params.yaml`, and sections beside it."""
    params = copy.deepcopy(PARAMS) | {"data": {"group": "who", "split": "part"}} | further
    *parents, last = place.split(".")
    section = params
    for key in parents:
        section = section.setdefault(key, {})
    section[last] = value
    return params


NUMBER = {"grams": {"kind": "regression", "column": "grams"}}
BAD = [
    (
        change("train.finetune", {"nobody": {}}),
        r"`train\.finetune\.nobody` must name a modality \(scan, person, words\)",
    ),
    (
        change("train.finetune", {"scan": {}}),
        r"`train\.finetune\.scan` trains published weights on, but encoder 'standardized' is fitted",
    ),
    (
        change("train.finetune", {"words": {}}),
        r"`train\.finetune\.words` .* but encoder 'hashed_ngrams' is fitted .* take it out",
    ),
    (
        change("train.finetune", {"words": {"lr": 1e-5}}),
        r"`train\.finetune\.words\.lr` is not a known key \(known here: frozen, learning_rate\)",
    ),
    (
        change("train.finetune", {"words": {"frozen": "layer.0"}}),
        r"`train\.finetune\.words\.frozen`: must be a list, got 'layer\.0' \(str\)",
    ),
    (
        change("train.finetune", ["words"]),
        r"`train\.finetune`: must be a mapping of keys, got \['words'\] \(list\)",
    ),
    (
        change("train.pseudo_labels", {}, targets=NUMBER),
        r"`train\.pseudo_labels` needs a target whose answers have a confidence, and grams has none",
    ),
    (
        change("train.pseudo_labels", {"confidence": 1.0}),
        r"`train\.pseudo_labels\.confidence`: input should be less than 1, got 1\.0",
    ),
    (
        change("train.alignment", {"wieght": 1.0}),
        r"`train\.alignment\.wieght` is not a known key; did you mean `weight`\?",
    ),
    (
        change("fusion.context", {"name": "transformer", "heads": 3}),
        r"`fusion`: `dim` must be a multiple of `context\.heads`, got 32 and 3",
    ),
    (
        change("fusion.context", {"name": "lstm"}),
        r"`fusion\.context\.name`: input should be 'mean', 'transformer' or 'gru', got 'lstm'",
    ),
    (
        change("fusion.context", {}, data={}),
        r"`fusion\.context` reads each row .* `data\.group` names no column",
    ),
    (
        change("targets.side.loss", {"class_weight": "balanced"}),
        r"`targets\.side\.loss\.class_weight` is not a known key; did you mean `class_weights`\?",
    ),
    (
        change("targets.side.loss", {"huber": 1.0}),
        r"loss\.huber` is not a known key \(known here: class_weights, focal, label_smoothing\)",
    ),
    (
        change("targets.side.loss", "focal"),
        r"`targets\.side\.loss`: must be a mapping of keys, got 'focal' \(str\)",
    ),
    (change("search.trails", 3), r"`search\.trails` is not a known key; did you mean `trials`\?"),
    (
        change("search.space", {"fusion.dim": {"lo": 8, "high": 64}}),
        r"`search\.space\.fusion\.dim\.lo` is not a known key; did you mean `low`\?",
    ),
    (
        change("search.space", {"fusion.dim": {"low": 8, "high": 8}}),
        r"`search\.space\.fusion\.dim`: must be a list of values, or bounds .* with low below high",
    ),
    (
        change("promotion.alhpa", 0.1),
        r"`promotion\.alhpa` is not a known key; did you mean `alpha`\?",
    ),
    (
        change("promotion", [0.1]),
        r"`promotion`: must be a mapping of keys, got \[0\.1\] \(list\)",
    ),
    (
        change("fusion.options", {"heads": 4}),
        r"`fusion\.options\.heads` is not a known key \(known here: none\)",
    ),
]


@pytest.mark.parametrize(("params", "message"), BAD, ids=range(len(BAD)))
def test_a_configuration_that_cannot_be_trained(tmp_path, params, message):
    with pytest.raises(ConfigError, match=message):
        build_project(parse_config(params), Workspace(tmp_path))


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_an_encoder_of_low_precision_is_not_trained_along(tmp_path, precision):
    params = change("train.finetune", {"words": {}}, export={"enabled": False})
    params["modalities"]["words"]["encoder"] = {"name": "minilm", "precision": precision}
    message = rf"`train\.finetune\.words` needs .*precision` float32, got {precision}; `train\.pre"
    with pytest.raises(ConfigError, match=message):
        build_project(parse_config(params), Workspace(tmp_path))


def test_an_encoder_without_weights_is_not_trained_along(tmp_path):
    params = change("train.finetune", {"words": {}})
    params["modalities"]["words"] |= {"kind": "audio", "encoder": {"name": "voice_functionals"}}
    project = build_project(parse_config(params), Workspace(tmp_path))
    nothing = Embeddings(np.array([]), np.array([]), np.empty((0, 1), np.float32), {}, {})
    message = (
        r"`train\.finetune\.words` trains the weights of an encoder, and that of 'words' has n"
    )
    with pytest.raises(ConfigError, match=message):
        build_tuned(project, {"words": nothing})
