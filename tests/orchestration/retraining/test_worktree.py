"""The worktree, made, mended, and opened as a project of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from mm_assets.contracts.errors import RegistryError
from orchestration.retraining import worktree
from orchestration.retraining.worktree import RetrainingError, open_worktree, require_git

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("damage", ["initializing", "gone", "merging"])
def test_a_worktree_that_a_kill_left_half_made_is_mended(retrained, damage):
    tree = retrained.tree.root
    if damage == "initializing":
        admin = retrained.git("rev-parse", "--absolute-git-dir", at=tree)
        (Path(admin) / "locked").write_text("initializing")
    if damage == "gone":
        shutil.rmtree(tree)
    if damage == "merging":
        retrained.commit("notes.txt", "mine")
        retrained.git("merge", "-q", "--no-commit", "main", at=tree)
        (tree / "params.yaml").write_text("half a file")
    retrained.begin().finish()
    assert retrained.git("status", "--porcelain", at=tree) == ""
    assert len(retrained.log()) == (3 if damage == "merging" else 2)
    assert (retrained.served / "model.onnx").is_file()


def test_a_lock_of_gits_is_removed_once_no_git_works_there(retrained, monkeypatch):
    tree = retrained.tree.root
    lock = Path(retrained.git("rev-parse", "--absolute-git-dir", at=tree)) / "index.lock"
    lock.touch()
    monkeypatch.setattr(worktree, "GIT_PATIENCE_S", 0.1)
    command = ["git", "hash-object", "--stdin"]  # waits for us
    with subprocess.Popen(command, cwd=tree, stdin=subprocess.PIPE) as at_work:
        with pytest.raises(RegistryError, match=r"index\.lock.*File exists"):
            retrained.begin()
        at_work.stdin.close()
    retrained.begin().finish()
    assert not lock.exists()


def test_the_code_that_is_committed_runs(project):
    """Although the environment knows this project's package as the editable one."""
    (project.root / "mm_assets").mkdir()
    project.commit("mm_assets/__init__.py", "")
    project.commit("mm_assets/marker.py", "said = 'committed'")
    run = project.begin()
    (project.root / "mm_assets/marker.py").write_text("said = 'half edited'")
    there = open_worktree(project.root, run.id)
    script = project.root.parent / "script.py"  # as `mm`, it lies elsewhere
    script.write_text("from mm_assets.marker import said; print(said)")
    said = subprocess.run(
        [sys.executable, script],
        cwd=there.root,
        env={**os.environ, **there.environment},
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout == "committed\n"


def test_what_needs_git_says_so(project, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(RetrainingError, match=r"root of a git repository, but there is no"):
        require_git(bare)
    with pytest.raises(RetrainingError, match=r"its repository is that of .*project;"):
        require_git(project.root / "data")
    project.git("init", "-q", str(bare))
    with pytest.raises(RetrainingError, match=r"no commit yet; run `git add"):
        require_git(bare)
    project.git("switch", "-q", "-c", "retraining")
    with pytest.raises(RetrainingError, match=r"'retraining' is what retraining commits"):
        require_git(project.root)


def test_the_persons_ignored_settings_of_dvc_hold_there_too(project):
    project.dvc("remote", "add", "-q", "--default", "shared", "../shared")
    project.dvc("remote", "modify", "-q", "--local", "shared", "verify", "true")
    project.git("commit", "-qam", "A remote")
    project.begin()
    with Repo(str(project.tree.root)) as there:
        remote = there.config["remote"]["shared"]
        cache = there.cache.local_cache_dir
    assert Path(remote["url"]).resolve() == project.root.parent / "shared"
    assert remote["verify"]
    assert Path(cache).resolve() == project.root / ".dvc" / "cache"
