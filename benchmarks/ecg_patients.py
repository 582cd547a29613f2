"""The recipe `ecg`, five folds by patient: each signal encoder alone.

A supervised encoder is fitted on a fold's training patients with its defaults and without copies,
and answers for the others by its own logits. Statistics, and what masked prediction learnt, go
through scikit-learn's logistic regression on standardised vectors. The traces are made up (see
mm_assets/sources/ecg.py): the figures say that encoders learn, not how well they would do on a ward.

    python benchmarks/ecg_patients.py
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from embedding import ROOT
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mm_assets.contracts.config import read_config
from mm_assets.encoders.base import load_encoder
from mm_assets.modalities.base import load_modality
from mm_assets.sources.ecg import generate_ecg
from mm_assets.targets.base import find_target
from mm_assets.training.network_fitting import fit_network
from mm_assets.training.spool import Spool
from mm_assets.training.supervision import Supervision

FOLDS, BATCH = 5, 64
TARGET = "rhythm"
ENCODERS = {
    "signal_statistics": {"channels": 2, "max_s": 10.0},
    "signal_cnn": {"max_s": 10.0},
    "signal_transformer": {"max_s": 10.0},
    "signal_transformer masked": {"max_s": 10.0, "objective": "masked"},
}


def main() -> None:
    """Print accuracies over all patients, each left out once, and their spread over folds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--encoders", nargs="*", default=list(ENCODERS), choices=list(ENCODERS))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = read_config(ROOT / "recipes/ecg.yaml")
    entry = config.modalities["ecg"]
    modality = load_modality(entry.kind, entry.options, {}, where="modalities.ecg")
    with tempfile.TemporaryDirectory() as folder:
        generate_ecg(Path(folder))
        rows = pd.read_csv(Path(folder) / config.data.table)
        values = [modality.decode(cell, Path(folder)) for cell in rows["ecg"]]
        target = find_target(config.targets[TARGET].kind).fit(
            rows[TARGET], config.targets[TARGET], where=TARGET
        )
        labels = np.asarray(target.encode(rows[TARGET], where=TARGET))
        supervision = Supervision({TARGET: target}, {TARGET: labels}, {TARGET: 1.0})
        folds = list(GroupKFold(FOLDS).split(rows, groups=rows[config.data.group]))
        majority = rows[TARGET].value_counts(normalize=True).max()
        print(f"{len(rows)} traces, {rows[config.data.group].nunique()} patients, {FOLDS} folds")
        print(f"{'the most frequent class':<28}{100 * majority:6.1f} %")
        for title in given.encoders:
            started = time.monotonic()
            encoder = load_encoder(
                title.split()[0], ENCODERS[title], kind="signal", weights=Path(), where="encoder"
            )
            with Spool(Path(folder) / "spool") as spool:
                for value in values:
                    spool.add(modality.collate([value], encoder.inputs()))
                right = np.zeros(len(rows))
                for train, test in folds:
                    answers = answer(encoder, spool, train, test, labels, supervision)
                    right[test] = answers == labels[test]
            each = [100 * right[test].mean() for _, test in folds]
            print(
                f"{title:<28}{100 * right.mean():6.1f} %   folds {min(each):.1f} to {max(each):.1f}"
                f"   {time.monotonic() - started:.0f} s"
            )


def answer(encoder, spool, train, test, labels, supervision):  # noqa: ANN001, ANN201 - as in main
    """Fit on some rows and give the classes of others."""
    state = None
    if encoder.fitted:
        state = fit_network(
            encoder,
            spool,
            train,
            partners=np.full(len(spool), -1),
            supervision=supervision if encoder.supervised else None,
            seed=0,
            device=torch.device("cpu"),
            title=encoder.name,
        )
    network = encoder.network(state)
    if encoder.fitted and encoder.supervised:
        return embed(network, spool, test).argmax(axis=1)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    linear.fit(embed(network, spool, train), labels[train])
    return linear.predict(embed(network, spool, test))


def embed(network: torch.nn.Module, spool: Spool, rows: np.ndarray) -> np.ndarray:
    """Run a network over rows."""
    found = []
    with torch.inference_mode():
        for at in range(0, len(rows), BATCH):
            arrays = spool.take(rows[at : at + BATCH])
            found.append(network(*map(torch.from_numpy, arrays.values())).numpy())
    return np.concatenate(found)


if __name__ == "__main__":
    main()
