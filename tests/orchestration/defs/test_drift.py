"""The report as an asset, and the sensors, over the trained project of the drift tests."""

import importlib.util
import time
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from mm_assets.contracts.workspace import Workspace
from mm_assets.drift.incoming import list_batches, mark_ingested, mark_left_out

pytestmark = pytest.mark.slow

SPEC = importlib.util.spec_from_file_location(
    "drift_conftest", Path(__file__).parents[2] / "mm_assets" / "drift" / "conftest.py"
)
drift_conftest = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(drift_conftest)
drift_template = drift_conftest.drift_template
REPORT = dg.AssetKey("drift_report")


@pytest.fixture
def project(drift_template, tmp_path, monkeypatch):
    import shutil

    root = tmp_path / "project"
    shutil.copytree(drift_template, root)
    monkeypatch.delenv("MM_STORE", raising=False)
    monkeypatch.setenv("MM_PROJECT", str(root))
    return drift_conftest.DriftProject(root)


def drop(project, name, groups=10, first=1000, **changes):
    rng = np.random.default_rng(sum(map(ord, name)))
    project.drop(name, drift_conftest.draw_rows(rng, groups, first=first).assign(**changes))


class Sensor:
    """A sensor as the daemon evaluates it, with its cursor."""

    def __init__(self, name, instance):
        from orchestration.defs import drift

        self.sensor, self.instance, self.cursor = getattr(drift, name), instance, None

    def tick(self):
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result = self.sensor(context)
        asked = isinstance(result, dg.SensorResult)
        self.cursor = result.cursor if asked else context.cursor
        return result.run_requests if asked else result.skip_message


def compare(batch, instance):
    from orchestration.defs.drift import build_report, compare, drift

    definitions = dg.Definitions(assets=[build_report([])], asset_checks=[compare], jobs=[drift])
    return definitions.resolve_job_def("drift").execute_in_process(
        instance=instance,
        raise_on_error=False,
        run_config={"ops": {"drift_report": {"config": {"batch": batch}}}},
    )


def test_from_a_new_batch_to_one_retraining(project):
    with dg.instance_for_test() as instance:
        incoming, waiting = (
            Sensor(name, instance) for name in ("incoming_batches", "waiting_batches")
        )
        assert incoming.tick() == "0 batches, none of them new"
        assert waiting.tick().startswith("0 rows wait in 0 batches without drift, 500 start it")

        drop(project, "b1")
        assert incoming.tick() == "waiting until b1 keeps still for one tick"
        (request,) = incoming.tick()
        assert request.tags == {"mm/batch": "b1"}
        assert request.run_config == {"ops": {"drift_report": {"config": {"batch": "b1"}}}}
        assert incoming.tick().startswith("b1: a run has been asked for already")

        assert compare("b1", instance).success
        assert incoming.tick() == "1 batches, none of them new"
        assert waiting.tick().startswith("30 rows wait in 1 batches")

        drop(project, "b2", first=2000, region="west")
        incoming.tick()
        assert [one.tags["mm/batch"] for one in incoming.tick()] == ["b2"]
        assert waiting.tick().startswith("30 rows wait in 1 batches")  # b2 is not compared yet
        assert compare("b2", instance).success
        (request,) = waiting.tick()
        assert request.tags == {"mm/batches": "b1,b2", "mm/reason": "drift in b2"}
        assert waiting.tick().startswith("b1, b2: a run has been asked for already")

        drop(project, "b3", first=3000, region="west")
        assert compare("b3", instance).success
        run = instance.create_run_for_job(
            dg.job(name="retrain")(lambda: None), status=dg.DagsterRunStatus.STARTED
        )
        assert waiting.tick() == "a retraining is running; looking again once it has ended"
        workspace = Workspace(project.root)
        states = list_batches(project.root / "incoming")
        mark_ingested(workspace, {name: states[name] for name in ("b1", "b2")}, run.run_id)
        instance.delete_run(run.run_id)
        (again,) = waiting.tick()
        assert again.tags["mm/batches"] == "b3"
        assert again.run_key != request.run_key

        # A batch that has changed is new again.
        drop(project, "b1", groups=12, first=4000)
        assert incoming.tick() == "waiting until b1 keeps still for one tick"
        assert [one.tags["mm/batch"] for one in incoming.tick()] == ["b1"]


def end(instance, job, status, tags):
    return instance.create_run_for_job(dg.job(name=job)(lambda: None), status=status, tags=tags)


def hours_later(monkeypatch, hours):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + hours * 3600)


def test_what_failed_is_asked_for_again_after_longer_and_longer(project, monkeypatch):
    with dg.instance_for_test() as instance:
        incoming, waiting = (
            Sensor(name, instance) for name in ("incoming_batches", "waiting_batches")
        )
        drop(project, "b1", region="west")
        incoming.tick()
        (first,) = incoming.tick()
        failed = end(instance, "drift", dg.DagsterRunStatus.FAILURE, first.tags)
        said = incoming.tick()
        assert said.startswith(f"b1: run {failed.run_id[:8]} ended as FAILURE without doing it")
        assert said.endswith("or press *Re-execute all* there")
        hours_later(monkeypatch, 1.01)
        (second,) = incoming.tick()
        assert second.run_key != first.run_key
        hours_later(monkeypatch, 1.01)
        assert "asked for again" in incoming.tick()
        hours_later(monkeypatch, 1.01)
        (_,) = incoming.tick()
        end(instance, "drift", dg.DagsterRunStatus.STARTED, first.tags)
        hours_later(monkeypatch, 99)
        assert incoming.tick().endswith("has been asked for already and has not ended")

        assert compare("b1", instance).success
        (request,) = waiting.tick()
        failed = end(instance, "retrain", dg.DagsterRunStatus.FAILURE, request.tags)
        assert waiting.tick().startswith(f"b1: run {failed.run_id[:8]} ended as FAILURE")
        hours_later(monkeypatch, 1.01)
        (again,) = waiting.tick()
        assert (again.tags, again.run_key == request.run_key) == (request.tags, False)


