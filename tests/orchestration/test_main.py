import os
import signal
import subprocess
import sys
import time

import dagster as dg
import pytest

pytestmark = pytest.mark.slow  # each starts Dagster anew

SLOW = "echo $$ > pid && sleep 60 && touch artifacts/model"


def start(shell, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "orchestration", *arguments],
        cwd=shell.root,
        env={key: value for key, value in shell.env.items() if key != "DAGSTER_HOME"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(shell, *arguments):
    process = start(shell, *arguments)
    output, errors = process.communicate()
    return process.returncode, output, errors


@pytest.fixture
def shell(shell):
    shell.env["MM_PROJECT"] = str(shell.root)
    return shell


def test_a_run_is_kept_for_the_web_ui_and_tells_what_the_stages_said(shell):
    status, _, errors = run(shell, "--select", "+key:validated")
    assert status == 0, errors
    assert "validated              counted 4" in errors
    assert "STEP_START" not in errors
    home = shell.root / ".dagster"
    assert "telemetry: {enabled: false}" in (home / "dagster.yaml").read_text()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("validated"))
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]


def test_a_failure_names_asset_reason_and_what_did_not_run(shell):
    shell.edit("params.yaml", "gate: 0.5", "gate: 0.1")
    status, _, errors = run(shell)
    block = errors[errors.index("validated failed\n") :]
    assert status == 1
    assert "rows_are_words: expected: at most gate (word); got more" in block
    assert "left_lengths, right_lengths, train" in block
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("group: data", "grup: data", "error: dvc.yaml has 1 problem"),
        ("stages:", "stages: [", "error: unable to read: 'dvc.yaml'"),
    ],
)
def test_a_pipeline_that_cannot_be_read_is_said_in_its_own_words(shell, old, new, message):
    shell.edit("dvc.yaml", old, new)
    status, _, errors = run(shell)
    assert status == 1
    assert message in errors
    assert "Traceback" not in errors


def test_an_interrupt_stops_the_stage_and_leaves_no_lock(shell):
    (shell.root / "artifacts").mkdir()
    shell.edit("dvc.yaml", "cmd: python steps.py train", f"cmd: {SLOW}")
    process = start(shell)
    pid = shell.root / "pid"
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text().strip()):
        assert time.monotonic() < deadline, "the stage did not start"
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert "train" in shell.dvc("status")
    with dg.DagsterInstance.from_config(str(shell.root / ".dagster")) as instance:
        assert all(run.is_finished for run in instance.get_runs())
