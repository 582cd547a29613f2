import json
import time

import dagster as dg
import pytest

from orchestration import live_table
from orchestration.live_table import LiveTable, read_last_row

LEARNED = dg.AssetKey("learned")

# Ten epochs, one every 0.4 s; as stage `train` does, each replaces the whole file.
STAGE = """
stages:
  learn:
    cmd: python learn.py
    deps: [learn.py]
    outs: [artifacts/model]
    meta:
      dagster: {asset: learned, live: artifacts/model/curves.csv}
plots:
  - artifacts/model/curves.csv:
      x: epoch
      y: [train_loss, validation_loss]
"""
LEARN = """
import os, time
from pathlib import Path
table = Path("artifacts/model/curves.csv")
table.parent.mkdir(parents=True)
text = "epoch,train_loss,validation_loss,note\\n"
for epoch in range(10):
    text += f"{epoch},{1 / (epoch + 1)},{2 / (epoch + 1)},fine\\n"
    Path("artifacts/next.csv").write_text(text)
    os.replace("artifacts/next.csv", table)
    time.sleep(0.4)
"""


@pytest.fixture
def learning(shell):
    (shell.root / "data.dvc").unlink()
    (shell.root / "dvc.yaml").write_text(STAGE)
    (shell.root / "learn.py").write_text(LEARN)
    return shell


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("", {}),
        ("epoch,loss\n", {}),
        ("epoch,loss\n1,0.5\n2,0.25\n", {"epoch": 2.0, "loss": 0.25}),
        ("epoch,loss\n1,0.5\n2,0.2", {"epoch": 1.0, "loss": 0.5}),  # still being written
        ('epoch,note,loss\n3,"a, b",nan\n', {"epoch": 3.0}),
        (f"epoch,note\n3,{'x' * 200_000}\n", {}),  # more than a field of CSV may hold
    ],
)
def test_the_last_whole_line_gives_its_finite_numbers(tmp_path, text, row):
    (tmp_path / "x.csv").write_text(text)
    assert read_last_row(tmp_path / "x.csv") == row


def test_what_an_earlier_run_left_is_not_told_and_nothing_twice(tmp_path, monkeypatch):
    file = tmp_path / "x.csv"
    file.write_text("epoch\n9\n")
    table = LiveTable(file)
    assert list(table.read_new()) == []
    file.unlink()
    assert list(table.read_new()) == []
    file.write_text("epoch\n1\n")
    assert list(table.read_due()) == [{"epoch": 1.0}]
    file.write_text("epoch\n1\n2\n")
    assert list(table.read_due()) == []  # too soon
    assert list(table.read_new()) == [{"epoch": 2.0}]
    assert list(table.read_new()) == []
    file.write_text("epoch\n1\n2\n3\n")
    monkeypatch.setattr(live_table, "EVERY_S", 0.0)
    assert list(table.read_due()) == [{"epoch": 3.0}]


@pytest.mark.slow
def test_dagster_has_points_while_the_stage_runs(learning, dagster, monkeypatch):
    monkeypatch.setattr(live_table, "EVERY_S", 1.0)
    assert dagster.materialize_all().success
    records = dagster.instance.fetch_observations(LEARNED, limit=100).records
    points = [
        {name: entry.value for name, entry in record.asset_observation.metadata.items()}
        for record in reversed(records)
    ]
    assert 3 <= len(points) <= 6
    assert points[-1] == {"epoch": 9.0, "train_loss": 0.1, "validation_loss": 0.2}
    epochs = [point["epoch"] for point in points]
    assert sorted(set(epochs)) == epochs
    assert records[0].timestamp - records[-1].timestamp > 2
    event = dagster.instance.get_latest_materialization_event(LEARNED)
    assert event.timestamp > records[0].timestamp
    assert dagster.staleness() == {"learned": "FRESH"}

    assert dagster.materialize_all().success  # up to date: nothing is told again
    assert len(dagster.instance.fetch_observations(LEARNED, limit=100).records) == len(points)


@pytest.mark.slow
def test_dvc_plots_the_table_while_the_stage_runs(learning):
    process = learning.start("repro")
    table = learning.root / "artifacts" / "model" / "curves.csv"
    deadline = time.monotonic() + 60
    while not table.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    output = learning.dvc("plots", "show", "--json")
    running = process.poll() is None
    assert process.wait() == 0
    (plot,) = json.loads(output)["data"].values()
    values = plot[0]["content"]["data"]["values"]
    assert {point["field"] for point in values} == {"train_loss", "validation_loss"}
    # On a busy machine DVC may take longer than the stage.
    assert len(values) < 20 if running else len(values) == 20
