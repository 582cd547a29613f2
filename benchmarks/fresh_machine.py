"""`make run` from a fresh clone, timed as a newcomer meets it.

    python benchmarks/fresh_machine.py

Clones this repository's HEAD into a temporary folder and runs `make run` there, with the packages
as pip finds them (its cache or the registry). Prints the seconds of each part.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Time set-up and pipeline apart, then list the stages' own seconds."""
    environment = {
        k: v
        for k, v in os.environ.items()
        if k not in {"VIRTUAL_ENV", "MM_STORE", "MM_WEIGHTS", "DAGSTER_HOME"}
    }
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "fresh"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        seconds = {}
        for target in ("setup", "run"):
            started = time.perf_counter()
            subprocess.run(["make", target], cwd=clone, env=environment, check=True)
            seconds[target] = time.perf_counter() - started
        stages = {
            log.relative_to(clone / "artifacts/logs").with_suffix("").as_posix(): json.loads(
                log.read_text()
            )["elapsed_s"]
            for log in sorted((clone / "artifacts/logs").rglob("*.json"))
        }
    print(
        f"\nset-up {seconds['setup']:.0f} s, pipeline {seconds['run']:.0f} s, together {sum(seconds.values()):.0f} s"
    )
    for stage, elapsed_s in stages.items():
        print(f"  {stage:<14}{elapsed_s:>7.1f} s in the stage itself")


if __name__ == "__main__":
    main()
