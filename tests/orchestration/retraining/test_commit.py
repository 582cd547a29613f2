"""A run makes one commit, which says what came of it."""

import dagster as dg
import pytest

from mm_assets.registry.record import read_registry

pytestmark = pytest.mark.slow


def test_a_commit_holds_versions_alone_and_tells_run_and_figures(retrained):
    good = read_registry(retrained.tree.registry).champion
    message = retrained.git("log", "-1", "--format=%an%n%B", "retraining")
    assert message.startswith("Ada")
    assert f"Dagster run: {retrained.first}" in message
    assert f"champion: {good}" in message
    assert "mood: accuracy: candidate 0.9" in message
    names = retrained.git("show", "--name-only", "--format=", "retraining").splitlines()
    assert set(names) >= {"dvc.lock", "registry/registry.json", f"registry/models/{good}.dvc"}
    assert not [name for name in names if "onnx" in name or name.startswith("artifacts")]


def test_nothing_new_is_no_commit(retrained, dagster):
    retrained.ran()
    retrained.retrain(dagster.instance)
    assert retrained.ran() == []
    assert len(retrained.log()) == 2
    told = dagster.last("retraining_commit").metadata["commit"].value
    assert told == "nothing new, so no commit"


def test_runs_of_other_jobs_commit_nothing(project, dagster):
    asset = dagster.definitions().get_assets_def("retraining_commit")
    result = dg.materialize([asset], instance=dagster.instance)
    assert result.success
    assert dagster.last("retraining_commit") is None
    assert not project.tree.root.exists()
