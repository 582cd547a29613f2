"""DVC for one stage, in a process of its own, with what it lacks to survive.

`python -m orchestration.dvc_process TARGET` is `dvc --wait-for-lock repro --single-item TARGET` with
two differences. `dvc.lock` and `.dvc` files appear whole or not at all: DVC truncates them and writes
them anew, so that a kill in between loses every record. And a stage whose inputs moved while it ran
fails, and neither `dvc.lock` nor the run cache hears of it: DVC records the inputs as they are
afterwards (https://github.com/treeverse/dvc/issues/11058).

With `--pull` it is `dvc pull TARGET`. It ends with `BUSY` where another process has a lock.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from mm_assets.contracts.errors import DiskError
from mm_assets.data.disk import name_disk_errors
from orchestration.dvc_declared import DvcOut, DvcStage

BUSY = 75  # EX_TEMPFAIL of sysexits.h: try again later


def main(arguments: list[str]) -> int:
    """Run DVC.

    Args:
        arguments: A target, after `--pull` or not.

    Returns:
        The exit status: that of DVC, or `BUSY`.
    """
    from dvc.cli import main as dvc

    write_records_whole()
    watch_inputs()
    heard = _Listener()
    logging.getLogger("dvc").addHandler(heard)
    pull = arguments[0] == "--pull"
    command = ["pull"] if pull else ["repro", "--single-item"]
    status: int = dvc(["--wait-for-lock", *command, arguments[-1]])
    if heard.busy:
        return BUSY
    try:
        with name_disk_errors(Path.cwd()):
            if heard.from_system:
                raise heard.from_system
    except DiskError as error:
        sys.stdout.write(f"error: {error}\n")
    except OSError:  # of another kind, which DVC has told
        return status
    return status


class _Listener(logging.Handler):
    """Notices what an error of DVC was caused by: a lock that is held, or the system."""

    busy = False
    from_system: OSError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Look at an error and at what caused it."""
        from dvc.lock import LockError

        error = record.exc_info[1] if record.exc_info else None
        while error is not None:
            self.busy = self.busy or isinstance(error, LockError)
            self.from_system = error if isinstance(error, OSError) else self.from_system
            error = error.__cause__ or error.__context__


def write_records_whole() -> None:
    """Let DVC write each YAML file beside the old one, and then put it in its place in one step."""
    from dvc.utils.serialize import _common, _yaml

    from mm_assets.data.atomic import write_text

    def dump(
        path: str | os.PathLike[str],
        data: object,
        dumper: Callable[..., object],
        fs: object = None,  # always the local one
        **options: object,
    ) -> None:
        text = io.StringIO()
        dumper(data, text, **options)
        write_text(Path(path).resolve(), text.getvalue())

    _common._dump_data = _yaml._dump_data = dump


def watch_inputs() -> None:
    """Let DVC compare a stage's inputs before its command with those that it is about to record."""
    from dvc.exceptions import DvcException
    from dvc.stage import Stage
    from dvc.stage import run as running

    run_command, save_deps = running.cmd_run, Stage.save_deps
    before: dict[str, dict[str, object]] = {}

    def run_watched(stage: DvcStage, *args: object, **options: object) -> None:
        before[stage.addressing] = fingerprint(stage)
        run_command(stage, *args, **options)

    def save_unmoved(stage: DvcStage, *args: object, **options: object) -> None:
        save_deps(stage, *args, **options)
        old = before.pop(stage.addressing, None)
        if old is None:  # its command has not run
            return
        new = fingerprint(stage)
        if moved := sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key)):
            raise DvcException(
                f"stage {stage.addressing} read inputs that changed while it ran "
                f"({', '.join(moved[:5])}); its result would belong to neither version, so it is "
                "not recorded; run it again"
            )

    running.cmd_run, Stage.save_deps = run_watched, save_unmoved


def fingerprint(stage: DvcStage) -> dict[str, object]:
    """Take size and modification time of every file that a stage depends on, and its parameters.

    A file rewritten with equal bytes counts as moved: whether the stage read it before, after or
    in the middle cannot be told. What `.dvcignore` names is left out. Of a dependency that is not
    on this machine the version that its storage tells is taken.
    """
    from dvc.dependency import ParamsDependency

    found: dict[str, object] = {}
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency):
            found |= {f"{dep}: {name}": value for name, value in dep.read_params().items()}
        elif dep.protocol == "local":
            found |= _stat_files(dep)
        else:
            found[str(dep)] = dep.get_hash()
    return found


def _stat_files(dep: DvcOut) -> dict[str, object]:
    path, root = dep.fs_path, dep.repo.root_dir
    files = dep.dvcignore.find(dep.fs, path) if dep.fs.isdir(path) else [path]
    found: dict[str, object] = {}
    for file in files:
        try:
            stat = Path(file).stat()
        except FileNotFoundError:  # gone this moment, which counts as moved
            continue
        found[os.path.relpath(file, root)] = (stat.st_size, stat.st_mtime_ns)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
