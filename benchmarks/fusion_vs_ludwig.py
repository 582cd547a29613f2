"""Ludwig's concat combiner against this project's fusion: same rows, features and split, one run.

CMU-MOSI, split by video: its three feature sets, and the raw transcripts alone. Two of the
feature sets come from networks that were trained with these labels, so the accuracies say nothing
about new videos; both sides get equal numbers, and that is what is compared. Of transcripts each
learns from nothing but the training rows: Ludwig by its default text encoder (`parallel_cnn`), we
by `text_cnn`, a convolutional network like it, whose answers to the training rows come from two folds
instead of five (its answers to other rows do not depend on that). Both sides have their defaults
otherwise.

Ours stands there twice: as what Ludwig trains, one network that concatenates and is given up after five
epochs without gain (`fusion: {name: concat}`, `train: {seeds: 1, patience: 5}`), which is held to the
limits; and with the defaults, four gated networks and ten epochs.

Seconds are taken by the clock inside each process, which has trained on a tenth of the rows before, so
that everything is imported. They go from the table in memory to the trained model: what either side
makes of the table counts, what Ludwig would save on disk does not. Equal numbers of threads.

Ludwig is installed from PyPI into an environment of its own, on the same version of PyTorch; that
takes 6 GB, and minutes. Name a folder to keep it:

    python benchmarks/fusion_vs_ludwig.py FOLDER [--environment FOLDER]    # holds utterances.parquet

One split's test part is 300 rows, and says little of a point or two: name several `--seeds`, and the
test rows and seconds of all of them are added up. It fails unless we are then at least 5 times faster
to at least its accuracy.
"""

import argparse
import json
import operator
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

LUDWIG = ["ludwig==0.11.0"]
SETS = ("text_features", "audio_features", "video_features")
FASTER = 5.0
THEIRS, OURS = "Ludwig, concat", "ours, concat, one network"  # which are compared
RIVALS: dict[str, tuple[str, dict[str, Any]]] = {
    THEIRS: ("ludwig", {"combiner": {"type": "concat"}}),
    OURS: ("ours", {"fusion": {"name": "concat"}, "train": {"seeds": 1, "patience": 5}}),
    "ours, defaults": ("ours", {}),
}
SHARES = (0.7, 0.8)  # where the validation videos and the test videos begin
TABLE, RESULT = "rows.csv", "result.json"
SPLITS = ("train", "validation", "test")  # Ludwig knows them as 0, 1 and 2


def train_ludwig(
    rows: pd.DataFrame, features: dict[str, str], params: dict[str, Any]
) -> tuple[float, list[str]]:
    """Train in Ludwig's environment; gives seconds, and answers to the test rows."""
    from ludwig.api import LudwigModel

    model = LudwigModel(
        params
        | {
            "input_features": [{"name": name, "type": kind} for name, kind in features.items()],
            "output_features": [{"name": "label", "type": "binary"}],
            "preprocessing": {"split": {"type": "fixed", "column": "split"}},
        },
        backend="local",
    )
    rows = rows[[*features, "label", "split"]]
    test = rows["split"] == 2
    started = time.perf_counter()
    model.train(
        dataset=rows,
        skip_save_training_description=True,
        skip_save_training_statistics=True,
        skip_save_model=True,
        skip_save_progress=True,
        skip_save_log=True,
        skip_save_processed_input=True,
    )
    seconds = time.perf_counter() - started
    answers, _ = model.predict(dataset=rows[test].reset_index(drop=True))
    return seconds, [str(int(answer)) for answer in answers["label_predictions"]]


def train_ours(
    rows: pd.DataFrame, features: dict[str, str], params: dict[str, Any]
) -> tuple[float, list[str]]:
    """Train with the train stage's functions; gives seconds, and answers to the test rows."""
    import numpy as np
    import torch
    from embedding import embed_rows

    from mm_assets.contracts.config import parse_config
    from mm_assets.data.vectors import Embeddings
    from mm_assets.targets.base import find_target
    from mm_assets.training.examples import gather_examples
    from mm_assets.training.fitting import fit_model
    from mm_assets.training.scoring import predict_logits

    config = parse_config(
        params
        | {
            "version": 2,
            "data": {"group": "video"},
            "modalities": {
                name: {"kind": "text", "column": name, "encoder": {"name": "text_cnn", "folds": 2}}
                for name in features
            },
            "targets": {"label": {"kind": "binary", "column": "label"}},
            "compute": {"device": "cpu", "threads": torch.get_num_threads()},
        }
    )
    started = time.perf_counter()
    split = [SPLITS[number] for number in rows["split"]]
    matrices = {
        name: np.array([np.fromstring(cell, sep=" ") for cell in rows[name]], dtype=np.float32)
        for name, kind in features.items()
        if kind == "vector"
    }
    if matrices:
        embeddings = {
            name: Embeddings(
                rows["id"].to_numpy(),
                np.zeros(len(rows), int),
                matrix,
                {"dim": matrix.shape[1]},
                {},
            )
            for name, matrix in matrices.items()
        }
        rows = rows.assign(copy=0)
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows, embeddings = embed_rows(rows, Path(folder), config, split)
    where = {name: [one == name for one in split] for name in SPLITS}
    target = find_target("binary").fit(
        rows.loc[where["train"], "label"], config.targets["label"], where="label"
    )
    examples = {
        name: gather_examples(rows[chosen], embeddings, {"label": target})
        for name, chosen in where.items()
    }
    model, _ = fit_model(
        examples["train"],
        examples["validation"],
        encoders={name: found.encoder for name, found in embeddings.items()},
        targets={"label": target},
        config=config,
    )
    seconds = time.perf_counter() - started
    answers = target.probabilities(predict_logits(model, examples["test"])["label"])
    return seconds, [target.classes[int(answer > 0.5)] for answer in answers[:, -1]]


