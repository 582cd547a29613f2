"""CMU-MOSI, five folds by video: every fusion on frozen vectors, and the recipe as it stands.

Transcript through MiniLM and 73 acoustic features; the two feature sets that were trained with
these labels are left out. Every fold trains with the train stage's function, but without augmented
copies, and holds a tenth of its training videos out for early stopping and calibration. On frozen
vectors (`--fusions`) it is the defaults of `train`, without context; the recipe trains MiniLM along
and reads an utterance among those of its video. The linear model is scikit-learn's logistic
regression on the standardised frozen transcript vectors, trained on all of a fold's training
videos, its strength chosen by folds of videos among them.

    python benchmarks/cmu_mosi_folds.py FOLDER --seeds 7 8 9      # the recipe; FOLDER holds utterances.parquet
    python benchmarks/cmu_mosi_folds.py FOLDER --fusions gated late hybrid
"""

import argparse
import contextlib
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from embedding import ROOT, embed_rows
from measure import share_weights
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GroupKFold, GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mm_assets.contracts.config import Config, FusionConfig, TrainConfig, read_config
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.progress import show_progress
from mm_assets.evaluation.answers import answer_rows
from mm_assets.evaluation.metrics import compare_paired, score_with_intervals
from mm_assets.fusion.options import OPTIONS
from mm_assets.sources.cmu_mosi import read_cmu_mosi
from mm_assets.stages.project import Project, build_project
from mm_assets.stages.trained import build_tuned, open_media
from mm_assets.targets.base import Target, find_target
from mm_assets.training.examples import Examples, gather_examples
from mm_assets.training.fitting import fit_model
from mm_assets.training.model import FusionModel

FOLDS, HELD_OUT = 5, 0.1
RESAMPLING = {"resamples": 10_000, "confidence": 0.95, "seed": 0}
LABEL, TEXT, BOTH = "sentiment", "transcript", "transcript + audio"
ANSWERED_FROM = {TEXT: ("text",), "audio": ("audio",), BOTH: ("text", "audio")}


@dataclass(frozen=True)
class Utterances:
    """All rows, embedded, with their folds."""

    project: Project
    rows: pd.DataFrame
    embeddings: dict
    target: Target

    @property
    def groups(self) -> np.ndarray:
        """The video of each."""
        return self.rows["group"].to_numpy()

    @property
    def labels(self) -> np.ndarray:
        """Encoded."""
        return self.target.encode(self.rows[LABEL], where=LABEL)

    @property
    def folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Numbers of the rows that train and that test, by fold."""
        return list(GroupKFold(FOLDS).split(self.rows, self.labels, self.groups))


def main() -> None:
    """Print accuracies with intervals over videos, and paired tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--fusions", nargs="+", choices=list(OPTIONS), default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[7])
    given = parser.parse_args()
    share_weights()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        found = embed_utterances(given.folder, Path(folder))
        print(f"{len(found.rows)} utterances of {len(set(found.groups))} videos, {FOLDS} folds")
        linear = answer_linear(found)
        print_scores(found, "linear, transcript", linear)
        config = found.project.config
        if not given.fusions:
            totals = [
                judge(found, config.model_copy(update={"seed": s}), linear) for s in given.seeds
            ]
            for name in ANSWERED_FROM:
                accuracies = [accuracy(found, one[name]) for one in totals]
                print(f"mean of {len(totals)} seeds, {name}: {100 * np.mean(accuracies):.1f} %")
        for fusion in given.fusions:
            plain = {"fusion": FusionConfig(name=fusion), "train": TrainConfig()}
            judge(found, config.model_copy(update={"seed": given.seeds[0], **plain}), linear)


def embed_utterances(source: Path, folder: Path) -> Utterances:
    """Read the table, in the order of the videos, and embed it with the recipe's encoders."""
    config = read_config(ROOT / "recipes/cmu_mosi.yaml")
    read_cmu_mosi(source, folder)
    raw = pd.read_parquet(folder / config.data.table)
    raw = raw.sort_values(["video", "position"], kind="stable").reset_index(drop=True)
    rows, embeddings = embed_rows(raw, folder, config)
    project = build_project(config, Workspace(folder))
    target = find_target("multiclass").fit(rows[LABEL], config.targets[LABEL], where=LABEL)
    return Utterances(project, rows, embeddings, target)


