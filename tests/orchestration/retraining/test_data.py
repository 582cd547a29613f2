"""What a run trains on: the person's data as they lie there, or the branch's with its batches."""

import pytest

from mm_assets.drift.incoming import read_left_out, read_memory, sign_batch, write_compared
from orchestration.retraining.worktree import RetrainingError

pytestmark = pytest.mark.slow


def drop(project, name, row):
    batch = project.root / "incoming" / name
    batch.mkdir(parents=True, exist_ok=True)
    (batch / "samples.csv").write_text(f"id,left,right,mood\n{row}\n")
    return sign_batch(batch)


def mark_compared(project, name, state):
    folder = project.workspace.drift / name
    folder.mkdir(parents=True, exist_ok=True)
    write_compared(folder, state)


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
    drop(retrained, "monday", "b,1,1,sad")
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


def test_of_a_batch_that_grows_meanwhile_only_what_was_taken_counts_as_ingested(retrained):
    state = drop(retrained, "monday", "b,1,1,sad")
    mark_compared(retrained, "monday", state)
    run = retrained.begin(batches="monday")
    grown = drop(retrained, "monday", "b,1,1,sad\nc,1,1,sad")
    mark_compared(retrained, "monday", grown)  # while the run works
    run.work("data.dvc").finish()
    assert read_memory(retrained.workspace).ingested["monday"].signature == state


def test_batches_that_cannot_be_taken_are_left_out_and_the_others_are_not(retrained):
    for name, row in {"a": "b,1,1,sad", "clash": "b,0,0,glad", "edited": "c,1,1,sad"}.items():
        mark_compared(retrained, name, drop(retrained, name, row))
    drop(retrained, "edited", "c,1,1,sad\nd,1,1,sad")
    run = retrained.begin(batches="a,clash,edited,gone").work("data.dvc")
    run.finish()
    table = (retrained.tree.data / "samples.csv").read_text().split()
    assert table[1:] == ["a,1,1,glad", "b,1,1,sad"]
    assert list(read_memory(retrained.workspace).ingested) == ["a"]
    message = retrained.git("log", "-1", "--format=%B", "retraining")
    assert "batches: a\n" in message
    assert "left out: batch 'clash' needs ids that data/ does not have" in message
    assert "left out: batch 'edited' must be in the state in which it was compared" in message
    assert "left out: there is no batch 'gone'" in message
    assert read_left_out(retrained.workspace, "clash") in message
    assert read_left_out(retrained.workspace, "a") is None
