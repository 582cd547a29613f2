"""av_digits, leaving out one speaker at a time: image alone, audio alone, both.

Every fold trains with the train stage's function and the defaults of the recipe, but without
augmented copies. Of the three speakers that are left, the one after the held-out one (by name, in a
circle) is for early stopping and calibration, as the recipe's split would have it; the held-out one
answers for nothing but the figures. One model per fold answers from each subset of its modalities.

    python benchmarks/av_digits_speakers.py FOLDER      # holds samples.csv, images/, audio/
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from embedding import ROOT, embed_rows

from mm_assets.contracts.config import Config, read_config
from mm_assets.data.progress import show_progress
from mm_assets.data.table import read_table
from mm_assets.evaluation.metrics import compare_paired, score_with_intervals
from mm_assets.evaluation.subsets import answer_rows
from mm_assets.targets.base import Target, find_target
from mm_assets.training.examples import Examples, gather_examples
from mm_assets.training.loop import train_model
from mm_assets.training.model import FusionModel

LABEL = "digit"
ANSWERED_FROM = {"image": ("image",), "audio": ("audio",), "both": ("image", "audio")}
RESAMPLING = {"resamples": 10_000, "confidence": 0.95, "seed": 0}


def main() -> None:
    """Print accuracy per held-out speaker, over all rows, and paired tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = read_config(ROOT / "recipes/av_digits.yaml")
    raw = read_table(given.folder / config.data.table)
    rows, embeddings = embed_rows(raw, given.folder, config)
    target = find_target(config.targets[LABEL].kind).fit(
        rows[LABEL], config.targets[LABEL], where=LABEL
    )
    examples = gather_examples(rows, embeddings, {LABEL: target})
    speaker = rows["group"].to_numpy()
    speakers = sorted(set(speaker))
    encoders = {key: found.encoder for key, found in embeddings.items()}

    tallies: dict[str, np.ndarray] = {}
    for at, held_out in enumerate(show_progress(speakers, title="speakers", unit="fold")):
        stopping = speakers[(at + 1) % len(speakers)]
        test = speaker == held_out
        validation = speaker == stopping
        model = train_fold(examples, ~test & ~validation, validation, encoders, config, target)
        for name, subset in ANSWERED_FROM.items():
            answers = answer_rows(model, examples.take(torch.from_numpy(test)), subset)[LABEL]
            found = tallies.setdefault(name, np.zeros((len(rows), answers.tallies.shape[1])))
            found[test] = answers.tallies

    print(f"{len(rows)} digits, {len(speakers)} speakers, each left out once; accuracy in %")
    print(f"{'':<8}" + "".join(f"{name:>10}" for name in speakers) + f"{'mean':>10}")
    for name, found in tallies.items():
        accuracies = [
            100 * float(target.metrics(found[speaker == one].sum(axis=0)[None])["accuracy"][0])
            for one in speakers
        ]
        shown = "".join(f"{accuracy:>10.1f}" for accuracy in [*accuracies, np.mean(accuracies)])
        # With 4 groups an interval over speakers would be wide and rough: this one is over rows,
        # and says nothing about a fifth speaker.
        s = score_with_intervals(target, found, rows["id"].to_numpy(), **RESAMPLING)
        print(
            f"{name:<8}{shown}   [{100 * s['accuracy_low']:.1f}, {100 * s['accuracy_high']:.1f}] "
            "over rows"
        )
    for other in ("image", "audio"):
        c = compare_paired(
            target, tallies["both"], tallies[other], rows["id"].to_numpy(), **RESAMPLING
        )
        print(
            f"both minus {other}: {100 * c['difference']:+.1f} points "
            f"[{100 * c['difference_low']:+.1f}, {100 * c['difference_high']:+.1f}] over rows"
        )


def train_fold(
    examples: Examples,
    train: np.ndarray,
    validation: np.ndarray,
    encoders: dict[str, dict],
    config: Config,
    target: Target,
) -> FusionModel:
    """Train on some speakers, and stop and calibrate on another."""
    torch.manual_seed(config.seed)
    model = FusionModel(encoders, {LABEL: target}, config.fusion, members=config.train.seeds)
    train_model(
        model,
        examples.take(torch.from_numpy(train)),
        examples.take(torch.from_numpy(validation)),
        config=config.train,
        weights={LABEL: 1.0},
        seed=config.seed,
    )
    return model


if __name__ == "__main__":
    main()
