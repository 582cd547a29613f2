"""Runs that a crash left behind: found by their process, and brought to an end.

Dagster's default launcher notices that a run's process has died only as long as the server that
started it lives. After a crash of everything a run stays STARTED for ever, and keeps its place in the
queue and in pools (https://github.com/dagster-io/dagster/issues/4319).
"""

from __future__ import annotations

import functools
import json
import os
import platform
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import dagster as dg
import psutil
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.tags import GRPC_INFO_TAG

from orchestration.databases import hold_databases

if TYPE_CHECKING:
    from dagster._config import UserConfigSchema
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode
    from dagster._core.execution.step_dependency_config import StepDependencyConfig

PROCESS = "mm/process"  # the tag that says which process executes a run
UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# In which a run that is tried again still has its predecessor's server in its tags.
LAUNCH = timedelta(seconds=60)
MESSAGE = "Its process has ended without saying so: it was killed, or the machine went down."


def identify_process(pid: int) -> str:
    """Name a process as no other ever will be: machine, start of the machine, start, number.

    Raises:
        psutil.NoSuchProcess: There is no such process, or it has ended and nobody has noticed.
    """
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(pid)
    return f"{platform.node()} {_boot_id()} {_read_start(process)} {pid}"


def tag_process(run_id: str) -> dict[str, str]:
    """Make the tag that names this process as that of a run; a run tried again inherits it."""
    return {PROCESS: f"{run_id} {identify_process(os.getpid())}"}


def reconcile_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """End every unfinished run whose process is gone, and free what it holds.

    A run that was being cancelled becomes CANCELED, any other FAILURE; the daemon then tries it again
    as `run_retries` of `dagster.yaml` says. Runs of other machines are left alone.

    Args:
        instance: Where runs are kept.

    Returns:
        The runs that were ended.
    """
    storage = instance.event_log_storage
    is_local = isinstance(instance.run_storage, SqliteRunStorage)  # a file, on a disk of its own
    long_ago = datetime.now(UTC) - LAUNCH
    ended = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        run = record.dagster_run
        launched = record.update_timestamp.replace(tzinfo=UTC) < long_ago
        if not is_gone(run, look_for_server=is_local and launched):
            continue
        current = instance.get_run_by_id(run.run_id)
        if current is None or current.status not in UNFINISHED:  # it ended just now
            continue
        if current.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(current, MESSAGE)
        else:
            instance.report_run_failed(current, MESSAGE)
        if storage.supports_global_concurrency_limits:
            storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(run)
    return ended


def is_gone(run: dg.DagsterRun, *, look_for_server: bool) -> bool:
    """Whether the process that executes a run, or was about to, is known to have ended.

    Args:
        run: An unfinished run.
        look_for_server: Whether the server that starts it is on this machine, and known by now.
    """
    run_id, _, recorded = run.tags.get(PROCESS, "").partition(" ")
    if run_id != run.run_id:  # it has not begun; the tag is that of a run which it replaces
        return look_for_server and _server_is_gone(run)
    machine, _, _, pid = recorded.rsplit(" ", 3)
    if machine != platform.node():
        return False
    try:
        return identify_process(int(pid)) != recorded
    except psutil.NoSuchProcess:
        return True


def _server_is_gone(run: dg.DagsterRun) -> bool:
    """Whether the server that was to start a run's process listens no more, on this machine."""
    address = json.loads(run.tags.get(GRPC_INFO_TAG, "{}")).get("socket")
    if address is None:
        return False
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return True
    return False


def record_process(inner: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    """Make an executor that first tags its run with the process that executes it."""

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        assert inner.executor_creation_fn is not None
        return _Recording(inner.executor_creation_fn(context))

    return dg.ExecutorDefinition(
        name=inner.name,
        config_schema=cast("UserConfigSchema", inner.config_schema),  # which may be configured
        requirements=inner.get_requirements,
        executor_creation_fn=create,
        description=inner.description,
    )


class _Recording(dg.Executor):
    """An executor in whose place another one does the work."""

    def __init__(self, inner: dg.Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> RetryMode:
        """Say what the other one says."""
        return self._inner.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        """Say what the other one says."""
        return self._inner.step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Tag the run, and let the other one execute it."""
        run_id = plan_context.run_id
        plan_context.instance.add_run_tags(run_id, tag_process(run_id))
        with hold_databases(plan_context.instance, run_id):
            yield from self._inner.execute(plan_context, execution_plan)


@functools.cache
def _boot_id() -> str:
    """Tell one start of this machine from the next, where the system has a name for it."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text(encoding="ascii").strip() if file.exists() else "-"


def _read_start(process: psutil.Process) -> str:
    """Read when a process started: in ticks since the machine did, which no setting of clocks moves."""
    file = Path(f"/proc/{process.pid}/stat")
    if not file.exists():
        return str(process.create_time())
    return file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
