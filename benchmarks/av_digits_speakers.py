"""av_digits, leaving out one speaker at a time: image alone, audio alone, both.

The other three train; of each, one row in seven is for early stopping and calibration. Every fold
trains with the train stage's function and the defaults of the recipe, but without augmented
copies. An audio encoder that learns is fitted anew in every fold, by the embed stage: training rows
are answered by networks that did not hear their speaker. The held-out speaker answers for nothing
but the figures. One model per fold answers from each subset of its modalities.

    python benchmarks/av_digits_speakers.py FOLDER      # holds samples.csv, images/, audio/
    python benchmarks/av_digits_speakers.py FOLDER --audio voice_functionals
"""

import argparse
import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from embedding import ROOT, embed_rows

from mm_assets.contracts.config import Config, EncoderConfig, read_config
from mm_assets.data.progress import show_progress
from mm_assets.data.table import read_table
from mm_assets.encoders.base import find_encoder
from mm_assets.encoders.learned import LearnedEncoder
from mm_assets.evaluation.answers import answer_rows
from mm_assets.evaluation.metrics import compare_paired, score_with_intervals
from mm_assets.targets.base import Target, find_target
from mm_assets.training.examples import Examples, gather_examples
from mm_assets.training.loop import train_model
from mm_assets.training.model import FusionModel

LABEL = "digit"
ANSWERED_FROM = {"image": ("image",), "audio": ("audio",), "both": ("image", "audio")}
KEPT_ASIDE = 7  # of so many rows, one is a validation row
RESAMPLING = {"resamples": 10_000, "confidence": 0.95, "seed": 0}


def main() -> None:
    """Print accuracy per held-out speaker, over all rows, and paired tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--audio", help="encoder of the voice; the recipe's by default")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = read_config(ROOT / "recipes/av_digits.yaml")
    compute = config.compute.model_copy(update={"threads": given.threads})
    config = config.model_copy(update={"compute": compute})
    if given.audio:
        config = choose_audio(config, given.audio)
    raw = read_table(given.folder / config.data.table)
    learns = [
        key
        for key, entry in config.modalities.items()
        if issubclass(find_encoder(entry.encoder.name), LearnedEncoder)
    ]
    rows, embeddings = embed_rows(
        raw, given.folder, keep(config, set(config.modalities) - {*learns})
    )
    target = find_target(config.targets[LABEL].kind).fit(
        rows[LABEL], config.targets[LABEL], where=LABEL
    )
    speaker = rows["group"].to_numpy()
    speakers = sorted(set(speaker))

    tallies: dict[str, np.ndarray] = {}
    for held_out in show_progress(speakers, title="speakers", unit="fold"):
        test = speaker == held_out
        validation = ~test & (np.arange(len(rows)) % KEPT_ASIDE == 0)
        split = np.select([test, validation], ["test", "validation"], "train")
        if learns:
            rows, fitted = embed_rows(raw, given.folder, config=keep(config, learns), split=split)
            embeddings |= fitted
        found = {key: embeddings[key] for key in config.modalities}
        examples = gather_examples(rows, found, {LABEL: target})
        encoders = {key: one.encoder for key, one in found.items()}
        model = train_fold(examples, split == "train", validation, encoders, config, target)
        for name, subset in ANSWERED_FROM.items():
            answers = answer_rows(model, examples.take(torch.from_numpy(test)), subset)[LABEL]
            tally = tallies.setdefault(name, np.zeros((len(rows), answers.tallies.shape[1])))
            tally[test] = answers.tallies

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


def keep(config: Config, modalities: Collection[str]) -> Config:
    """Leave the other modalities out."""
    kept = {key: one for key, one in config.modalities.items() if key in modalities}
    return config.model_copy(update={"modalities": kept})


def choose_audio(config: Config, name: str) -> Config:
    """Put another encoder of the voice, with its defaults."""
    voice = config.modalities["audio"]
    changed = voice.model_copy(update={"encoder": EncoderConfig(name=name)})
    return config.model_copy(update={"modalities": {**config.modalities, "audio": changed}})


def train_fold(
    examples: Examples,
    train: np.ndarray,
    validation: np.ndarray,
    encoders: dict[str, dict],
    config: Config,
    target: Target,
) -> FusionModel:
    """Train on some rows, and stop and calibrate on others."""
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
