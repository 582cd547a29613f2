"""Ctrl-C, a second run, a full and a read-only disk: `mm` as a person at a terminal meets them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mm_assets.data.vectors import read_embeddings

ROOT = Path(__file__).parents[3]
ROWS = 1400  # two shards of 512 and a rest
PARAMS = """
version: 2
modalities:
  voice: {kind: audio, column: voice, encoder: {name: voice_functionals}}
  tone: {kind: audio, column: tone, encoder: {name: voice_functionals, max_s: 1.0}}
targets: {label: {kind: multiclass, column: label}}
compute: {device: cpu, threads: 1}
"""


@pytest.fixture
def root(tmp_path):
    """A project whose rows are augmented, with a short recording each."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    shutil.copyfile(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(0)
    for n in range(ROWS):
        with wave.open(str(tmp_path / f"data/{n}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(rng.integers(-9000, 9000, 4000).astype("<i2").tobytes())
    names = [f"{n}.wav" for n in range(ROWS)]
    rows = pd.DataFrame(
        {"id": names, "voice": names, "tone": names, "label": "a", "split": "train"}
    )
    folder = tmp_path / "artifacts/augmented"
    folder.mkdir(parents=True)
    rows.assign(copy=0, group=names, render=None).to_parquet(folder / "samples.parquet")
    return tmp_path


def start(root, *arguments):
    """Start `mm` as a terminal would: Ctrl-C reaches it even where this test runs in the background."""
    environment = {k: v for k, v in os.environ.items() if k != "MM_STORE"}
    return subprocess.Popen(
        [sys.executable, "-c", "from mm_assets.cli.main import main; main()", *arguments],
        cwd=root,
        env=environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(condition, process, seconds=90):
    """Wait until something is there while the process runs."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.01)


@pytest.mark.slow
def test_an_interrupted_embed_says_so_and_the_next_run_goes_on_from_the_store(root):
    process = start(root, "stage", "embed", "voice")
    wait_for(lambda: list(root.glob(".mm/store/*/[!.]*.parquet")), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)

    assert process.returncode == 130
    assert said.rstrip().endswith("stopped: `mm stage` left nothing half-written")
    assert "Traceback" not in said
    assert not (root / "artifacts/embeddings").exists()
    assert not (root / "artifacts/reports").exists()
    assert not list(root.rglob(".mm-unfinished*"))

    again = start(root, "stage", "embed", "voice")
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    computed, stored = re.search(r"(\d+) vectors computed, (\d+) from the store", said).groups()
    assert (int(computed) + int(stored), int(stored) % 512) == (ROWS, 0)
    assert 512 <= int(stored) < ROWS
    assert len(read_embeddings(root / "artifacts/embeddings/voice").ids) == ROWS


@pytest.mark.slow
def test_the_same_stage_twice_at_once_is_refused_and_two_embeds_are_not(root):
    first = start(root, "stage", "embed", "voice")
    wait_for(lambda: list(root.glob(".mm/locks/embed@voice.holder")), first)
    second, other = (start(root, "stage", "embed", key) for key in ("voice", "tone"))

    _, refused = second.communicate(timeout=60)
    assert second.returncode == 1
    assert refused.startswith(
        f"error: stage embed@voice is already running in this project (process {first.pid} on "
    )
    for process in (first, other):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert sorted(p.name for p in (root / "artifacts/embeddings").iterdir()) == ["tone", "voice"]


@pytest.mark.slow
def test_too_little_room_stops_before_the_first_vector(root):
    """A real disk of 1 MB: 1400 vectors of 106 numbers do not fit it."""
    store = root / "small_disk"
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(store)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        (root / ".mm").mkdir()
        (root / ".mm/store").symlink_to(store)
        process = start(root, "stage", "embed", "voice")
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert (
            "error: embed@voice (1400 vectors of 106 numbers, 1400 of them new) needs 1.2 MB"
            in said
        )
        assert "nothing was written" in said
        assert not list(store.iterdir())
    finally:
        subprocess.run(["umount", str(store)], check=True)
