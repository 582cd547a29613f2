import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from orchestration.databases import hold_databases

RUN = "11111111-2222-3333-4444-555555555555"


@dg.asset
def number():
    return dg.MaterializeResult(metadata={"n": 1})


@pytest.fixture
def instance():
    with dg.instance_for_test() as instance:
        yield instance


def find(instance, pattern):
    return {file.name for file in Path(instance.root_directory).rglob(pattern)}


def test_files_stay_open_for_the_block_and_hold_everything_after_it(instance):
    job = dg.Definitions([number]).resolve_implicit_global_asset_job_def()
    with hold_databases(instance, RUN):
        assert job.execute_in_process(instance=instance, run_id=RUN).success
        # The last one to close a file would have taken its log away.
        assert find(instance, "*.db-wal") >= {"runs.db-wal", "index.db-wal", f"{RUN}.db-wal"}
    assert find(instance, "*.db-wal") == set()
    assert instance.get_latest_materialization_event(number.key).run_id == RUN
    assert instance.get_run_by_id(RUN).is_success


def test_others_write_meanwhile(instance):
    with hold_databases(instance, RUN):
        files = list(Path(instance.root_directory).rglob("*.db"))
        assert len(files) >= 3
        for file in files:
            with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                other.execute("ROLLBACK")


def test_storages_that_are_no_files_are_left_alone():
    with dg.DagsterInstance.ephemeral() as instance, hold_databases(instance, RUN):
        assert not instance.get_runs()
