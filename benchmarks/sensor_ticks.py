"""How long one tick of each sensor that looks at files takes, with many files to look at.

The files lie in a project of the benchmark's own: all of them under `data/`, and as many in batches
of the drop folder, half of which have been compared. Its `dvc.lock` has every stage of `dvc.yaml`, with
small files for what they write. A sensor's first tick finds everything new, and one more finds a stage
that ran again; the others find what was left.

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

from mm_assets.contracts.report import StageReport, SuiteResult
from mm_assets.contracts.workspace import Workspace
from mm_assets.drift.incoming import list_batches, write_compared
from mm_assets.drift.report import REPORT_FILE, DriftReport
from orchestration.dvc_stages import read_stages

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
            slow = [tick for tick in measure(instance, root) if tick > given.most_s]
    if slow:
        sys.exit(f"{len(slow)} ticks took more than {given.most_s:g} s")


def make_project(root: Path, files: int) -> None:
    """Write the pipeline's definition, its parameters, what it made, and files to look at."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, root / name)
    fill(root / "data", files)
    for arguments in (["init", "-q", "--no-scm"], ["add", "-q", "data"]):
        run_dvc(root, *arguments)
    make_outs(root)
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


def run_dvc(root: Path, *arguments: str) -> None:
    """Run DVC as at the shell."""
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True)


def make_outs(root: Path) -> None:
    """Write what stages read and write, and let DVC record it as if they had run."""
    stages = read_stages(root)
    for path in sorted({path for stage in stages for path in (*stage.deps, *stage.outs)}):
        file = root / path if path.suffix else root / path / "file.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not (root / path).exists():
            file.write_text(str(path))
    for stage in stages:
        if stage.report:
            report = StageReport(
                stage=stage.target,
                rows_in=10,
                rows_out=10,
                suites=tuple(
                    SuiteResult(name=name, description="", results=()) for name in stage.meta.checks
                ),
            )
            (root / stage.report).write_text(report.model_dump_json())
    run_dvc(root, "commit", "-q", "-f")


def rewrite(root: Path) -> None:
    """Let the model be another one, as after a `dvc repro` that had something to do."""
    with (root / "artifacts" / "model" / "file.txt").open("a") as file:
        file.write("more")
    run_dvc(root, "commit", "-q", "-f", "train")


def fill(folder: Path, files: int) -> None:
    """Write small files, a thousand to a folder."""
    for number in range(files):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0")


def measure(instance: dg.DagsterInstance, root: Path) -> list[float]:
    """Time the sensors; what a first tick loads is told apart."""
    from orchestration.definitions import defs

    sensors = {sensor.name: sensor for sensor in defs().sensors or ()}
    found = []
    for name in ("new_raw_data", "shell_runs", "incoming_batches", "waiting_batches"):
        sensor = sensors[name]
        first_s, cursor = time_tick(sensor, instance, None)
        rewrite(root)
        changed_s, cursor = time_tick(sensor, instance, cursor)
        others = []
        for _ in range(TICKS):
            elapsed_s, cursor = time_tick(sensor, instance, cursor)
            others.append(elapsed_s)
        median_s = statistics.median(others)
        print(
            f"{name:<18} first {first_s:6.3f} s, after a stage {changed_s:6.3f} s, "
            f"then {median_s:6.3f} s",
            flush=True,
        )
        found += [first_s, changed_s, median_s]
    return found


def time_tick(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[float, str | None]:
    """Evaluate a sensor once, as the daemon does; give the seconds, and where it left off.

    What it tells is recorded afterwards.
    """
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    started = time.perf_counter()
    result = sensor(context)
    elapsed_s = time.perf_counter() - started
    if not isinstance(result, dg.SensorResult):
        return elapsed_s, context.cursor
    for event in result.asset_events:
        instance.report_runless_asset_event(event)
    return elapsed_s, result.cursor


if __name__ == "__main__":
    main()
