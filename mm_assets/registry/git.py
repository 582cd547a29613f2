"""Git, run as a person would."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mm_assets.contracts.errors import RegistryError

# What a hook, from which we may have been started, says of its own repository.
ANOTHERS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")


def run_git(folder: Path, *arguments: str) -> str:
    """Run `git` in a folder and give what it printed.

    Hooks do not run and nothing is signed: a hook may rewrite or refuse what a program commits at
    night, and a key may want its passphrase.

    Args:
        folder: Any folder of a repository or worktree.
        arguments: A subcommand and its arguments.

    Returns:
        Its output, without white space at its end.

    Raises:
        RegistryError: It failed; says what it said.
    """
    command = ["git", "-c", f"core.hooksPath={os.devnull}", "-c", "commit.gpgSign=false"]
    kept = {name: value for name, value in os.environ.items() if name not in ANOTHERS}
    try:
        done = subprocess.run(
            [*command, *arguments],
            cwd=folder,
            env={**kept, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise RegistryError("git is needed, and no program of that name was found") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).replace("\n", "\n  ")
        raise RegistryError(f"`git {' '.join(arguments)}` failed in {folder}:\n  {said}")
    return done.stdout.rstrip()


def ask_git(folder: Path, *arguments: str) -> str | None:
    """Run `git` where failing is an answer, such as that there is no such branch."""
    try:
        return run_git(folder, *arguments)
    except RegistryError:
        return None


def commit_staged(folder: Path, message: str) -> str | None:
    """Commit what is staged, in the name of the person whom git's configuration names.

    Returns:
        The commit's short id; none where nothing differs from the commit before it.

    Raises:
        RegistryError: Git failed.
    """
    if ask_git(folder, "diff", "--cached", "--quiet") is not None:
        return None
    person = []
    if ask_git(folder, "var", "GIT_COMMITTER_IDENT") is None:
        person = ["-c", "user.name=mm", "-c", "user.email=mm@localhost"]
    run_git(folder, *person, "commit", "--quiet", "--no-verify", "--message", message)
    return run_git(folder, "rev-parse", "--short", "HEAD")
