import json
import shutil

import pytest
from ruamel.yaml import YAML

from mm_assets.contracts.config import DriftConfig
from mm_assets.contracts.errors import StageError
from mm_assets.contracts.workspace import Workspace
from mm_assets.drift.incoming import (
    drop_folder,
    find_waiting,
    list_batches,
    mark_ingested,
    mark_left_out,
    read_left_out,
    read_memory,
    sign_batch,
    write_compared,
)
from mm_assets.drift.report import REPORT_FILE, DriftReport, Moved, read_drift_report

PARAMS = {
    "version": 2,
    "modalities": {
        "text": {"kind": "text", "column": "words", "encoder": {"name": "hashed_ngrams"}}
    },
    "targets": {"mood": {"kind": "multiclass", "column": "mood"}},
}


@pytest.fixture
def workspace(tmp_path):
    YAML().dump(PARAMS, tmp_path / "params.yaml")
    for name in ("b1", "b2", ".hidden", "a,b"):
        (tmp_path / "incoming" / name).mkdir(parents=True)
        (tmp_path / "incoming" / name / "samples.csv").write_text("id\n1\n")
    (tmp_path / "incoming/notes.txt").write_text("no batch")
    return Workspace(tmp_path)


def batches(workspace):
    return list_batches(drop_folder(workspace, DriftConfig()))


def make_report(name="b1", **changes):
    given = {
        "batch": name,
        "rows_in": 10,
        "rows_kept": 9,
        "reasons": (),
        "clashing": (),
        "p_value": 0.01,
        "psi": 0.25,
        "quarantined_share": 0.2,
        "compared": (),
    }
    return DriftReport(**{**given, **changes})


def compare(workspace, name):
    folder = workspace.drift / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT_FILE).write_text(make_report(name).model_dump_json())
    write_compared(folder, sign_batch(workspace.root / "incoming" / name))


def test_batches_are_folders_of_legal_names(workspace):
    assert list(batches(workspace)) == ["b1", "b2"]
    assert list_batches(workspace.root / "nowhere") == {}
    elsewhere = drop_folder(workspace, DriftConfig(folder="inbox"))
    assert elsewhere == workspace.root / "inbox"


def test_a_batch_is_the_same_wherever_it_lies_and_another_once_a_file_changes(workspace, tmp_path):
    folder = workspace.root / "incoming/b1"
    before = sign_batch(folder)
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    assert sign_batch(moved) == before
    (moved / "samples.csv").write_text("id\n1\n2\n")
    grown = sign_batch(moved)
    (moved / "x.png").write_bytes(b"")
    assert len({before, grown, sign_batch(moved)}) == 3
    (moved / "x.png").rename(moved / "y.png")
    assert sign_batch(moved) not in (before, grown)


def test_batches_wait_until_they_are_ingested_and_again_once_they_change(workspace):
    new, reports = find_waiting(workspace, batches(workspace))
    assert (list(new), reports) == (["b1", "b2"], {})
    compare(workspace, "b1")
    new, reports = find_waiting(workspace, batches(workspace))
    assert (list(new), list(reports)) == (["b2"], ["b1"])
    mark_ingested(workspace, {"b1": batches(workspace)["b1"]}, "run 1")
    new, reports = find_waiting(workspace, batches(workspace))
    assert (list(new), reports) == (["b2"], {})
    assert read_memory(workspace).ingested["b1"].run == "run 1"
    (workspace.root / "incoming/b1/more.png").write_bytes(b"1")
    new, reports = find_waiting(workspace, batches(workspace))
    assert (list(new), reports) == (["b1", "b2"], {})


def test_what_arrives_between_ingesting_and_the_commit_is_not_lost(workspace):
    """Even where it has been compared again: what was taken is another state."""
    compare(workspace, "b1")
    taken = batches(workspace)["b1"]
    (workspace.root / "incoming/b1/samples.csv").write_text("id\n1\n2\n")
    compare(workspace, "b1")
    mark_ingested(workspace, {"b1": taken}, "run 1")
    assert "b1" in find_waiting(workspace, batches(workspace))[1]


def test_why_a_batch_was_left_out_is_remembered_of_those_that_were_compared(workspace):
    compare(workspace, "b1")
    for name in ("b1", "b2", "../b1"):
        mark_left_out(workspace, name, "it clashes")
    assert read_left_out(workspace, "b1") == "it clashes"
    assert read_left_out(workspace, "b2") is None


def test_a_damaged_memory_is_named(workspace):
    workspace.drift.mkdir(parents=True)
    (workspace.drift / "ingested.json").write_text('{"ingested": 3}')
    with pytest.raises(
        StageError, match=r"(?s)ingested\.json has 1 problem.*rows that are in data/"
    ):
        read_memory(workspace)


def test_a_report_is_read_as_it_was_written_and_others_are_named(workspace):
    with pytest.raises(StageError, match=r"no drift report .* run `mm drift b1`"):
        read_drift_report(workspace.drift / "b1")
    compare(workspace, "b1")
    assert read_drift_report(workspace.drift / "b1") == make_report()
    newer = json.loads(make_report().model_dump_json()) | {"schema_version": 2}
    (workspace.drift / "b1" / REPORT_FILE).write_text(json.dumps(newer))
    with pytest.raises(StageError, match=r"`schema_version`.*\n.*run `mm drift b1`"):
        read_drift_report(workspace.drift / "b1")


def test_a_report_says_in_a_line_what_was_found():
    assert make_report().explain() == "b1: 10 rows, 1 of them bad; no drift"
    moved = Moved(
        name="audio",
        kind="vectors",
        reference_rows=9,
        batch_rows=9,
        statistic=0.1,
        p_value=0.001,
        adjusted=0.003,
        drifted=True,
    )
    said = make_report(compared=(moved,)).explain()
    assert said == "b1: 10 rows, 1 of them bad; drifted: audio vectors (p = 0.003)"
