"""A run makes one commit, which says what came of it."""

import dagster as dg
import pytest

from mm_assets.drift.incoming import read_memory
from mm_assets.registry.record import read_registry
from orchestration.retraining.state import read_state, write_state

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


def test_a_kill_right_after_the_commit_is_made_good_by_the_next_run(retrained):
    batch = retrained.root / "incoming" / "monday"
    batch.mkdir(parents=True)
    (batch / "samples.csv").write_text("id,left,right,mood\nb,1,1,sad\n")
    for model, batches in {"bad": "", "better": "monday"}.items():  # data that nobody commits
        retrained.put(model)
        killed = retrained.begin(batches).work("data.dvc")
        assert (retrained.tree.data / "model.txt").read_text() == model
        working = read_state(retrained.root)
        assert killed.finish()
        write_state(retrained.root, working)
    (retrained.workspace.drift / "ingested.json").unlink()
    retrained.begin()
    assert "b,1,1,sad" in (retrained.tree.data / "samples.csv").read_text()
    assert read_memory(retrained.workspace).ingested["monday"].run == killed.id
