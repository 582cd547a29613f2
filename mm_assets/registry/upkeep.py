"""What nobody needs any more: models long out of use, what DVC's cache holds of them, leftovers.

Never a champion, an earlier champion that a roll-back may want, the data that either was made from,
nor anything that a branch, a tag, an experiment or a worktree names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from mm_assets.contracts.errors import RegistryError, StageError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.lock import hold_lock
from mm_assets.registry import folders
from mm_assets.registry.git import ask_git, commit_staged, run_git
from mm_assets.registry.merging import merge_registries
from mm_assets.registry.record import Registry, read_registry, write_registry

CACHE = "what DVC's cache holds and nothing names"
DRY_LINE = re.compile(r"Removing (.+)")
RUN_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclass(frozen=True)
class Waste:
    """Something to delete.

    Attributes:
        about: What it is, for a person.
        paths: Files and folders.
    """

    about: str
    paths: tuple[Path, ...]

    @property
    def size_bytes(self) -> int:
        """How much is freed; what is gone already counts 0."""
        return sum(map(measure, self.paths))


def measure(path: Path) -> int:
    """Give a file's bytes, or those of all files below a folder."""
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    found = 0
    for file in files:
        try:
            found += 0 if file.is_dir() else file.lstat().st_size
        except FileNotFoundError:
            continue
    return found


def list_trees(root: Path) -> list[Workspace]:
    """List the project's checkouts, itself first: each keeps its data, models and artifacts."""
    told = ask_git(root, "worktree", "list", "--porcelain") or ""
    others = [
        Path(line.removeprefix("worktree "))
        for line in told.splitlines()
        if line[:9] == "worktree "
    ]
    found = [
        path for path in others if path.resolve() != root.resolve() and (path / ".dvc").is_dir()
    ]
    return [Workspace(root), *map(Workspace, found)]


def read_all(root: Path) -> Registry:
    """Read the project's registry together with that of retraining."""
    ours, theirs = (read_registry(one.registry) for one in _registries(root))
    return merge_registries(ours, theirs)


def choose_models(registry: Registry, *, champions: int, candidates: int) -> list[str]:
    """Choose models to delete.

    Args:
        registry: All that is known.
        champions: How many earlier champions are kept, the latest first.
        candidates: The same of those that were refused, or never judged.

    Returns:
        Ids. One that a person rolled back is none of them: it must not be promoted again by itself.
    """
    rank = {event.model: place for place, event in enumerate(registry.history)}
    crowned = [event.model for event in registry.history if event.what != "refused"]
    last = {name: place for place, name in enumerate(crowned)}
    retired = [name for name, model in registry.models.items() if model.state == "retired"]
    retired.sort(key=lambda name: last.get(name, -1), reverse=True)
    waiting = [
        name for name, model in registry.models.items() if model.state in ("refused", "candidate")
    ]
    waiting.sort(key=lambda name: (rank.get(name, -1), registry.models[name].made), reverse=True)
    # Never the one that `mm rollback` would put back, however few are kept.
    chosen = {*retired[champions:], *waiting[candidates:]} - {registry.find_predecessor()}
    return sorted(chosen)


def prune_models(root: Path, known: Registry, names: Collection[str]) -> list[str]:
    """Delete models, files and records, from the project's registry and from that of retraining.

    Between choosing them and now a person was asked, and models may have been promoted or rolled
    back: one that has become needed, or has changed at all, stays. Retraining's branch gets a commit;
    unless its last run has ended, it keeps them until next time.

    Args:
        root: The project's root.
        known: What `read_all` gave when they were chosen.
        names: Ids, of `choose_models`.

    Returns:
        What a person should know of it.

    Raises:
        RegistryError: A registry is damaged, or git refused.
        StageError: Somebody changes the registry.
    """
    main, tree = _registries(root)
    notes = []
    with _hold_registry(main):
        if _forget(main, _choose_again(root, known, names)) and ask_git(root, "rev-parse", "HEAD"):
            notes.append("commit registry/ with git; `mm gc` then frees their cache, too")
        if set(names) & read_registry(tree.registry).models.keys():
            notes += _prune_retraining(main, tree, known, names)
    return notes


def _prune_retraining(
    main: Workspace, tree: Workspace, known: Registry, names: Collection[str]
) -> list[str]:
    notes = [
        "retraining is at work or was cut short, so its models stay until `mm gc` after its next run"
    ]
    try:
        # The lock with which a run prepares the worktree and commits there.
        with (
            hold_lock(main.lock(tree.root.name), what="work in the worktree"),
            _hold_registry(tree),
        ):
            if not _has_ended(main):
                return notes
            if _forget(tree, _choose_again(main.root, known, names)):
                run_git(tree.root, "add", "--", "registry")
                commit_staged(tree.root, "mm gc: models that nobody needs")
    except StageError:
        return notes
    return []


def _has_ended(main: Workspace) -> bool:
    """Tell whether the last retraining run has made its commit, or there never was one."""
    file = main.retraining_state
    return not file.is_file() or json.loads(file.read_text(encoding="utf-8"))["done"] is True


def _choose_again(root: Path, known: Registry, names: Collection[str]) -> set[str]:
    """Leave out what must not be deleted any more."""
    now = read_all(root)
    return {
        name
        for name in set(names) & now.models.keys() - {now.champion, now.find_predecessor()}
        if now.models[name].state == known.models[name].state
    }


def _hold_registry(workspace: Workspace) -> AbstractContextManager[None]:
    return hold_lock(workspace.lock("registry"), what="a change of the registry")


