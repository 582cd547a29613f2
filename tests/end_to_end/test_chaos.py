"""Six of the kills that `benchmarks/chaos.py` makes by the dozen: each kind once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


@pytest.mark.slow
def test_nothing_is_lost_when_what_runs_the_pipeline_is_killed():
    command = [sys.executable, str(CHAOS), "--project", "words", "--kills", "6", "--seed", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.findall(r"^ +\d+ (step|stage|dvc|run worker|daemon|everything) ", done.stdout, re.M)
    assert sorted(told) == sorted(["step", "stage", "dvc", "run worker", "daemon", "everything"])