def test_a_batch_that_was_left_out_waits_until_it_is_compared_again(project):
    with dg.instance_for_test() as instance:
        waiting = Sensor("waiting_batches", instance)
        drop(project, "b1", region="west")
        assert compare("b1", instance).success
        mark_left_out(Workspace(project.root), "b1", "its ids clash")
        assert waiting.tick().startswith("0 rows wait in 0 batches")
        assert waiting.tick().endswith("left out of a retraining, until compared again: b1")
        assert compare("b1", instance).success
        assert [one.tags["mm/batches"] for one in waiting.tick()] == ["b1"]


def test_nothing_is_compared_while_a_retraining_works(project, monkeypatch):
    from orchestration.defs import drift

    with dg.instance_for_test() as instance:
        incoming = Sensor("incoming_batches", instance)
        drop(project, "b1")
        incoming.tick()
        end(instance, "retrain", dg.DagsterRunStatus.STARTED, {"mm/worktree": "retraining"})
        assert incoming.tick() == "a retraining is at work; comparing once it has ended"
        monkeypatch.setattr(drift, "WAIT_S", 0)
        monkeypatch.setattr(drift, "TRIES", 1)
        result = compare("b1", instance)
        assert [event.is_step_up_for_retry for event in result.all_events].count(True) == 1
        assert not (project.root / ".mm/drift/b1").exists()


def test_a_batch_is_compared_again_where_a_stage_ran_meanwhile(project, monkeypatch):
    from mm_assets.drift.reference import Reference
    from orchestration.defs import drift

    monkeypatch.setattr(drift, "WAIT_S", 0)
    states = iter(["before", "after", "after", "after"])
    monkeypatch.setattr(Reference, "sign", lambda made: next(states))
    with dg.DagsterInstance.ephemeral() as instance:
        drop(project, "b1")
        result = compare("b1", instance)
        assert result.success
        assert [event.is_step_up_for_retry for event in result.all_events].count(True) == 1
        assert (project.root / ".mm/drift/b1/report.json").exists()


def test_enough_rows_start_it_and_those_of_unfit_batches_do_not_count(project):
    project.write_params(drift={"enough_rows": 50})
    with dg.instance_for_test() as instance:
        waiting = Sensor("waiting_batches", instance)
        drop(project, "b1")
        drop(project, "clash", first=0)
        for name in ("b1", "clash"):
            assert compare(name, instance).success
        assert waiting.tick() == "30 rows wait in 1 batches without drift, 50 start it"
        drop(project, "b2", first=2000)
        assert compare("b2", instance).success
        (request,) = waiting.tick()
        assert request.tags == {"mm/batches": "b1,b2", "mm/reason": "60 new rows"}


def test_the_asset_shows_numbers_pictures_and_checks(project):
    with dg.DagsterInstance.ephemeral() as instance:
        drop(project, "b1", region="west", words=None)
        result = compare("b1", instance)
        assert result.success
        metadata = instance.get_latest_materialization_event(REPORT).asset_materialization.metadata
        numbers = {
            name: one.value
            for name, one in metadata.items()
            if isinstance(one, dg.FloatMetadataValue)
        }
        assert numbers["region column: moved by"] > 1
        assert numbers["region column: p"] <= 0.01
        assert "scan vectors: p" in numbers
        assert metadata["rows_in"].value == 30
        assert metadata["scan vectors"].value.startswith(
            "![scan vectors](data:image/svg+xml;base64,"
        )
        assert metadata["page"].value.endswith("/drift/b1/page.html")
        rows = {record.data["what"]: record.data for record in metadata["compared"].records}
        assert rows["region column"]["unseen"] == "west"
        checks = {one.check_name: one for one in result.get_asset_check_evaluations()}
        assert checks["batch_is_fit"].passed
        unstable = checks["shares_are_stable"]
        assert (unstable.passed, unstable.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert "never seen before: west" in unstable.description
        assert "text presence moved by" in unstable.description

        missing = compare("b0", instance)
        (failure,) = [event for event in missing.all_events if event.is_step_failure]
        said = failure.step_failure_data.user_failure_data.description
        assert "there is no batch 'b0'" in said


def test_only_its_job_runs_it():
    from orchestration.definitions import defs
    from orchestration.defs.retraining import PIPELINE

    definitions = defs()
    graph = definitions.resolve_asset_graph()
    assert REPORT in graph.get_all_asset_keys()
    assert REPORT not in PIPELINE.resolve(graph)
    names = {key.to_user_string() for key in graph.get(REPORT).parent_keys}
    assert {"augmented_samples", "fusion_model", "text_embeddings"} <= names
    assert not graph.get(REPORT).is_executable  # so *Materialize all* leaves it out
    assert list(definitions.resolve_job_def("drift").graph.node_dict) == [REPORT.path[0]]
    sensors = {sensor.name: sensor for sensor in definitions.sensors}
    assert sensors["waiting_batches"].job_name == "retrain"
    assert sensors["incoming_batches"].default_status == dg.DefaultSensorStatus.STOPPED


def test_a_pipeline_without_a_model_has_none(root):
    from orchestration.definitions import defs

    assert REPORT not in defs().resolve_asset_graph().get_all_asset_keys()