def _forget(workspace: Workspace, names: Collection[str]) -> list[str]:
    registry = read_registry(workspace.registry)
    gone = sorted(set(names) & registry.models.keys())
    if gone:
        kept = {name: model for name, model in registry.models.items() if name not in names}
        write_registry(workspace.registry, registry.model_copy(update={"models": kept}))
    for name in gone:
        folder = folders.model_folder(workspace, name)
        folders.pointer(folder).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    return gone


def list_model_waste(root: Path, names: Collection[str]) -> list[Waste]:
    """List where the files of models lie."""
    return [
        Waste(f"model {name}", tuple(folders.model_folder(one, name) for one in _registries(root)))
        for name in names
    ]


def list_unfinished(trees: Collection[Workspace], *, days: float) -> list[Waste]:
    """List what training runs reached that nobody went on with for some days."""
    files = [file for one in trees for file in one.unfinished.rglob("*") if file.is_file()]
    return [Waste("an unfinished training run", (file,)) for file in files if _is_older(file, days)]


def list_run_logs(home: Path, *, days: float) -> list[Waste]:
    """List what Dagster's steps printed; runs, and what they say of assets, are kept.

    Args:
        home: Dagster's folder.
        days: Older ones only.
    """
    runs = [path for path in home.glob("storage/*") if RUN_ID.fullmatch(path.name)]
    logs = [path / "compute_logs" for path in runs if (path / "compute_logs").is_dir()]
    return [Waste("the printed output of a run", (one,)) for one in logs if _is_older(one, days)]


def remove(waste: Waste) -> None:
    """Delete it."""
    for path in waste.paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def find_cache(workspace: Workspace) -> Path:
    """Say where DVC's cache is."""
    return Path(folders.run_dvc(workspace, "cache", "dir")).resolve()


def list_cache_waste(
    trees: Sequence[Workspace], versions: Collection[str], others: Collection[Path] = ()
) -> Waste:
    """List what DVC's cache holds and nothing names.

    Named is what the trees hold now, what is at the head of any branch or in a tag or experiment,
    and the versions of data that are given here.

    Args:
        trees: Of `list_trees`.
        versions: Of `data/`, as `data.dvc` of some commit had them.
        others: Further projects that keep their data in the same cache.

    Raises:
        RegistryError: DVC failed.
    """
    told = _run_gc(trees, versions, others, "--dry")
    return Waste(CACHE, tuple(map(Path, DRY_LINE.findall(told))))


def collect_cache(
    trees: Sequence[Workspace], versions: Collection[str], others: Collection[Path] = ()
) -> int:
    """Let DVC delete from its cache what nothing names.

    Args:
        trees: As for `list_cache_waste`.
        versions: The same.
        others: The same.

    Returns:
        How many bytes are free now.

    Raises:
        RegistryError: DVC failed.
    """
    freed = list_cache_waste(trees, versions, others).size_bytes
    if freed:
        _run_gc(trees, versions, others, "--force")
    return freed


def _run_gc(
    trees: Sequence[Workspace], versions: Collection[str], others: Collection[Path], mode: str
) -> str:
    workspace = trees[0]
    everywhere = ["--all-branches", "--all-tags", "--all-experiments"]
    known = everywhere if ask_git(workspace.root, "rev-parse", "HEAD") else []
    with _pin(find_cache(workspace), versions, git=bool(known)) as keeper:
        projects = [keeper, *(one.root for one in trees[1:]), *others]
        command = ["gc", "--workspace", *known, "--projects", *map(str, projects), mode]
        return folders.run_dvc(workspace, *command)


@contextmanager
def _pin(cache: Path, versions: Collection[str], *, git: bool) -> Iterator[Path]:
    """Make a project for DVC that names versions of data, for as long as it collects.

    DVC looks for branches in it, too, where it does so in the others.
    """
    with tempfile.TemporaryDirectory(prefix="mm-gc-") as name:
        folder = Path(name)
        if git:
            run_git(folder, "init", "--quiet")
        (folder / ".dvc").mkdir()
        (folder / ".dvc" / "config").write_text(
            f"[core]\n    no_scm = {not git}\n    analytics = false\n[cache]\n    dir = {cache}\n"
        )
        for number, version in enumerate(sorted(versions)):
            kind = {"hash": "md5"} if _is_kept(cache / "files" / "md5", version) else {}
            if kind or _is_kept(cache, version):
                out = {"md5": version, "path": f"data{number}", **kind}
                YAML().dump({"outs": [out]}, folder / f"data{number}.dvc")
        yield folder


def _is_kept(cache: Path, version: str) -> bool:
    return (cache / version[:2] / version[2:]).exists()


def list_versions(registry: Registry) -> set[str]:
    """List the versions of data from which the models were made."""
    return {model.data for model in registry.models.values() if model.data}


def require_own_cache(workspace: Workspace, others: Collection[Path]) -> None:
    """Require that the cache is this project's alone, or that it is known who shares it.

    Raises:
        RegistryError: It lies elsewhere, and no other project was named.
    """
    cache = find_cache(workspace)
    if not others and not cache.is_relative_to(workspace.root.resolve()):
        raise RegistryError(
            f"DVC's cache is {cache}, outside of this project, and others may keep data there that "
            "DVC would delete; name each with `--project PATH`, or `--project .` if there is none"
        )


def _registries(root: Path) -> list[Workspace]:
    main = Workspace(root)
    return [main, Workspace(main.retraining)]


def _is_older(path: Path, days: float) -> bool:
    try:
        return path.stat().st_mtime < time.time() - days * 86400
    except FileNotFoundError:
        return False


def dagster_home(root: Path) -> Path:
    """Say where Dagster keeps what it knows of this project."""
    return Path(os.environ.get("DAGSTER_HOME") or root / ".dagster")
