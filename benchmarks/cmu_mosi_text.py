"""CMU-MOSI's transcripts, five folds by video: what each text encoder is worth.

Every fold runs stage `embed`, so an encoder that learns learns from the fold's training videos
alone, and gives their own rows vectors out of fold; then the fusion is trained on that one
modality with the recipe's defaults, a tenth of the training videos held out for early stopping.
Nothing is augmented, nothing tuned. Intervals come from resampling videos.

    python benchmarks/cmu_mosi_text.py FOLDER [--encoders minilm text_cnn]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cmu_mosi_folds import FOLDS, RESAMPLING, train_fold
from embedding import ROOT
from measure import share_weights
from sklearn.model_selection import GroupKFold

from mm_assets.contracts.config import Config, EncoderConfig, read_config
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.table import read_augmented
from mm_assets.data.vectors import read_embeddings
from mm_assets.evaluation.answers import answer_rows
from mm_assets.evaluation.metrics import score_with_intervals
from mm_assets.sources.cmu_mosi import read_cmu_mosi
from mm_assets.stages.embed import embed
from mm_assets.stages.project import build_project
from mm_assets.targets.base import find_target
from mm_assets.training.examples import gather_examples

TARGET = "sentiment"
ENCODERS = {
    "hashed_ngrams": {},
    "tfidf_svd": {},
    "text_cnn": {},
    "text_gru": {},
    "minilm": {},
    # MiniLM's weights once more, by the other encoder's path and without a unit length.
    "huggingface": {"model": str(Workspace(ROOT).weights / "minilm")},
}


def main() -> None:
    """Print a line of accuracy per encoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    share_weights()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.data.mkdir()
        read_cmu_mosi(given.folder, workspace.data)
        for name in given.encoders:
            score_encoder(EncoderConfig(name=name, **ENCODERS[name]), workspace)


def score_encoder(encoder: EncoderConfig, workspace: Workspace) -> None:
    """Print an encoder's accuracy on rows of unseen videos, with its interval over videos."""
    started = time.perf_counter()
    recipe = read_config(ROOT / "recipes/cmu_mosi.yaml")
    text = recipe.modalities["text"].model_copy(update={"encoder": encoder})
    config = recipe.model_copy(update={"modalities": {"text": text}})
    raw = pd.read_parquet(workspace.data / config.data.table)
    groups = raw[config.data.group].to_numpy()
    target = find_target("multiclass").fit(
        raw[config.targets[TARGET].column], config.targets[TARGET], where=TARGET
    )
    tallies = np.zeros((len(raw), 4), dtype=np.int64)
    for train, test in GroupKFold(FOLDS).split(raw, groups=groups):
        write_split(raw, test, config, workspace)
        embed(build_project(config, workspace), "text")
        rows = read_augmented(
            workspace.augmented, splits=("train", "test"), columns=["text", TARGET]
        ).set_index("id", drop=False)
        rows = rows.loc[raw[config.data.id]].reset_index(drop=True)
        embeddings = {"text": read_embeddings(workspace.embeddings("text"))}
        examples = gather_examples(rows, embeddings, {TARGET: target})
        model = train_fold(examples, groups, train, config, embeddings, target)
        answered = answer_rows(model, examples.take(torch.from_numpy(test)), ("text",))
        tallies[test] = answered[TARGET].tallies
    s = score_with_intervals(target, tallies, groups, **RESAMPLING)
    print(
        f"{encoder.name:<16}{100 * s['accuracy']:6.1f} % "
        f"[{100 * s['accuracy_low']:.1f}, {100 * s['accuracy_high']:.1f}]"
        f"   macro F1 {100 * s['macro_f1']:.1f}   {time.perf_counter() - started:.0f} s",
        flush=True,
    )


def write_split(raw: pd.DataFrame, test: np.ndarray, config: Config, workspace: Workspace) -> None:
    """Write what stage `augment` would: every row as it is, those of the fold for testing."""
    rows = pd.DataFrame({"id": raw[config.data.id], "copy": 0, "split": "train"})
    rows.loc[test, "split"] = "test"
    rows["group"] = raw[config.data.group]
    rows["render"] = pd.Series([None] * len(raw), dtype="str")
    rows["text"] = raw[config.modalities["text"].column]
    rows[TARGET] = raw[config.targets[TARGET].column]
    workspace.augmented.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(workspace.augmented / "samples.parquet")


if __name__ == "__main__":
    main()
