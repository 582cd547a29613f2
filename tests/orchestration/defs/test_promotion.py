"""The champion in Dagster, over a pipeline whose last three stages make nothing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from ruamel.yaml import YAML

from mm_assets.registry.record import GATES, read_registry

pytestmark = pytest.mark.slow

SPEC = importlib.util.spec_from_file_location(
    "registry_conftest", Path(__file__).parents[2] / "mm_assets" / "registry" / "conftest.py"
)
registry_conftest = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(registry_conftest)
STAGES = {name: {"cmd": "true", "params": ["seed"]} for name in ("evaluate", "export", "card")}


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    monkeypatch.setenv("MM_PROJECT", str(tmp_path))
    pipeline = registry_conftest.Pipeline(tmp_path)
    pipeline.params["seed"] = 0
    pipeline.write()
    pipeline.export()
    YAML().dump({"stages": STAGES}, tmp_path / "dvc.yaml")
    for arguments in (["init", "-q", "--no-scm"], ["repro", "-q"]):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=tmp_path, check=True)
    return pipeline


def materialize(dagster):
    return dg.materialize(
        [dagster.definitions().get_assets_def("champion")],
        instance=dagster.instance,
        raise_on_error=False,
    )


def check_results(result):
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def champion_of(pipeline):
    return read_registry(pipeline.workspace.registry).champion


def test_a_refusal_fails_a_check_with_a_warning_and_no_run(pipeline, dagster):
    first = materialize(dagster)
    assert first.success
    assert {name: one.passed for name, one in check_results(first).items()} == dict.fromkeys(
        GATES, True
    )
    champion = champion_of(pipeline)

    pipeline.export(left=1, right=1)
    second = materialize(dagster)
    assert second.success
    worse = check_results(second)["candidate_is_not_worse"]
    assert (worse.passed, worse.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "candidate 0.7, champion 0.9, needed at least 0.87" in worse.description
    assert check_results(second)["candidate_matches_pytorch"].passed
    assert champion_of(pipeline) == champion

    told = dagster.last("champion")
    assert told.tags["dagster/data_version"] == champion
    assert f"the champion is still {champion}" in told.metadata["outcome"].value
    table = told.metadata["gates"].value
    about = {row.data["about"]: row.data for row in table.records}
    assert about["mood: accuracy"]["gate"] == "candidate_is_not_worse"
    assert about["mood: accuracy"]["threshold"] == pytest.approx(0.87)


def test_what_cannot_be_compared_fails_the_run_with_its_reason(pipeline, dagster):
    pipeline.params["seed"] = 1
    pipeline.write()
    result = materialize(dagster)
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert not result.success
    assert "needs a pipeline that is up to date" in failure.step_failure_data.error_display_string


def test_rolling_back_is_a_job_to_launch(pipeline, dagster):
    materialize(dagster)
    first = champion_of(pipeline)
    pipeline.export(sure=1.1)
    materialize(dagster)
    second = champion_of(pipeline)
    assert second != first

    job = dagster.definitions().resolve_job_def("rollback")
    config = {"ops": {"put_back": {"config": {"reason": "complaints"}}}}
    result = job.execute_in_process(instance=dagster.instance, run_config=config)
    assert result.success
    assert champion_of(pipeline) == first
    told = dagster.last("champion")
    assert told.description == f"{first} is the champion again"
    assert told.tags["dagster/data_version"] == first

    again = job.execute_in_process(instance=dagster.instance, raise_on_error=False)
    assert not again.success


def test_only_retraining_promotes_by_itself(pipeline, dagster):
    definitions = dagster.definitions()
    assert dg.AssetKey("champion") in definitions.resolve_asset_graph().get_all_asset_keys()
    keys = {
        name: definitions.resolve_job_def(name).asset_layer.executable_asset_keys
        for name in ("pipeline", "retrain")
    }
    assert keys["retrain"] - keys["pipeline"] == {
        dg.AssetKey("champion"),
        dg.AssetKey("retraining_commit"),
    }


def test_registered_models_are_no_assets(pipeline, dagster):
    before = dagster.definitions().resolve_asset_graph().get_all_asset_keys()
    materialize(dagster)
    assert list((pipeline.workspace.registry / "models").glob("*.dvc"))
    assert dagster.definitions().resolve_asset_graph().get_all_asset_keys() == before
