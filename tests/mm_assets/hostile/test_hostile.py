"""Nothing that a data folder may hold takes a run down; see corpus.py."""

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from mm_assets.modalities.base import list_kinds

HERE = Path(__file__).parent
MOST_BYTES = 1.5e9  # of all processes together


def watch(command):
    """Run a command; give its output, the peak resident bytes of its tree, and who was in it."""
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    root, seen, peak = psutil.Process(program.pid), set(), 0
    while program.poll() is None:
        together = 0
        for process in [root, *root.children(recursive=True)]:
            try:
                together += process.memory_info().rss
                seen.add(process)
            except psutil.NoSuchProcess:
                continue
        peak = max(peak, together)
        time.sleep(0.05)
    output, errors = program.communicate(timeout=10)  # both pipes are closed: nobody is left
    assert program.returncode == 0, errors
    return output, errors, peak, seen


@pytest.mark.slow
def test_every_hostile_cell_is_decoded_to_a_valid_value_or_has_a_reason(tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0)
        script = [sys.executable, str(HERE / "probe_corpus.py"), str(tmp_path)]
        start = time.monotonic()
        output, errors, peak, seen = watch([*script, str(server.getsockname()[1])])
        seconds = time.monotonic() - start
        with pytest.raises(BlockingIOError):
            server.accept()  # a playlist was followed
    cases = json.loads((tmp_path / "result.json").read_text())
    told = f"{output}{len(cases)} cases, {seconds:.0f} s, at most {peak / 1e9:.2f} GB"
    sys.stdout.write(told)
    assert set(Counter(case["kind"] for case in cases)) == set(list_kinds()), (
        "add a builder to corpus.py and a check to probe_corpus.py"
    )
    wrong = [
        case
        for case in cases
        if case["complaint"]
        or (case["expected"] == "accepted" and case["reason"])
        or (case["expected"] == "refused" and not case["reason"])
    ]
    assert not wrong, json.dumps(wrong[:20], indent=1)
    assert sum(case["kind"] in {"audio", "image", "signal", "video"} for case in cases) >= 2000
    accepted = Counter(case["kind"] for case in cases if not case["reason"])
    assert min(accepted[kind] for kind in list_kinds()) >= 5
    assert peak < MOST_BYTES, told
    assert not any(process.is_running() for process in seen)
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"data", "result.json"} | {
        f"outside{s}" for s in (".png", ".wav", ".mp4", ".npy")
    }
    assert not list(HERE.glob("*escaped*"))
    assert all(line.startswith("probe ") for line in errors.splitlines() if line), errors
