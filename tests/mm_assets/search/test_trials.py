import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest

from mm_assets.contracts.errors import ConfigError, StageError
from mm_assets.search import trials
from mm_assets.search.proposal import apply_proposal, read_proposal
from mm_assets.search.space import read_space
from mm_assets.search.trials import draw_values, open_study, search

pytestmark = pytest.mark.slow


def run(project, count=None):
    """Search; give the proposal and the lines that were told."""
    lines = []
    project.load()
    return search(project.root, count, tell=lines.append), lines


def test_a_better_rate_is_found_proposed_and_taken(searchable):
    proposal, lines = run(searchable)
    workspace = searchable.load().workspace
    assert [line.split(":")[0] for line in lines] == [f"trial {n} of 6" for n in range(1, 7)]
    assert proposal.changes["train.learning_rate"].old == 0.0001
    assert proposal.gain_low > 0.1
    assert proposal.expected_gain > 0.1
    assert proposal.best_loss == min(t.loss for t in proposal.trials if t.loss is not None)
    assert proposal.gain == pytest.approx(proposal.current_loss - proposal.best_loss, abs=1e-6)
    assert read_proposal(workspace) == proposal
    picture = (workspace.search / "history.svg").read_text()
    assert "params.yaml as it is" in picture

    apply_proposal(searchable.root)
    project = searchable.root / "params.yaml"
    assert f"learning_rate: {proposal.changes['train.learning_rate'].new}" in project.read_text()
    # Trials still count, and today's parameters are now the best of them.
    lines = []
    again = search(searchable.root, tell=lines.append)
    assert lines == []
    assert again.current_loss == pytest.approx(proposal.best_loss, abs=1e-6)
    assert again.changes == {}
    with pytest.raises(StageError, match=r"nothing to apply: .*no better than params.yaml"):
        apply_proposal(searchable.root)


def test_test_rows_are_never_read(searchable, tmp_path_factory):
    before, _ = run(searchable, 3)
    shutil.rmtree(searchable.root / ".mm")
    test = (searchable.rows["split"] == "test").to_numpy()
    searchable.rows.loc[test, "side"] = "nonsense"
    for _, matrix in searchable.vectors.values():
        matrix[test] = np.nan
    after, _ = run(searchable, 3)
    assert after == before


def test_validation_rows_are_what_trials_are_compared_on(searchable):
    before, _ = run(searchable, 1)
    turned = (searchable.rows["split"] == "validation").to_numpy()
    searchable.rows.loc[turned, "side"] = searchable.rows.loc[turned, "side"].map(
        {"left": "right", "right": "left"}
    )
    after, lines = run(searchable, 1)
    assert len(lines) == 1  # other labels are another search
    assert after.search != before.search
    assert after.current_loss != pytest.approx(before.current_loss, abs=1e-3)


def test_a_killed_search_goes_on_to_what_it_would_have_come_to(searchable):
    whole, _ = run(searchable)
    shutil.rmtree(searchable.root / ".mm")
    code = (
        "import pathlib; from mm_assets.search.trials import search; search(pathlib.Path.cwd(), 6)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=searchable.root, stderr=subprocess.DEVNULL
    )
    folder = searchable.root / ".mm" / "search" / whole.search
    deadline = time.monotonic() + 60
    while not (folder / "trial-0002.npy").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    proposal, lines = run(searchable)
    assert 0 < len(lines) <= 4
    assert proposal == whole


def test_a_trial_that_a_killed_search_left_runs_again_but_not_for_ever(searchable, tmp_path):
    space = read_space(searchable.load())
    journal = tmp_path / "study.log"
    for states in (["FAIL"], ["FAIL", "PRUNED"]):
        study = open_study(journal, pruned=True)
        study.sampler = optuna.samplers.TPESampler(seed=0)
        trial = study.ask()
        trial.set_user_attr("values", draw_values(trial, space, "gated"))
        assert study.trials[-1].state.name == "RUNNING"
        study = open_study(journal, pruned=True)
        assert [trial.state.name for trial in study.trials] == states


def test_a_journal_that_was_cut_off_is_no_obstacle(tmp_path):
    journal = tmp_path / "study.log"
    study = open_study(journal, pruned=True)
    study.tell(study.ask(), 1.0)
    with journal.open("a") as file:
        file.write('{"op_code": 4, "wor')
    Path(f"{journal}.lock").symlink_to(journal)  # Optuna would wait 30 s for its dead owner
    study = open_study(journal, pruned=True)
    study.tell(study.ask(), 2.0)
    assert [trial.value for trial in open_study(journal, pruned=True).trials] == [1.0, 2.0]


def test_a_trial_that_cannot_be_trained_is_told_of_and_the_search_goes_on(searchable):
    searchable.params["fusion"] |= {"name": "transformer"}
    searchable.params["search"]["space"] = {
        "fusion.dim": [6, 8],
        "fusion.options.heads": [2, 4],
    }
    with pytest.raises(ConfigError, match=r"`search.space.fusion.dim` has a value .*multiple of"):
        run(searchable)
    searchable.params["search"]["space"] = {
        "fusion.dim": [8, 10],
        "fusion.options.heads": [2, 4],
    }
    searchable.params["fusion"] |= {"options": {"heads": 1}}
    proposal, lines = run(searchable, 8)
    stopped = [trial for trial in proposal.trials if trial.stopped]
    assert stopped
    assert all(trial.values == {"fusion.dim": 10, "fusion.options.heads": 4} for trial in stopped)
    assert all("multiple of `fusion.options.heads`" in trial.stopped for trial in stopped)
    assert len([line for line in lines if "multiple of" in line]) == len(stopped)


def test_a_trial_that_falls_behind_is_stopped_unless_losses_mean_different_things(
    searchable, monkeypatch
):
    monkeypatch.setattr(trials, "WARM_UP", 3)
    searchable.params["train"]["epochs"] = 6
    searchable.params["search"]["space"]["train.learning_rate"] = {
        "low": 1e-5,
        "high": 0.1,
        "log": True,
    }
    proposal, _ = run(searchable, 9)
    reasons = [trial.stopped for trial in proposal.trials if trial.stopped]
    assert reasons
    assert all("behind half of the others" in reason for reason in reasons)
    searchable.params["search"]["space"]["targets.side.loss.focal"] = {"low": 0, "high": 5}
    proposal, _ = run(searchable, 8)
    assert not [trial for trial in proposal.trials if trial.stopped]


def test_what_train_needs_must_be_there(searchable):
    searchable.load()
    shutil.rmtree(searchable.root / "artifacts" / "embeddings")
    with pytest.raises(StageError, match=r"dvc repro"):
        search(searchable.root)
