"""What a run trains on: the person's data as they lie there, or the branch's with its batches."""

import pytest

from mm_assets.drift.incoming import read_memory
from orchestration.retraining.worktree import RetrainingError

pytestmark = pytest.mark.slow


def save(project):
    project.dvc("add", "-q", "data")
    project.git("commit", "-qam", "My data")


def test_data_are_copied_as_they_lie_there_again_and_again(retrained):
    for model in ("bad", "better"):
        retrained.put(model)
        retrained.put(model, f"{model}.txt")
        retrained.begin().work("data.dvc").finish()
        found, wanted = (
            {path.name: path.read_text() for path in folder.iterdir()}
            for folder in (retrained.tree.data, retrained.workspace.data)
        )
        assert found == wanted
    assert len(retrained.log()) == 4
    save(retrained)  # the same data, committed by the person: no conflict
    retrained.begin().finish()
    assert retrained.git("diff", "main", "retraining", "--", "data.dvc") == ""


def test_the_persons_data_that_were_committed_meanwhile_replace_an_earlier_copy(retrained):
    retrained.put("bad")
    retrained.begin().work("data.dvc").finish()
    retrained.put("better")
    save(retrained)
    retrained.begin()
    assert (retrained.tree.data / "model.txt").read_text() == "better"


def test_batches_go_into_the_branchs_data_and_what_has_grown_on_both_sides_waits(retrained):
    batch = retrained.root / "incoming" / "monday"
    batch.mkdir(parents=True)
    (batch / "samples.csv").write_text("id,left,right,mood\nb,1,1,sad\n")
    retrained.put("bad", "note.txt")  # uncommitted, and taken too
    run = retrained.begin(batches="monday").work("data.dvc")
    assert (retrained.tree.data / "note.txt").exists()
    assert read_memory(retrained.workspace).ingested == {}  # not before it is committed
    run.finish()
    assert read_memory(retrained.workspace).ingested["monday"].run == run.id
    assert "batches: monday" in retrained.git("log", "-1", "--format=%B", "retraining")
    table = retrained.tree.data / "samples.csv"
    assert table.read_text().split()[1:] == ["a,1,1,glad", "b,1,1,sad"]
    assert "b," not in (retrained.root / "data" / "samples.csv").read_text()

    retrained.begin().finish()  # the person has nothing newer
    assert "b,1,1,sad" in table.read_text()
    retrained.put("more", "note.txt")
    with pytest.raises(RetrainingError, match=r"both grown.*git merge retraining && dvc"):
        retrained.begin()
    retrained.git("merge", "-q", "retraining")
    retrained.dvc("checkout", "-q", "--force", "data.dvc")
    retrained.put("more", "note.txt")
    retrained.begin()
    assert "b,1,1,sad" in table.read_text()
    assert (retrained.tree.data / "note.txt").read_text() == "more"
