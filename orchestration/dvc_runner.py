"""Runs one stage through DVC, which alone decides whether there is anything to do."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO

from mm_assets.contracts.errors import DiskError, StageError
from mm_assets.data.disk import name_disk_errors
from orchestration.dvc_process import BUSY
from orchestration.dvc_project import DvcProject, Record
from orchestration.dvc_stages import Stage
from orchestration.live_table import LiveTable, Row

Log = Callable[[str], None]

TAIL_LINES = 25
WAIT_S = 1.0
# Said by DVC after a stage, to a person at a shell.
HINTS = (
    "To track the changes with git",
    "git add ",
    "To enable auto staging",
    "dvc config core.",
    "Use `dvc push` to send",
)

# DVC ignores an interrupt while a stage runs, and the stage outlives DVC. So both get a session of
# their own, and a watchdog in it that reads a pipe from us: when that closes, because we were
# interrupted or because we died in whatever way, it stops the whole group as Ctrl-C would, and
# after 5 s for good.
WATCHED = """
exec 3<&0 </dev/null
(cat <&3; kill -INT 0; sleep 5; kill -KILL 0) >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"""


class StageFailedError(StageError):
    """A stage's command, or DVC, ended with an error; the message ends with its last output."""


def run_stage(project: DvcProject, stage: Stage, log: Log) -> Generator[Row, None, Record]:
    """Bring one stage up to date, leaving those before it alone.

    A stage that is up to date starts no process. One that another process has locked is waited
    for, and so is what a killed run has left of this stage, for the 5 s in which it is stopped.
    Data that a `.dvc` file names, or a frozen stage, is pulled when it is absent, else versioned as
    it lies there.

    Args:
        project: The project that holds it.
        stage: From `read_stages`.
        log: Is given the output line by line.

    Yields:
        While it runs, now and then the latest row of its `meta.dagster.live`, and at the end the
        last one.

    Returns:
        What DVC has recorded of it.

    Raises:
        StageFailedError: The command failed, or the disk is full or must not be written to.
    """
    _end_with_parent()
    try:
        with _hold_stage(project, stage, log) as lock:
            record = _read_record(project, stage, log)
            if record.up_to_date:
                log("up to date, nothing to run")
                return record
            yield from _bring_up_to_date(project, stage, log, lock)
            return _read_record(project, stage, log)
    except DiskError as error:
        raise StageFailedError(str(error)) from None


def _bring_up_to_date(
    project: DvcProject, stage: Stage, log: Log, lock: int
) -> Generator[Row, None, None]:
    """Run DVC again and again while a lock of another process is in its way.

    Raises:
        StageFailedError: It failed for another reason.
    """
    kept = stage.is_source or stage.frozen  # its outs are had, not made
    absent = kept and not _has_outs(project, stage)
    arguments = ["--pull", stage.target] if absent else [stage.target]
    live = LiveTable(project.root / stage.meta.live) if stage.meta.live else None
    while True:
        code, tail = yield from _run_dvc(project, arguments, log, live, lock)
        if code == 0 and absent and not _has_outs(project, stage):
            arguments, absent = [stage.target], False  # nothing to pull: this says what is missing
            continue
        if code == 0:
            return
        if code != BUSY:
            break
        log("waiting for another DVC process")
        time.sleep(WAIT_S)
    advice = (
        f"; {stage.target} names data that is neither here nor in a remote: put it in place"
        if absent
        else ""
    )
    command = f"dvc {'pull' if absent else 'repro --single-item'} {stage.target}"
    raise StageFailedError(
        f"`{command}` {_describe_exit(code)}{advice}; its last output:\n  " + "\n  ".join(tail)
    )


def _has_outs(project: DvcProject, stage: Stage) -> bool:
    return all((project.root / out).exists() for out in stage.outs)


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")


@cache
def _end_with_parent() -> None:
    """End this process when the one that started it has died.

    A step of Dagster's multiprocess executor would go on for a run that nobody follows any more.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)  # what the step has started ends with it

    Thread(target=watch, daemon=True, name="end-with-parent").start()


@contextmanager
def _hold_stage(project: DvcProject, stage: Stage, log: Log) -> Iterator[int]:
    """Be the only one to run a stage from here; its processes hold the lock, too.

    DVC's own locks do not know of a command that outlives DVC. This one is free when all of them
    have ended.

    Yields:
        The lock's file descriptor.

    Raises:
        DiskError: The folder cannot be written to.
    """
    path = project.root / ".dvc" / "tmp" / f"{re.sub(r'[^A-Za-z0-9@.-]', '_', stage.target)}.stage"
    with name_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    lock = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 10)  # the shell uses those below itself
    os.close(opened)
    try:
        waited = False
        while not _try_lock(lock):
            if not waited:
                log("waiting for another run of this stage")
            waited = True
            time.sleep(WAIT_S / 4)
        yield lock
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_record(project: DvcProject, stage: Stage, log: Log) -> Record:
    """Read a stage's record, waiting while a running stage has its files locked.

    Raises:
        DiskError: DVC cannot write its locks.
    """
    from dvc.lock import LockError

    waited = False
    while True:
        try:
            with name_disk_errors(project.root / ".dvc" / "tmp" / "rwlock"):
                return project.read_records(stage.target)[stage.target]
        except LockError as error:
            if not waited:
                log(f"waiting for another DVC process: {error}")
            waited = True
            time.sleep(WAIT_S)


def _run_dvc(
    project: DvcProject, arguments: list[str], log: Log, live: LiveTable | None, lock: int
) -> Generator[Row, None, tuple[int, list[str]]]:
    """Run DVC, passing its output on; return its exit status and last lines."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    command = [sys.executable, "-m", "orchestration.dvc_process", *arguments]
    with start(command, project, locks=[lock]) as process:
        for raw in _read_lines(process.stdout):
            line = raw.strip()
            if line and not line.startswith(HINTS):
                tail.append(line)
                log(line)
            if live:
                yield from live.read_due()
            # Its command may outlive a DVC that was killed, and hold the output open.
            if process.poll() is not None and (process.returncode < 0 or not raw):
                break
        code = process.wait()
        if live:
            yield from live.read_new()
        return code, list(tail)


def _read_lines(output: IO[str] | None) -> Iterator[str]:
    """Give lines as they come, and an empty one whenever none has come for a while."""
    lines: SimpleQueue[str | None] = SimpleQueue()

    def read() -> None:
        with suppress(ValueError):  # closed, because whoever reads the lines has gone
            for line in output or ():
                lines.put(line)
        lines.put(None)

    reader = Thread(target=read, daemon=True)
    reader.start()
    while True:
        try:
            line = lines.get(timeout=WAIT_S)
        except Empty:
            line = ""
        if line is None:
            break
        yield line
    reader.join()


@contextmanager
def start(
    command: list[str], project: DvcProject, *, locks: Sequence[int] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Start a command that ends with this block, and with this process, whatever ends either.

    Args:
        command: With its arguments.
        project: Where, and with which variables.
        locks: File descriptors that it and what it starts hold until the last of them has ended.
    """
    # The stages' own commands (`mm`) are those of this interpreter's environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    process = subprocess.Popen(
        ["/bin/sh", "-c", WATCHED, "sh", *command],
        cwd=project.root,
        env={**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **project.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,  # with universal newlines, so that each step of a progress bar is a line
        errors="replace",
        start_new_session=True,
        pass_fds=locks,
    )
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()
        process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the watchdog, and what the command left
        if process.stdout:
            process.stdout.close()
