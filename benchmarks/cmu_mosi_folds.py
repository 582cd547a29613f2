"""CMU-MOSI, five folds by video: the fusion against the transcript alone and a linear model.

Transcript through MiniLM and 73 acoustic features; the two feature sets that were trained with
these labels are left out. Every fold trains with the train stage's function and the defaults
of the recipe, but without augmented copies, and holds a tenth of its training videos out for early
stopping. The linear model is
scikit-learn's logistic regression on the same standardised transcript vectors, trained on all of
a fold's training videos, its strength chosen by folds of videos among them.

    python benchmarks/cmu_mosi_folds.py FOLDER      # holds utterances.parquet
    python benchmarks/cmu_mosi_folds.py FOLDER --fusions gated late hybrid
"""

import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from embedding import ROOT, embed_rows
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GroupKFold, GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mm_assets.contracts.config import Config, read_config
from mm_assets.data.progress import show_progress
from mm_assets.data.vectors import Embeddings
from mm_assets.evaluation.answers import answer_rows
from mm_assets.evaluation.metrics import compare_paired, score_with_intervals
from mm_assets.fusion.options import OPTIONS
from mm_assets.sources.cmu_mosi import read_cmu_mosi
from mm_assets.targets.base import find_target
from mm_assets.training.examples import Examples, gather_examples
from mm_assets.training.loop import train_model
from mm_assets.training.model import FusionModel

FOLDS, HELD_OUT = 5, 0.1
RESAMPLING = {"resamples": 10_000, "confidence": 0.95, "seed": 0}
TEXT, BOTH = "transcript", "transcript + audio"
ANSWERED_FROM = {TEXT: ("text",), "audio": ("audio",), BOTH: ("text", "audio")}


def main() -> None:
    """Print each fusion's accuracies with intervals over videos, and its paired tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--fusions", nargs="+", choices=list(OPTIONS), default=["gated"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = read_config(ROOT / "recipes/cmu_mosi.yaml")
    rows, embeddings = embed_utterances(given.folder, config)
    target = find_target("multiclass").fit(
        rows["sentiment"], config.targets["sentiment"], where="sentiment"
    )
    examples = gather_examples(rows, embeddings, {"sentiment": target})
    groups, labels = rows["group"].to_numpy(), examples.labels["sentiment"].numpy()

    folds = list(GroupKFold(FOLDS).split(rows, labels, groups))
    text, answers = examples.vectors["text"].numpy(), np.zeros((len(rows), len(target.classes)))
    for train, test in show_progress(folds, title="linear", unit="fold"):
        fitted = fit_linear(text[train], labels[train], groups[train])
        answers[test] = fitted.predict_proba(text[test])
    linear = target.tally(labels, answers)
    print(f"{len(rows)} utterances of {len(set(groups))} videos, {FOLDS} folds by video")
    _print_scores("linear, transcript", target, linear, groups)

    for fusion in given.fusions:
        chosen = config.fusion.model_copy(update={"name": fusion})
        asked = config.model_copy(update={"fusion": chosen})
        tallies = {name: np.zeros_like(linear) for name in ANSWERED_FROM}
        started = time.process_time()
        for train, test in show_progress(folds, title=fusion, unit="fold"):
            model = train_fold(examples, groups, train, asked, embeddings, target)
            kept_aside = examples.take(torch.from_numpy(test))
            for name, subset in ANSWERED_FROM.items():
                tallies[name][test] = answer_rows(model, kept_aside, subset)["sentiment"].tallies
        print(f"{fusion}: {(time.process_time() - started) / FOLDS:.0f} CPU s a fold")
        for name, found in tallies.items():
            _print_scores(name, target, found, groups)
        for first, second in ((BOTH, tallies[TEXT]), (TEXT, linear)):
            c = compare_paired(target, tallies[first], second, groups, **RESAMPLING)
            print(
                f"  {first} minus {TEXT if first == BOTH else 'linear'}: "
                f"{100 * c['difference']:+.1f} points [{100 * c['difference_low']:+.1f}, "
                f"{100 * c['difference_high']:+.1f}], p = {c['p_value']:.3f} (videos swapped)",
                flush=True,
            )


def _print_scores(name: str, target: object, tallies: np.ndarray, groups: np.ndarray) -> None:
    s = score_with_intervals(target, tallies, groups, **RESAMPLING)
    print(
        f"  {name:<20}{100 * s['accuracy']:6.1f} % [{100 * s['accuracy_low']:.1f}, "
        f"{100 * s['accuracy_high']:.1f}]   macro F1 {100 * s['macro_f1']:.1f}"
    )


def embed_utterances(source: Path, config: Config) -> tuple[pd.DataFrame, dict[str, Embeddings]]:
    """Read the table and embed it with the recipe's encoders."""
    with tempfile.TemporaryDirectory() as folder:
        read_cmu_mosi(source, Path(folder))
        return embed_rows(pd.read_parquet(Path(folder) / config.data.table), Path(folder), config)


def train_fold(
    examples: Examples,
    groups: np.ndarray,
    train: np.ndarray,
    config: Config,
    embeddings: dict,
    target: object,
) -> FusionModel:
    """Train on a fold, some of its videos held out for early stopping and calibration."""
    split = GroupShuffleSplit(1, test_size=HELD_OUT, random_state=config.seed)
    kept, held = next(split.split(train, groups=groups[train]))
    torch.manual_seed(config.seed)
    model = FusionModel(
        {key: found.encoder for key, found in embeddings.items()},
        {"sentiment": target},
        config.fusion,
        members=config.train.seeds,
    )
    train_model(
        model,
        examples.take(torch.from_numpy(train[kept])),
        examples.take(torch.from_numpy(train[held])),
        config=config.train,
        weights={"sentiment": 1.0},
        seed=config.seed,
    )
    return model


def fit_linear(vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> object:
    """Fit the linear model on a fold's training videos."""
    strengths = np.logspace(-4, 0, 9)
    folds = list(GroupKFold(FOLDS).split(vectors, labels, groups))
    model = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(Cs=strengths, cv=folds, max_iter=1000, l1_ratios=(0,)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of scikit-learn about its own defaults
        return model.fit(vectors, labels)


if __name__ == "__main__":
    main()