def run_alone(argument: str) -> None:
    """Train in a process of one of the two environments, in the folder of the table."""
    asked = json.loads(argument)
    import torch

    torch.set_num_threads(asked["threads"])
    train = {"ludwig": train_ludwig, "ours": train_ours}[asked["side"]]
    rows = pd.read_csv(TABLE, dtype={"label": "str"})
    train(rows[::10].reset_index(drop=True), asked["features"], asked["params"])
    seconds, answers = train(rows, asked["features"], asked["params"])
    Path(RESULT).write_text(json.dumps({"seconds": seconds, "answers": answers}))


def main() -> None:
    """Print seconds and accuracies side by side, and exit non-zero where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--environment", type=Path, help="where Ludwig is, or is to be and to stay")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the splits")
    given = parser.parse_args()
    fine = True
    with tempfile.TemporaryDirectory() as name:
        at = Path(name)
        ludwig = install_ludwig((given.environment or at / "ludwig").absolute())
        for title, features in (
            ("three feature sets", dict.fromkeys(SETS, "vector")),
            ("transcripts", {"transcript": "text"}),
        ):
            totals = {rival: Counter[str]() for rival in RIVALS}
            for seed in given.seeds:
                rows = write_rows(given.folder, at / TABLE, seed)
                truth = rows.loc[rows["split"] == 2, "label"].tolist()
                sizes = (f"{(rows['split'] == i).sum()} {part}" for i, part in enumerate(SPLITS))
                print(f"{title}, split {seed}: rows {', '.join(sizes)}", flush=True)
                for rival, (side, params) in RIVALS.items():
                    python = ludwig if side == "ludwig" else sys.executable
                    asked = {"side": side, "features": features, "params": params}
                    seconds, answers = run_python(python, asked | {"threads": given.threads}, at)
                    right = sum(map(operator.eq, answers, truth))
                    found = Counter(seconds=seconds, right=right, rows=len(truth))
                    totals[rival] += found
                    print(f"  {rival:<28}{show(found)}", flush=True)
            print(f"{title}, {len(given.seeds)} splits:")
            for rival, total in totals.items():
                print(f"  {rival:<28}{show(total)}")
            fine &= judge(totals[THEIRS], totals[OURS])
    sys.exit(not fine)


def show(found: Mapping[str, float]) -> str:
    """Give seconds and accuracy."""
    return f"{found['seconds']:7.1f} s{100 * found['right'] / found['rows']:7.1f} %"


def judge(theirs: Mapping[str, float], ours: Mapping[str, float]) -> bool:
    """Print how both compare; tells whether the limits hold."""
    ratio = theirs["seconds"] / ours["seconds"]
    points = 100 * (ours["right"] - theirs["right"]) / ours["rows"]
    good = ratio >= FASTER and points >= 0
    print(
        f"  {ratio:.1f} times faster (at least {FASTER:g}), {points:+.1f} points (at least 0)  "
        f"{'ok' if good else 'MISSED'}",
        flush=True,
    )
    return good


def install_ludwig(folder: Path) -> str:
    """Make Ludwig's environment, unless it is there; gives its Python."""
    python = folder / "bin/python"
    if not python.exists():
        print(f"installing {', '.join(LUDWIG)} in {folder}", flush=True)
        venv.create(folder, with_pip=True)
        torch = f"torch=={version('torch').split('+')[0]}"
        subprocess.run([python, "-m", "pip", "install", "--quiet", torch, *LUDWIG], check=True)
    return str(python)


def run_python(python: str, asked: dict[str, Any], at: Path) -> tuple[float, list[str]]:
    """Run `run_alone` in an environment; what it prints is shown only where it fails."""
    command = [python, Path(__file__).resolve(), "--alone", json.dumps(asked)]
    # Vectors that a store has would cost us nothing.
    environment = {key: value for key, value in os.environ.items() if key != "MM_STORE"}
    done = subprocess.run(
        command, cwd=at, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{asked} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    result = json.loads((at / RESULT).read_text())
    return result["seconds"], result["answers"]


def write_rows(folder: Path, path: Path, seed: int) -> pd.DataFrame:
    """Write the table that both sides read, split by video; vectors as numbers between spaces."""
    rows: Any = pd.read_parquet(folder / "utterances.parquet")
    videos = pd.Series(rows["video"].unique()).sample(frac=1, random_state=seed).tolist()
    place = rows["video"].map({video: at / len(videos) for at, video in enumerate(videos)})
    table = pd.DataFrame(
        {
            "id": rows["utterance"],
            "video": rows["video"],
            "split": sum((place >= begin).astype(int) for begin in SHARES),
            "label": rows["label"].astype(int).astype("str"),
            "transcript": rows["transcript"],
            **{name: [" ".join(map(str, cell)) for cell in rows[name]] for name in SETS},
        }
    )
    table.to_csv(path, index=False)
    return table


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        run_alone(sys.argv[2])
    else:
        main()
