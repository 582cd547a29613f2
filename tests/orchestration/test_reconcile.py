import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.utils import make_new_run_id

import orchestration
from orchestration.reconcile import PROCESS, identify_process, reconcile_runs, record_process

PRESET = Path(orchestration.__file__).with_name("dagster.yaml")


@pytest.fixture
def instance(tmp_path):
    """Dagster's storage as the preset makes it."""
    shutil.copy(PRESET, tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@dg.op
def nothing(): ...


def make_job():
    @dg.job(executor_def=record_process(dg.in_process_executor))
    def one():
        nothing()

    return one


def leave(instance, status, tags):
    """Leave a run as a crash would."""
    run_id = make_new_run_id()
    if PROCESS in tags:
        tags = {PROCESS: tags[PROCESS].replace("this run", run_id)}
    instance.create_run_for_job(make_job(), run_id=run_id, status=status, tags=tags)
    return run_id


def make_dead_name():
    process = subprocess.Popen(["sleep", "60"])
    name = f"this run {identify_process(process.pid)}"
    process.kill()
    process.wait()
    return name


def test_the_preset_is_what_dagster_reads(instance):
    """Values that are read back, so that a key which Dagster no longer knows is noticed."""
    assert not instance.telemetry_enabled
    assert instance.run_monitoring_enabled
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 2
    assert not instance.run_retries_retry_on_asset_or_op_failure
    assert instance.run_monitoring_poll_interval_seconds == 15
    concurrency = instance.get_concurrency_config()
    assert concurrency.run_queue_config.max_concurrent_runs == 4
    assert concurrency.pool_config.default_pool_limit == 1


def test_a_process_is_named_like_no_other_with_its_number():
    own = identify_process(os.getpid())
    assert own == identify_process(os.getpid())
    assert own.endswith(f" {os.getpid()}")
    first, second = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    names = {identify_process(child.pid).rpartition(" ")[0] for child in (first, second)}
    for child in (first, second):
        child.kill()
    while psutil.Process(first.pid).status() != psutil.STATUS_ZOMBIE:  # nobody waits for it yet
        time.sleep(0.01)
    with pytest.raises(psutil.NoSuchProcess):
        identify_process(first.pid)
    for child in (first, second):
        child.wait()
    assert names != {own.rpartition(" ")[0]}


@pytest.mark.slow
def test_a_run_ends_only_where_its_process_has(instance):
    own, dead = identify_process(os.getpid()), make_dead_name()
    machine, boot, start, pid = own.rsplit(" ", 3)
    cases = [
        ("STARTED", {PROCESS: dead}, "FAILURE"),
        ("STARTING", {PROCESS: dead}, "FAILURE"),
        ("CANCELING", {PROCESS: dead}, "CANCELED"),
        ("STARTED", {PROCESS: f"this run {machine} {boot} {int(start) - 1} {pid}"}, "FAILURE"),
        ("STARTED", {PROCESS: f"this run {machine} another-boot {start} {pid}"}, "FAILURE"),
        ("STARTED", {PROCESS: f"this run {own}"}, "STARTED"),
        ("STARTED", {PROCESS: dead.replace("run ", "run another-")}, "STARTED"),  # machine
        ("STARTING", {PROCESS: dead.replace("this", "another")}, "STARTING"),  # tried again
        ("STARTED", {}, "STARTED"),
    ]
    runs = [leave(instance, dg.DagsterRunStatus[status], tags) for status, tags, _ in cases]
    ended = reconcile_runs(instance)
    then = [instance.get_run_by_id(run_id).status.value for run_id in runs]
    assert then == [expected for _, _, expected in cases]
    assert {run.run_id for run in ended} == set(runs[:5])


def test_a_run_whose_server_died_before_it_began_ends_after_a_while(instance, monkeypatch):
    gone = {".dagster/grpc_info": json.dumps({"host": "localhost", "socket": "/tmp/none"})}
    run_id = leave(instance, dg.DagsterRunStatus.STARTING, gone)
    assert reconcile_runs(instance) == []  # it may only have been tried again, this moment
    monkeypatch.setattr("orchestration.reconcile.LAUNCH", timedelta(0))
    assert [run.run_id for run in reconcile_runs(instance)] == [run_id]
    assert instance.get_run_by_id(run_id).status.value == "FAILURE"


def test_a_dead_run_gives_back_its_place_in_a_pool(instance):
    run_id = leave(instance, dg.DagsterRunStatus.STARTED, {PROCESS: make_dead_name()})
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    assert storage.claim_concurrency_slot("gpu", run_id, "step").is_claimed
    assert not storage.claim_concurrency_slot("gpu", "another run", "step").is_claimed
    reconcile_runs(instance)
    assert storage.claim_concurrency_slot("gpu", "another run", "step").is_claimed


def test_an_executor_says_in_which_process_it_executes_a_run(instance):
    result = dg.execute_job(dg.reconstructable(make_job), instance=instance)
    assert result.success
    run = instance.get_run_by_id(result.run_id)
    assert run.tags[PROCESS] == f"{run.run_id} {identify_process(os.getpid())}"


@pytest.mark.slow
def test_a_run_that_was_killed_is_ended_by_the_next_one(shell):
    """`make run`, killed, and again: nothing to do by hand in between."""
    env = {**shell.env, "MM_PROJECT": str(shell.root)}
    env.pop("DAGSTER_HOME", None)
    command = [sys.executable, "-m", "orchestration", "--select", "+key:validated"]
    slow = "cmd: python steps.py validate"
    shell.edit("dvc.yaml", slow, "cmd: echo $$ > pid && sleep 60")
    process = subprocess.Popen(command, cwd=shell.root, env=env, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not ((shell.root / "pid").exists() and (shell.root / "pid").read_text().strip()):
        assert time.monotonic() < deadline, "the stage did not start"
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shell.edit("dvc.yaml", "cmd: echo $$ > pid && sleep 60", slow)
    subprocess.run(command, cwd=shell.root, env=env, check=True, capture_output=True)
    with dg.DagsterInstance.from_config(str(shell.root / ".dagster")) as instance:
        assert [run.status.value for run in instance.get_runs()] == ["SUCCESS", "FAILURE"]
