import json
import os

import dagster as dg
import pytest


def tick(dagster, cursor=None):
    """Evaluate the sensor as the daemon does, and record what it says."""
    shell_runs = dagster.definitions().resolve_sensor_def("shell_runs")
    context = dg.build_sensor_context(instance=dagster.instance, cursor=cursor)
    result = shell_runs(context)
    events = result.asset_events if isinstance(result, dg.SensorResult) else []
    for event in events:
        dagster.instance.report_runless_asset_event(event)
    return result, events


def told(events):
    return [e.asset_key.to_user_string() for e in events if isinstance(e, dg.AssetMaterialization)]


def test_what_ran_at_the_shell_shows_as_fresh_after_one_tick(finished, dagster):
    """(c) of the two doors."""
    assert set(dagster.staleness().values()) == {"MISSING"}
    result, events = tick(dagster)
    assert sorted(told(events)) == [
        "left_lengths",
        "raw_data",
        "right_lengths",
        "train",
        "validated",
    ]
    assert set(dagster.staleness().values()) == {"FRESH"}
    assert dagster.last("validated").metadata["dagster/row_count"].value == 3
    checks = dagster.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(dg.AssetKey("validated"), "rows_are_words")]
    )
    [record] = checks.values()
    assert record.status.value == "SUCCEEDED"
    again, _ = tick(dagster, result.cursor)
    assert isinstance(again, dg.SkipReason)


def test_what_dagster_ran_itself_is_not_told_again(finished, dagster):
    dagster.materialize_all()
    _, events = tick(dagster)
    assert events == []


@pytest.mark.slow
def test_only_what_changed_at_the_shell_is_told(finished, dagster):
    result, _ = tick(dagster)
    finished.edit("params.yaml", "left: {scale: 1}", "left: {scale: 5}")
    finished.dvc("repro", "-q")
    _, events = tick(dagster, result.cursor)
    assert told(events) == ["left_lengths", "train"]
    assert set(dagster.staleness().values()) == {"FRESH"}


@pytest.mark.slow
def test_what_dvc_need_not_redo_stays_fresh_though_an_asset_before_it_changed(finished, dagster):
    """A gate moves the report of `validate` alone; DVC then has nothing to do after it."""
    result, _ = tick(dagster)
    finished.edit("params.yaml", "gate: 0.5", "gate: 0.6")
    finished.edit("steps.py", '"language": "none"', '"language": "some"')
    finished.dvc("commit", "-f", "-q", "embed@left", "embed@right", "train")
    finished.dvc("repro", "-q")
    assert finished.runs() == ["validate"]
    _, events = tick(dagster, result.cursor)
    assert set(told(events)) >= {"validated", "left_lengths", "right_lengths"}
    assert set(dagster.staleness().values()) == {"FRESH"}


def test_in_the_middle_of_a_run_at_the_shell_what_has_finished_is_told(finished, dagster):
    result, _ = tick(dagster)
    (finished.root / "artifacts/validated/rows.txt").write_text("one two")
    finished.dvc("commit", "-f", "-q", "validate")
    out = str(finished.root / "artifacts/embeddings/left")
    running = {"pid": os.getppid(), "cmd": "dvc repro"}
    rwlock = finished.root / ".dvc/tmp/rwlock"
    rwlock.write_text(json.dumps({"read": {}, "write": {out: running}}))
    _, events = tick(dagster, result.cursor)
    assert told(events) == ["validated"]
    assert dagster.staleness()["left_lengths"] == "STALE"


def test_the_sensor_runs_unasked_and_what_starts_runs_does_not(shell, dagster):
    sensors = dagster.definitions().get_repository_def().sensor_defs
    status = {sensor.name: sensor.default_status for sensor in sensors}
    assert status["shell_runs"] == dg.DefaultSensorStatus.RUNNING
    assert status["new_raw_data"] == dg.DefaultSensorStatus.STOPPED
    assert status["default_automation_condition_sensor"] == dg.DefaultSensorStatus.STOPPED