def answer_linear(found: Utterances) -> np.ndarray:
    """Give the linear model's tallies."""
    text = gather_examples(found.rows, found.embeddings, {LABEL: found.target}).vectors["text"]
    vectors, labels = text.numpy(), found.labels
    answers = np.zeros((len(labels), len(found.target.classes)))
    for train, test in show_progress(found.folds, title="linear", unit="fold"):
        fitted = fit_linear(vectors[train], labels[train], found.groups[train])
        answers[test] = fitted.predict_proba(vectors[test])
    return found.target.tally(labels, answers)


def judge(found: Utterances, config: Config, linear: np.ndarray) -> dict[str, np.ndarray]:
    """Train on every fold and print what that comes to; returns tallies by what is answered from."""
    tallies = {name: np.zeros_like(linear) for name in ANSWERED_FROM}
    started, fusion = time.process_time(), config.fusion.name
    with open_examples(found, config) as examples:
        for train, test in show_progress(found.folds, title=fusion, unit="fold"):
            model = train_fold(found, examples, train, config)
            for name, subset in ANSWERED_FROM.items():
                answered = answer_rows(model, examples.take(torch.from_numpy(test)), subset)
                tallies[name][test] = answered[LABEL].tallies
    cpu_s = (time.process_time() - started) / FOLDS
    context = f", context {config.fusion.context.name}" if config.fusion.context else ""
    tuned = f", trained along: {', '.join(config.train.finetune)}" if config.train.finetune else ""
    print(f"{fusion}{context}{tuned}, seed {config.seed}: {cpu_s:.0f} CPU s a fold")
    for name, one in tallies.items():
        print_scores(found, name, one)
    for first, second, label in (
        (BOTH, tallies[TEXT], TEXT),
        (TEXT, linear, "linear"),
        (BOTH, linear, "linear"),
    ):
        c = compare_paired(found.target, tallies[first], second, found.groups, **RESAMPLING)
        print(
            f"  {first} minus {label}: {100 * c['difference']:+.1f} points "
            f"[{100 * c['difference_low']:+.1f}, {100 * c['difference_high']:+.1f}], "
            f"p = {c['p_value']:.3f} (videos swapped)",
            flush=True,
        )
    return tallies


@contextlib.contextmanager
def open_examples(found: Utterances, config: Config) -> Iterator[Examples]:
    """Give all rows as the train stage does: with groups and media where they are asked for."""
    project = replace(found.project, config=config)
    with open_media(project, found.rows) as media:
        yield replace(
            gather_examples(
                found.rows,
                found.embeddings,
                {LABEL: found.target},
                in_groups=config.fusion.context is not None,
            ),
            media=media,
        )


def train_fold(
    found: Utterances, examples: Examples, train: np.ndarray, config: Config
) -> FusionModel:
    """Train on a fold, some of its videos held out for early stopping and calibration."""
    split = GroupShuffleSplit(1, test_size=HELD_OUT, random_state=config.seed)
    kept, held = next(split.split(train, groups=found.groups[train]))
    model, _ = fit_model(
        examples.take(torch.from_numpy(train[kept])),
        examples.take(torch.from_numpy(train[held])),
        encoders={key: one.encoder for key, one in found.embeddings.items()},
        targets={LABEL: found.target},
        config=config,
        tuned=build_tuned(replace(found.project, config=config), found.embeddings),
    )
    return model


def accuracy(found: Utterances, tallies: np.ndarray) -> float:
    """Give the share of right answers."""
    return float(found.target.metrics(tallies.sum(axis=0)[None])["accuracy"][0])


def print_scores(found: Utterances, name: str, tallies: np.ndarray) -> None:
    """Print accuracy with its interval over videos."""
    s = score_with_intervals(found.target, tallies, found.groups, **RESAMPLING)
    print(
        f"  {name:<20}{100 * s['accuracy']:6.1f} % [{100 * s['accuracy_low']:.1f}, "
        f"{100 * s['accuracy_high']:.1f}]   macro F1 {100 * s['macro_f1']:.1f}",
        flush=True,
    )


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
