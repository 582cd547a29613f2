import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from mm_assets.contracts.errors import ConfigError

REPOSITORY = Path(__file__).parents[3]
AS_ADA = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tick(cursor, instance):
    from orchestration.defs.retraining import new_raw_data

    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    result = new_raw_data(context)
    return result, result.cursor if isinstance(result, dg.SensorResult) else context.cursor


def test_new_data_starts_one_run_once_it_keeps_still(shell, instance):
    first, cursor = tick(None, instance)
    assert "keeps still" in first.skip_message
    second, cursor = tick(cursor, instance)
    assert len(second.run_requests) == 1
    quiet, cursor = tick(cursor, instance)
    assert "as it was" in quiet.skip_message
    (shell.root / "data" / "more.txt").write_text("a")
    growing, cursor = tick(cursor, instance)
    assert "keeps still" in growing.skip_message
    (shell.root / "data" / "more.txt").write_text("ab")
    still_growing, cursor = tick(cursor, instance)
    assert "keeps still" in still_growing.skip_message
    last, cursor = tick(cursor, instance)
    assert len(last.run_requests) == 1
    assert "as it was" in tick(cursor, instance)[0].skip_message


def test_data_that_comes_back_to_an_earlier_state_starts_a_run_again(shell, instance):
    _, cursor = tick(None, instance)
    _, cursor = tick(cursor, instance)
    (shell.root / "data" / "more.txt").write_text("a")
    _, cursor = tick(cursor, instance)
    _, cursor = tick(cursor, instance)
    (shell.root / "data" / "more.txt").unlink()
    _, cursor = tick(cursor, instance)
    back, _ = tick(cursor, instance)

    # Dagster drops a request whose key it has seen, so there must be none.
    assert [request.run_key for request in back.run_requests] == [None]


def test_data_whose_retraining_failed_are_asked_for_again(shell, instance, monkeypatch):
    _, cursor = tick(None, instance)
    _, cursor = tick(cursor, instance)
    job = dg.job(name="retrain")(lambda: None)
    failed = instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE)
    waiting, cursor = tick(cursor, instance)
    assert waiting.skip_message.startswith(f"data/ is as it was; run {failed.run_id[:8]} ended as")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3700)
    again, cursor = tick(cursor, instance)
    assert len(again.run_requests) == 1
    assert "asked for again at" in tick(cursor, instance)[0].skip_message
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS)
    assert tick(cursor, instance)[0].skip_message == "data/ is as it was"


def test_no_data_folder_is_no_news(shell, instance):
    (shell.root / "data").rename(shell.root / "elsewhere")
    assert "no data/ folder" in tick(None, instance)[0].skip_message


def test_the_schedule_is_that_of_the_parameters_and_waits_to_be_switched_on(shell, dagster):
    shell.edit("params.yaml", "0 3 * * *", "30 4 * * 1")
    shell.edit("params.yaml", "timezone: UTC", "timezone: Europe/Berlin")
    [schedule] = dagster.definitions().schedules
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 4 * * 1", "Europe/Berlin")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


@pytest.mark.parametrize(
    ("old", "new"), [("0 3 * * *", "each morning"), ("timezone: UTC", "timezone: Middle/Earth")]
)
def test_a_schedule_that_can_never_tick_is_refused(shell, old, new):
    from orchestration.defs.retraining import build_schedule

    shell.edit("params.yaml", old, new)
    with pytest.raises(ConfigError, match=r"`schedule\.cron` must be five fields.*, got '"):
        build_schedule(shell.root)


def test_an_unknown_key_of_the_schedule_is_named(shell):
    from orchestration.defs.retraining import build_schedule

    shell.edit("params.yaml", "timezone: UTC", "zone: UTC")
    with pytest.raises(ConfigError, match=r"`schedule\.zone` is not a known key"):
        build_schedule(shell.root)


@pytest.mark.slow
def test_the_schedule_ticks_in_a_real_daemon_and_its_run_succeeds(shell, tmp_path, monkeypatch):
    """(f) of the two doors; takes up to two minutes, since cron counts in minutes."""
    shell.edit("params.yaml", "0 3 * * *", "* * * * *")
    (shell.root / ".gitignore").write_text("/data\n/artifacts\n/.dvc/cache\n/.dvc/tmp\nruns.log\n")
    for command in (["init", "-q"], ["add", "."], [*AS_ADA, "commit", "-qm", "The project"]):
        subprocess.run(["git", *command], cwd=shell.root, check=True)
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((REPOSITORY / "orchestration/dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    location = ["-m", "orchestration.definitions"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    subprocess.run(
        [sys.executable, "-m", "dagster", "schedule", "start", "retraining", *location],
        cwd=REPOSITORY,
        env=env,
        check=True,
        capture_output=True,
    )
    log = (tmp_path / "daemon.log").open("w")
    daemon = subprocess.Popen(
        [sys.executable, "-m", "dagster._daemon", "run", *location],
        cwd=REPOSITORY,
        env=env,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        run = wait_for_run(home, timeout_s=180)
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)
        log.close()
    assert run.status == dg.DagsterRunStatus.SUCCESS, (tmp_path / "daemon.log").read_text()[-3000:]
    assert run.tags["dagster/schedule_name"] == "retraining"
    assert run.tags["mm/worktree"] == "retraining"
    assert shell.runs() == []
    there = type(shell)(shell.root / ".mm" / "worktrees" / "retraining")
    assert there.runs()[0] == "validate"
    assert "up to date" in there.dvc("status")
    log = ["git", "log", "-1", "--format=%B", "retraining"]
    message = subprocess.run(log, cwd=shell.root, check=True, capture_output=True, text=True).stdout
    assert run.run_id in message


def wait_for_run(home, timeout_s):
    deadline = time.monotonic() + timeout_s
    with dg.DagsterInstance.from_config(str(home)) as instance:
        while time.monotonic() < deadline:
            finished = [run for run in instance.get_runs() if run.is_finished]
            if finished:
                return finished[-1]
            time.sleep(1)
        raise AssertionError(f"no run finished within {timeout_s} s: {instance.get_runs()}")
