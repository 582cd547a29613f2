"""Running `mm` in a project of a benchmark's own, watching time and memory."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PAGE_BYTES = 4096  # of /proc/PID/statm
TICK_S = 0.2
WORDS = "the a not and parcel late invoice screen broke thanks please again never"  # of texts


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    seconds: float
    peak_gb: float  # resident, of the process and all it started


def make_project(root: Path, params: dict[str, Any] | None = None) -> None:
    """Write a project's `dvc.yaml`, and its `params.yaml` if given; its `data/` is the caller's."""
    if params is not None:
        YAML().dump(params, root / "params.yaml")
    shutil.copyfile(ROOT / "dvc.yaml", root / "dvc.yaml")
    (root / "data").mkdir(exist_ok=True)


def share_weights() -> None:
    """Let every project read this one's weights, unless `MM_WEIGHTS` already names a folder."""
    os.environ.setdefault("MM_WEIGHTS", str(ROOT / ".mm/weights"))


def run_mm(root: Path, *arguments: str) -> Cost:
    """Run a command of `mm` as a process of its own; it must succeed."""
    code = "from mm_assets.cli.main import main; main()"
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=root)
    while process.returncode is None:
        peak = max(peak, measure_tree(process.pid))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TICK_S)  # ends with the process, not with the tick
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"`mm {' '.join(arguments)}` failed with {process.returncode}")
    return Cost(seconds, peak / 1e9)


def measure_tree(pid: int) -> int:
    """Add up the resident bytes of a process and its descendants; 0 for one that has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * PAGE_BYTES + sum(measure_tree(int(child)) for child in children)


def judge(cost: Cost, *, what: str, most_s: float, most_gb: float | None = None) -> bool:
    """Print a line and tell whether the cost is within its limits."""
    fine = cost.seconds <= most_s and (most_gb is None or cost.peak_gb <= most_gb)
    memory = f" (at most {most_gb:g})" if most_gb else ""
    print(
        f"{what:<40}{cost.seconds:>7.1f} s (at most {most_s:g}){cost.peak_gb:>7.2f} GB{memory}"
        f"  {'ok' if fine else 'TOO MUCH'}",
        flush=True,
    )
    return fine
