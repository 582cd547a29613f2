"""Keeping Dagster's SQLite files open while a run writes to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.runs import SqliteRunStorage
from sqlalchemy import NullPool, create_engine, text

OPEN = text("SELECT count(*) FROM sqlite_master")  # SQLite opens a file when it is first read


@contextmanager
def hold_databases(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold each SQLite file of a run open; other storages are left alone.

    Dagster opens a file anew for every statement, and whoever is the last to close one copies its
    write-ahead log into it and waits for the disk twice (https://sqlite.org/wal.html): most of what
    an event costs. Nothing is locked meanwhile.

    Args:
        instance: Where events are kept.
        run_id: Of a run, which may not have begun.
    """
    runs, events = instance.run_storage, instance.event_log_storage
    with ExitStack() as held:
        if isinstance(runs, SqliteRunStorage):
            held.enter_context(runs.connect()).execute(OPEN).all()
        if isinstance(events, SqliteEventLogStorage):
            with events.run_connection(run_id):
                pass  # makes the run's own file
            for shard in (INDEX_SHARD_NAME, run_id):
                engine = create_engine(events.conn_string_for_shard(shard), poolclass=NullPool)
                held.enter_context(engine.connect()).execute(OPEN).all()
        yield
