"""The person's branch goes into that of retraining, and what only a person can settle waits."""

import pytest

from orchestration.retraining.worktree import RetrainingError

pytestmark = pytest.mark.slow


def test_the_persons_commits_are_merged_into_the_runs_one_commit(retrained):
    retrained.commit("notes.txt", "a")
    retrained.begin().finish()
    assert len(retrained.log()) == 3
    parents = retrained.git("log", "-1", "--format=%P", "retraining").split()
    assert parents[1] == retrained.git("rev-parse", "main")
    assert (retrained.tree.root / "notes.txt").read_text() == "a"
    retrained.git("merge", "-q", "--ff-only", "retraining")  # it contains all of the person's
    assert retrained.git("status", "--porcelain") == ""


def test_of_two_locks_the_persons_is_taken_and_dvc_finds_its_results_again(retrained):
    retrained.put("better")
    retrained.repro()
    retrained.git("add", "dvc.lock")
    retrained.git("commit", "-qam", "A better model")
    retrained.ran()
    retrained.begin().work().finish()
    assert retrained.ran() == []  # DVC's cache, which both trees share, has it
    assert retrained.git("diff", "main", "retraining", "--", "dvc.lock", "data.dvc") == ""


def test_another_conflict_is_a_persons_to_settle(retrained):
    (retrained.tree.root / "steps.py").write_text("# theirs")
    retrained.git("commit", "-qam", "By hand", at=retrained.tree.root)
    retrained.commit("steps.py", "# mine")
    with pytest.raises(
        RetrainingError, match=r"conflict in steps\.py.*`git merge retraining` in your own"
    ):
        retrained.begin()
    assert retrained.git("status", "--porcelain", at=retrained.tree.root) == ""
    retrained.git("merge", "-q", "-X", "ours", "retraining")
    retrained.begin()
    assert (retrained.tree.root / "steps.py").read_text() == "# mine"


def test_it_follows_the_branch_that_it_started_from(retrained):
    retrained.git("switch", "-q", "-c", "idea")
    retrained.commit("steps.py", "half an idea")
    retrained.begin()
    assert (retrained.tree.root / "steps.py").read_text() != "half an idea"
    retrained.git("branch", "-q", "-D", "main")
    with pytest.raises(RetrainingError, match=r"one that is gone.*--set-upstream-to"):
        retrained.begin()
