"""How long one tick of each sensor that looks at files takes, with many files to look at.

The files lie in a project of the benchmark's own: all of them under `data/`, and as many in batches
of the drop folder, half of which have been compared. A sensor's first tick finds everything new;
the others find what it left.

    python benchmarks/sensor_ticks.py [--files 10000] [--most-s 0.5]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg

from mm_assets.contracts.workspace import Workspace
from mm_assets.drift.incoming import list_batches, write_compared
from mm_assets.drift.report import REPORT_FILE, DriftReport

ROOT = Path(__file__).parents[1]
BATCHES = 20
TICKS = 6


def main() -> None:
    """Print the median of some ticks of each sensor; exit with 1 where one takes too long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--most-s", type=float, default=0.5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_project(root, given.files)
        os.environ["MM_PROJECT"] = str(root)
        with dg.DagsterInstance.ephemeral() as instance:
            slow = [tick for tick in measure(instance) if tick > given.most_s]
    if slow:
        sys.exit(f"{len(slow)} ticks took more than {given.most_s:g} s")


def make_project(root: Path, files: int) -> None:
    """Write the pipeline's definition, its parameters, and files for the sensors to look at."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, root / name)
    fill(root / "data", files)
    for arguments in (["init", "-q", "--no-scm"], ["add", "-q", "data"]):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True)
    for number in range(BATCHES):
        fill(root / "incoming" / f"batch-{number:02d}", files // BATCHES)
    workspace = Workspace(root)
    for name, state in list(list_batches(root / "incoming").items())[::2]:
        report = DriftReport(
            batch=name,
            rows_in=10,
            rows_kept=10,
            reasons=(),
            clashing=(),
            p_value=0.01,
            psi=0.25,
            quarantined_share=0.2,
            compared=(),
        )
        (workspace.drift / name).mkdir(parents=True)
        (workspace.drift / name / REPORT_FILE).write_text(report.model_dump_json())
        write_compared(workspace.drift / name, state)


def fill(folder: Path, files: int) -> None:
    """Write small files, a thousand to a folder."""
    for number in range(files):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0")


def measure(instance: dg.DagsterInstance) -> list[float]:
    """Time the sensors; what a first tick loads is told apart."""
    from orchestration.definitions import defs

    sensors = {sensor.name: sensor for sensor in defs().sensors or ()}
    found = []
    for name in ("new_raw_data", "shell_runs", "incoming_batches", "waiting_batches"):
        sensor = sensors[name]
        first, cursor = time_tick(sensor, instance, None)
        others = []
        for _ in range(TICKS):
            elapsed_s, cursor = time_tick(sensor, instance, cursor)
            others.append(elapsed_s)
        median = statistics.median(others)
        print(f"{name:<18} first {first:6.3f} s, then {median:6.3f} s", flush=True)
        found += [first, median]
    return found


def time_tick(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[float, str | None]:
    """Evaluate a sensor once, as the daemon does; give the seconds, and where it left off."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    started = time.perf_counter()
    result = sensor(context)
    elapsed_s = time.perf_counter() - started
    return elapsed_s, result.cursor if isinstance(result, dg.SensorResult) else context.cursor


if __name__ == "__main__":
    main()
