"""Both doors on the real pipeline, over a small sample."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from mm_assets.contracts.workspace import Workspace
from mm_assets.sources.sample.generate import generate_sample

REPOSITORY = Path(__file__).parents[2]
WEIGHTS = Workspace(REPOSITORY).weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not WEIGHTS.is_dir(), reason="needs the encoders' published weights: run `mm weights`"
    ),
]


class Doors:
    """One project, its shell, and its Dagster instance."""

    def __init__(self, root: Path, instance: dg.DagsterInstance) -> None:
        self.root = root
        self.instance = instance
        self.seen: dict[str, int] = {}

    def dvc(self, *arguments: str, status: int = 0) -> str:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root,
            env={**os.environ, "PATH": path},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def materialize_all(self) -> dg.ExecuteInProcessResult:
        from orchestration.definitions import defs

        job = defs().resolve_job_def("pipeline")
        config = {"loggers": {"compact": {}}}
        return job.execute_in_process(
            instance=self.instance, raise_on_error=False, run_config=config
        )

    def ran(self) -> set[str]:
        """Stages whose function ran to its end since the last call: each leaves its time in a log."""
        logs = {
            found["stage"]: file.stat().st_mtime_ns
            for file in (self.root / "artifacts" / "logs").rglob("*.json")
            if "stage" in (found := json.loads(file.read_text()))
        }
        ended = {stage for stage, modified in logs.items() if self.seen.get(stage) != modified}
        self.seen = logs
        return ended

    def edit(self, old: str, new: str) -> None:
        params = self.root / "params.yaml"
        text = params.read_text()
        assert old in text
        params.write_text(text.replace(old, new))

    def staleness(self) -> set[str]:
        from orchestration.definitions import defs
        from orchestration.defs.retraining import PIPELINE

        graph = defs().resolve_asset_graph()
        context = LoadingContextForTest(self.instance)
        resolver = CachingStaleStatusResolver(self.instance, graph, context)
        stages = PIPELINE.resolve(graph)
        return {resolver.get_status(key).value for key in stages}


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    root = tmp_path_factory.mktemp("doors") / "project"
    shutil.copytree(
        REPOSITORY / "mm_assets", root / "mm_assets", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(REPOSITORY / name, root)
    generate_sample(root / "data", rows=300, customers=60)
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("MM_PROJECT", str(root))
        patch.setenv("MM_WEIGHTS", str(WEIGHTS))
        patch.setenv("MM_STORE", str(root / ".mm" / "store"))
        doors = Doors(root, instance)
        doors.dvc("init", "-q", "--no-scm")
        doors.dvc("config", "core.analytics", "false")
        doors.dvc("add", "-q", "data")
        # The broken rows are as many as beside 900 good ones.
        doors.edit("quarantined_share: 0.05", "quarantined_share: 0.3")
        doors.edit("copies: 1", "copies: 0")  # halves the time
        doors.dvc("repro")
        yield doors


def test_what_ran_at_the_shell_shows_as_fresh_after_one_tick(doors):
    """(c) of the two doors; the other tests build on what ran here."""
    from orchestration.definitions import defs

    shell_runs = defs().resolve_sensor_def("shell_runs")
    result = shell_runs(dg.build_sensor_context(instance=doors.instance))
    for event in result.asset_events:
        doors.instance.report_runless_asset_event(event)
    assert doors.staleness() == {"FRESH"}


def test_materializing_after_the_shell_runs_no_stage(doors):
    """(a) of the two doors."""
    doors.ran()
    assert doors.materialize_all().success
    assert doors.ran() == set()
    assert doors.staleness() == {"FRESH"}


def test_a_changed_parameter_runs_what_depends_on_it_and_leaves_dvc_nothing(doors):
    """(b) of the two doors."""
    doors.ran()
    doors.edit("bootstrap: 1000", "bootstrap: 400")
    assert doors.materialize_all().success
    assert doors.ran() == {"evaluate", "card"}
    assert "up to date" in doors.dvc("status")
    assert "up to date" in doors.dvc("repro")
    assert doors.ran() == set()


def test_a_project_that_exports_nothing_goes_through_both_doors(doors):
    doors.edit("export: {enabled: true", "export: {enabled: false")
    assert doors.materialize_all().success
    assert "up to date" in doors.dvc("repro")
    doors.edit("export: {enabled: false", "export: {enabled: true")
    assert doors.materialize_all().success  # from DVC's run cache
    assert (doors.root / "artifacts/onnx/model.onnx").is_file()


def test_a_modality_taken_out_leaves_nothing_behind(doors):
    params = (doors.root / "params.yaml").read_text()
    audio = params[params.index("  audio:\n") : params.index("# What to predict")]
    doors.edit(audio, "")
    doors.dvc("repro", "train")
    assert not (doors.root / "artifacts/embeddings/audio").exists()
    assert not (doors.root / "artifacts/reports/embed/audio.json").exists()
    (doors.root / "params.yaml").write_text(params)


@pytest.mark.parametrize("breach", ["too many rows in quarantine", "a table without its target"])
def test_a_breach_fails_a_blocking_check_and_stops_both_doors_at_one_place(doors, breach):
    """(d) of the two doors."""
    table = doors.root / "data" / "samples.csv"
    params, rows = (doors.root / "params.yaml").read_text(), table.read_bytes()
    if breach == "too many rows in quarantine":
        doors.edit("quarantined_share: 0.3", "quarantined_share: 0.01")
    else:
        table.write_bytes(rows.replace(b"sentiment", b"mood", 1))
    doors.ran()
    result = doors.materialize_all()
    assert [e.step_key for e in result.all_events if e.is_step_failure] == ["validated_samples"]
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert failed
    assert all(check.asset_key == dg.AssetKey("validated_samples") for check in failed)
    assert any(check.severity == dg.AssetCheckSeverity.ERROR for check in failed)
    assert doors.ran() == {"validate"}
    assert "failed to reproduce 'validate'" in doors.dvc("repro", status=255)
    assert doors.ran() == {"validate"}
    (doors.root / "params.yaml").write_text(params)
    table.write_bytes(rows)
