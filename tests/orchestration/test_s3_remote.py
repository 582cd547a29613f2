"""The pipeline's outs in S3, as moto serves it: a fresh clone pulls them and runs nothing."""

import shutil

import pytest

from tests.orchestration.conftest import Shell

IN_GIT = ("dvc.yaml", "dvc.lock", "data.dvc", "params.yaml", "steps.py")


@pytest.mark.slow
def test_a_fresh_clone_pulls_what_another_machine_made_and_runs_nothing(bucket, finished, tmp_path):
    # As docs/scaling.md says; AWS_ENDPOINT_URL leads to this S3.
    finished.dvc("remote", "add", "--default", "team", f"{bucket}/dvc")
    finished.dvc("push")
    assert "Everything is up to date" in finished.dvc("push")

    clone = tmp_path / "clone"
    (clone / ".dvc").mkdir(parents=True)
    shutil.copy(finished.root / ".dvc/config", clone / ".dvc")
    for name in IN_GIT:
        shutil.copy(finished.root / name, clone)
    fresh = Shell(clone)
    fresh.dvc("pull")
    assert "up to date" in fresh.dvc("repro")
    assert fresh.runs() == []
    model = "artifacts/model/model.txt"
    assert (clone / model).read_bytes() == (finished.root / model).read_bytes()

    fresh.edit("params.yaml", "scale: 2", "scale: 3")
    fresh.dvc("repro")
    assert fresh.runs() == ["embed@right", "train"]
    fresh.dvc("push")
    shutil.copy(clone / "dvc.lock", finished.root)
    shutil.copy(clone / "params.yaml", finished.root)
    finished.dvc("pull")
    finished.dvc("repro")
    assert finished.runs() == []
