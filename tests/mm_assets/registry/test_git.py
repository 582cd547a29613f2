import subprocess

import pytest

from mm_assets.contracts.errors import RegistryError
from mm_assets.registry.git import ask_git, commit_staged, run_git


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """One whose git knows nobody's name, and whose hooks refuse everything."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("EMAIL", "")
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path], check=True)
    run_git(tmp_path, "config", "user.useConfigOnly", "true")
    hook = tmp_path / ".git" / "hooks" / "commit-msg"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    (tmp_path / "a.txt").write_text("a")
    run_git(tmp_path, "add", "a.txt")
    return tmp_path


def test_a_commit_needs_neither_a_name_nor_the_leave_of_hooks(repository):
    made = commit_staged(repository, "first\n\nmore")
    assert run_git(repository, "log", "-1", "--format=%h %an %s") == f"{made} mm first"
    assert commit_staged(repository, "nothing") is None
    run_git(repository, "config", "user.name", "Ada")
    run_git(repository, "config", "user.email", "ada@example.org")
    (repository / "a.txt").write_text("b")
    run_git(repository, "add", "a.txt")
    commit_staged(repository, "second")
    assert run_git(repository, "log", "-1", "--format=%an") == "Ada"


def test_a_failure_says_what_git_said(repository):
    with pytest.raises(
        RegistryError, match=r"`git show nothing` failed in .*:\n  fatal: ambiguous"
    ):
        run_git(repository, "show", "nothing")
    assert ask_git(repository, "show", "nothing") is None


def test_the_repository_of_a_hook_that_started_us_is_not_meant(repository, monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert run_git(repository, "rev-parse", "--show-toplevel") == str(repository)
