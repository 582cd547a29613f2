"""A supervised encoder's vectors of training rows must not know their labels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mm_assets.contracts.config import TargetConfig
from mm_assets.encoders.base import load_encoder
from mm_assets.modalities.base import load_modality
from mm_assets.targets.base import find_target
from mm_assets.training.folds import assign_folds
from mm_assets.training.network_fitting import Supervision, fit_network
from mm_assets.training.spool import Spool

MOSI = Path(__file__).parents[3] / "../shared/data/cmu_mosi"


def embed(folder, texts, labels, training, fold_of, **options):
    """Give vectors of all rows by one network, and of training rows by those of other folds."""
    modality = load_modality("text", {}, {}, where="x")
    encoder = load_encoder("text_cnn", options, kind="text", weights=Path(), where="x")
    kept = pd.Series(labels, dtype=object)
    target = find_target("binary").fit(kept, TargetConfig(kind="binary", column="y"), where="y")
    supervision = Supervision({"y": target}, {"y": target.encode(kept, where="y")}, {"y": 1.0})
    with Spool(folder) as spool:
        for text in texts:
            spool.add(modality.collate([modality.decode(text, Path())], encoder.inputs()))

        def compute(learnt, wanted):
            state = fit_network(
                encoder,
                spool,
                learnt,
                partners=np.full(len(texts), -1),
                supervision=supervision,
                seed=0,
                device=torch.device("cpu"),
                title="fit",
            )
            arrays = spool.take(wanted).values()
            with torch.inference_mode():
                return encoder.network(state)(*map(torch.from_numpy, arrays)).numpy()

        seen = compute(training, np.arange(len(texts)))
        unseen = np.empty((len(training), seen.shape[1]), dtype=np.float32)
        for fold in set(fold_of):
            unseen[fold_of == fold] = compute(training[fold_of != fold], training[fold_of == fold])
    return seen, unseen


def probe(vectors, labels):
    return LogisticRegression().fit(vectors, labels).score(vectors, labels)


@pytest.mark.slow
def test_labels_that_are_noise_stay_noise(tmp_path):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefghijklmnop"), 10)) for _ in range(200)]
    labels = rng.permutation(["yes", "no"] * 100)
    rows = np.arange(200)
    folds = assign_folds([str(row) for row in rows], [text.encode() for text in texts], folds=4)

    seen, unseen = embed(
        tmp_path, texts, labels, rows, folds, epochs=30, dropout=0.0, word_dropout=0.0
    )

    assert probe(seen, labels) > 0.98  # the network knows them by heart
    assert probe(unseen, labels) < 0.6  # chance is 0.5, with a standard deviation of 0.035


@pytest.mark.slow
@pytest.mark.skipif(not MOSI.is_dir(), reason="CMU-MOSI is not on this machine")
def test_transcripts_of_training_videos_look_like_those_of_unseen_videos(tmp_path):
    """On the released features, whose network saw the labels, the leak is worth 98 % against 75 %."""
    table = pd.read_parquet(MOSI / "utterances.parquet")
    videos = sorted(table.video.unique())
    table = table[table.video.isin(videos[:45])].reset_index(drop=True)
    labels = table.label.map({0: "negative", 1: "positive"}).to_numpy()
    held_out = table.video.isin(videos[30:]).to_numpy()
    training = np.flatnonzero(~held_out)
    contents = [text.encode() for text in table.transcript[training]]
    folds = assign_folds(table.video[training].tolist(), contents, folds=5)

    seen, unseen = embed(tmp_path, table.transcript, labels, training, folds, epochs=12)

    learnt = LogisticRegression().fit(unseen, labels[training])
    honest = learnt.score(seen[held_out], labels[held_out])
    assert probe(seen[training], labels[training]) > honest + 0.2
    assert abs(probe(unseen, labels[training]) - honest) < 0.06
    assert honest > 0.55
