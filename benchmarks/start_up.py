"""What is paid before and without any work: importing the definitions, and having nothing to do.

Run after `make run`, so that nothing is stale:

    python benchmarks/start_up.py [--rounds 5]
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import orchestration.definitions": ["-c", "import orchestration.definitions"],
    "dvc repro, nothing to do": ["-m", "dvc", "repro"],
    "materialize all, nothing to do": ["-m", "orchestration"],
}


def main() -> None:
    """Time each command as a whole process, the commands taking turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
            times[name].append(time.perf_counter() - started)
    print(f"{'seconds':<36}{'median':>8}{'min':>8}{'max':>8}")
    for name, found in times.items():
        print(f"{name:<36}{statistics.median(found):>8.2f}{min(found):>8.2f}{max(found):>8.2f}")


if __name__ == "__main__":
    main()
