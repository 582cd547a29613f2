"""av_digits, leaving out one speaker at a time: image alone, audio alone, both.

The other three train; of each, one row in seven is for early stopping and calibration. Every fold
trains with the train stage's function and the defaults of the recipe, but without augmented
copies. An encoder that learns is fitted anew in every fold, by the embed stage: training rows are
answered by networks that did not learn from their speaker. The held-out speaker answers for nothing
but the figures. One model per fold answers from each subset of its modalities; beside it stands,
for each modality, a model that was trained with it alone.

    python benchmarks/av_digits_speakers.py FOLDER      # holds samples.csv, images/, audio/
    python benchmarks/av_digits_speakers.py FOLDER --audio voice_functionals

It fails where both channels reach less than 99 % on average, or where a channel is missing and the
model is more than a point below the one that was trained with the other alone. Fitted encoders are
kept in the folder that MM_STORE names, if it does.
"""

import argparse
import os
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
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
from mm_assets.training.examples import gather_examples
from mm_assets.training.fitting import fit_model

LABEL = "digit"
ANSWERED_FROM = {"image": ("image",), "audio": ("audio",), "both": ("image", "audio")}
ALONE = "{}, trained alone"
LEAST_BOTH, MOST_POINTS = 99.0, 1.0
KEPT_ASIDE = 7  # of so many rows, one is a validation row
RESAMPLING = {"resamples": 10_000, "confidence": 0.95, "seed": 0}


def main() -> None:
    """Print accuracy per held-out speaker, over all rows, and differences; exit non-zero below a limit."""
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
        subsets = {"both": list(found), **{ALONE.format(key): [key] for key in found}}
        for trained, names in subsets.items():
            seen = examples.only(*names)
            model, _ = fit_model(
                seen.take(torch.from_numpy(split == "train")),
                seen.take(torch.from_numpy(validation)),
                encoders={key: encoders[key] for key in names},
                targets={LABEL: target},
                config=config,
                title=f"{held_out} left out, {' + '.join(names)}",
            )
            asked = ANSWERED_FROM if trained == "both" else {trained: tuple(names)}
            for name, subset in asked.items():
                answers = answer_rows(model, seen.take(torch.from_numpy(test)), subset)[LABEL]
                tally = tallies.setdefault(name, np.zeros((len(rows), answers.tallies.shape[1])))
                tally[test] = answers.tallies

    print(f"{len(rows)} digits, {len(speakers)} speakers, each left out once; accuracy in %")
    print(f"{'':<22}" + "".join(f"{name:>10}" for name in speakers) + f"{'mean':>10}")
    means = {}
    for name, found in tallies.items():
        accuracies = [
            100 * float(target.metrics(found[speaker == one].sum(axis=0)[None])["accuracy"][0])
            for one in speakers
        ]
        means[name] = float(np.mean(accuracies))
        shown = "".join(f"{accuracy:>10.1f}" for accuracy in [*accuracies, means[name]])
        # With 4 groups an interval over speakers would be wide and rough: this one is over rows,
        # and says nothing about a fifth speaker.
        s = score_with_intervals(target, found, rows["id"].to_numpy(), **RESAMPLING)
        print(
            f"{name:<22}{shown}   [{100 * s['accuracy_low']:.1f}, {100 * s['accuracy_high']:.1f}] "
            "over rows"
        )
    fine = means["both"] >= LEAST_BOTH
    print(f"both: at least {LEAST_BOTH:g} wanted  {'ok' if fine else 'TOO LOW'}")
    for key in ("image", "audio"):
        _print_difference("both", key, tallies, rows, target)
        _print_difference(key, ALONE.format(key), tallies, rows, target)
        near = means[ALONE.format(key)] - means[key] <= MOST_POINTS
        print(f"    at most {MOST_POINTS:g} below wanted  {'ok' if near else 'TOO LOW'}")
        fine &= near
    sys.exit(not fine)


def _print_difference(
    first: str, second: str, tallies: dict[str, np.ndarray], rows: pd.DataFrame, target: Target
) -> None:
    c = compare_paired(target, tallies[first], tallies[second], rows["id"].to_numpy(), **RESAMPLING)
    print(
        f"{first} minus {second}: {100 * c['difference']:+.1f} points "
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


if __name__ == "__main__":
    main()
