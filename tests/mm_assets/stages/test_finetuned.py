"""An encoder that is trained along with the fusion, from the cells to the exported model."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from mm_assets.contracts.config import parse_config
from mm_assets.contracts.errors import ConfigError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.table import read_augmented
from mm_assets.serving.predictor import Predictor
from mm_assets.stages.embed import embed
from mm_assets.stages.export import export
from mm_assets.stages.project import build_project
from mm_assets.stages.train import train
from mm_assets.stages.trained import encode_rows, find_network, read_model, read_vectors
from mm_assets.training.examples import gather_examples
from mm_assets.training.scoring import predict_logits

pytestmark = pytest.mark.slow

SPLITS = {"train": 200, "validation": 60, "test": 60}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "not", "good", "the", "food", "was", "so"]


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """Save a small random BERT as its authors would publish one."""
    import transformers

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


def write_message(rng):
    """Write a message that is glad if it has "good" or "not", but not both: no word tells alone."""
    good, negated = rng.integers(0, 2, 2).tolist()
    words = (
        ["not"] * negated + ["good"] * good + rng.choice(["the", "food", "was", "so"], 4).tolist()
    )
    return " ".join(rng.permutation(words)), "glad" if good != negated else "sad"


def run(root, transformer, *, finetune, sequence=False):
    config = {
        "version": 2,
        "modalities": {
            "text": {
                "kind": "text",
                "column": "text",
                "encoder": {
                    "name": "huggingface",
                    "model": str(transformer),
                    "max_tokens": 16,
                    "sequence": sequence,
                },
            },
            "hint": {
                "kind": "features",
                "column": "hint",
                "options": {"dim": 2},
                "encoder": {"name": "standardized"},
            },
        },
        "targets": {"mood": {"kind": "multiclass", "column": "mood"}},
        "fusion": {"name": "concat", "dim": 8, "dropout": 0.0},
        "train": {
            "epochs": 25,
            "patience": 25,
            "batch_size": 16,
            "learning_rate": 3e-3,
            "modality_dropout": 0.2,
            "seeds": 1,
            "finetune": finetune,
        },
        "evaluation": {"bootstrap": 100},
        "compute": {"device": "cpu", "threads": 1},
    }
    workspace, rng = Workspace(root), np.random.default_rng(0)
    rows = pd.DataFrame({"split": np.repeat(list(SPLITS), list(SPLITS.values()))})
    texts, rows["mood"] = zip(*(write_message(rng) for _ in range(len(rows))), strict=True)
    # Some rows have no text; their hint tells a little.
    there = rng.random(len(rows)) < 0.9
    rows["text"] = pd.Series(texts).where(there, None)
    glad = (rows["mood"] == "glad").to_numpy()
    rows["hint"] = [json.dumps([float(g) + rng.normal(), rng.normal()]) for g in glad]
    rows["id"] = rows["group"] = [f"s{n}" for n in range(len(rows))]
    workspace.data.mkdir(parents=True)
    workspace.augmented.mkdir(parents=True)
    rows.assign(copy=0, render=None).to_parquet(workspace.augmented / "samples.parquet")
    project = build_project(parse_config(config), workspace)
    for key in project.modalities:
        embed(project, key)
    train(project)
    return project


def measure(project):
    """Give the share of test texts that are answered rightly from the text alone."""
    embeddings = read_vectors(project)
    model = read_model(project, embeddings)
    table = read_augmented(project.workspace.augmented, splits=["test"])
    vectors = encode_rows(project, model, embeddings, table)
    rows = gather_examples(table, vectors, model.targets).offer("text")
    right = predict_logits(model, rows)["mood"].argmax(dim=1) == rows.labels["mood"]
    return right.float().mean().item()


def test_a_name_that_no_weight_has_is_refused_before_rows_are_decoded(
    tmp_path, monkeypatch, transformer
):
    monkeypatch.delenv("MM_STORE", raising=False)
    message = r"`train\.finetune\.text\.frozen` must name weights .*, got 'layers\.0'"
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, transformer, finetune={"text": {"frozen": ["layers.0"]}})
    assert not Workspace(tmp_path).spool.exists()
    assert not Workspace(tmp_path).model.exists()


@pytest.mark.parametrize("sequence", [False, True])
def test_an_encoder_is_trained_along_and_served(tmp_path, monkeypatch, transformer, sequence):
    monkeypatch.delenv("MM_STORE", raising=False)
    start = "model.embeddings" if sequence else "tokens.model.embeddings"
    asked = {"text": {"learning_rate": 3e-3, "frozen": [start]}}
    tuned = run(tmp_path / "tuned", transformer, finetune=asked, sequence=sequence)

    embeddings = read_vectors(tuned)
    model = read_model(tuned, embeddings)
    ours = find_network(tuned, model, embeddings, "text").state_dict()
    published = run_network_before(tuned, embeddings)
    moved = {name for name in ours if not torch.equal(ours[name], published[name])}
    assert moved
    assert not [name for name in moved if "embeddings" in name]  # those are frozen

    assert measure(tuned) > 0.9
    report = export(tuned)
    assert report.metrics["parity_max_difference"] <= 1e-4
    assert report.metrics["served_max_difference"] <= 1e-4
    predictor = Predictor(tmp_path / "tuned/artifacts/onnx")
    texts = {
        "so the food was not good": "sad",
        "the good so the food": "glad",
        "so was food not so": "glad",
    }
    for text, mood in texts.items():
        (answer,) = predictor.predict([{"text": text}])
        assert max(answer["mood"], key=answer["mood"].get) == mood


def run_network_before(project, embeddings):
    encoder = project.encoders["text"]
    build = encoder.sequence_network if encoder.sequence else encoder.network
    return build(embeddings["text"].state or None).state_dict()
