"""Texts a second: stage `embed` with MiniLM against `encode` of sentence-transformers.

Both have the same weights, the same texts and all cores, and take turns in one process. Ours is
the whole stage into an empty store: reading cells, loading the network, tokenizing, computing,
storing, writing. Theirs is `encode` alone, with its defaults, of a model that is loaded already.

The texts are like those of CMU-MOSI: first its own utterances, each text once; then, until there
are enough, runs of words out of the videos' transcripts, as many words as an utterance drawn at
random has. None occurs twice.

    pip install -c constraints.txt -e .[benchmarks]
    python benchmarks/text_throughput.py FOLDER      # holds utterances.parquet
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from embedding import ROOT
from measure import share_weights
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from mm_assets.contracts.config import Config, read_config
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.vectors import read_embeddings
from mm_assets.encoders.weights import find_weights
from mm_assets.stages.embed import embed
from mm_assets.stages.project import build_project

LEAST_RATIO, LEAST_COSINE = 1.3, 0.9999
MAX_TOKENS = 128


def main() -> None:
    """Print each round's rates, the median of their ratios and the smallest cosine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    texts = write_texts(pd.read_parquet(given.folder / "utterances.parquet"), given.texts)
    share_weights()
    weights = Workspace(ROOT).weights
    config = read_config(ROOT / "recipes/cmu_mosi.yaml")
    minilm = find_weights(weights, "minilm")
    theirs = SentenceTransformer(
        modules=[
            Transformer(str(minilm), max_seq_length=MAX_TOKENS),
            Pooling(384, "mean"),
            Normalize(),
        ],
        device="cpu",
    )
    theirs.encode(texts[:64])
    embed_texts(texts[:64], config)

    ratios, cosines = [], []
    for number in range(given.rounds):
        started = time.perf_counter()
        wanted = theirs.encode(texts)
        their_s = time.perf_counter() - started
        our_s, vectors = embed_texts(texts, config)
        cosine = (wanted * vectors).sum(axis=1) / np.linalg.norm(vectors, axis=1)
        ratios.append(their_s / our_s)
        cosines.append(cosine.min())
        print(
            f"round {number + 1}: ours {len(texts) / our_s:.0f} texts/s, theirs "
            f"{len(texts) / their_s:.0f}, ratio {ratios[-1]:.2f}; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    ratio, cosine = np.median(ratios), min(cosines)
    print(
        f"{len(texts)} texts, {os.cpu_count()} cores: {ratio:.2f} times the rate of "
        f"sentence-transformers (at least {LEAST_RATIO}), cosine at least {cosine:.6f} "
        f"(at least {LEAST_COSINE})"
    )
    sys.exit(ratio < LEAST_RATIO or cosine < LEAST_COSINE)


def write_texts(utterances: pd.DataFrame, count: int) -> list[str]:
    """Make distinct texts like the utterances; see above."""
    utterances = utterances.sort_values(["video", "position"])
    found = dict.fromkeys(utterances["transcript"])
    lengths = utterances["transcript"].str.split().str.len().to_numpy()
    videos = [" ".join(said).split() for _, said in utterances.groupby("video")["transcript"]]
    rng = np.random.default_rng(0)
    while len(found) < count:
        words, length = videos[rng.integers(len(videos))], rng.choice(lengths)
        at = rng.integers(max(1, len(words) - length + 1))
        found.setdefault(" ".join(words[at : at + length]))
    return list(found)[:count]


def embed_texts(texts: list[str], config: Config) -> tuple[float, np.ndarray]:
    """Run the stage in a project of its own.

    Returns:
        Its seconds, and the vectors in the order of the texts.
    """
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.augmented.mkdir(parents=True)
        nothing = pd.Series([None] * len(texts), dtype="str")
        pd.DataFrame(
            {
                "id": [f"{number:06}" for number in range(len(texts))],
                "copy": 0,
                "split": "train",
                "group": nothing,
                "render": nothing,
                "text": texts,
            }
        ).to_parquet(workspace.augmented / "samples.parquet")
        project = build_project(config, workspace)
        started = time.perf_counter()
        embed(project, "text")
        seconds = time.perf_counter() - started
        return seconds, np.array(read_embeddings(workspace.embeddings("text")).matrix)


if __name__ == "__main__":
    main()
