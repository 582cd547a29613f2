import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mm_assets.contracts.errors import ConfigError
from orchestration.dvc_project import DvcProject
from orchestration.dvc_stages import read_stages, remember_stages


def stages_by_target(root):
    return {stage.target: stage for stage in read_stages(root)}


def test_every_instance_of_a_loop_and_every_dvc_file_is_one_stage(root):
    stages = stages_by_target(root)
    assert {stage.target: stage.asset for stage in stages.values()} == {
        "data.dvc": "raw_data",
        "validate": "validated",
        "embed@left": "left_lengths",
        "embed@right": "right_lengths",
        "train": "train",
    }
    assert stages["embed@left"].description == "Lengths for left."
    assert stages["validate"].meta.owners == ("team:data",)
    assert str(stages["embed@left"].report) == "artifacts/reports/embed/left.json"
    assert stages["train"].report is None


def test_what_feeds_what_equals_the_graph_of_dvc(root):
    from dvc.repo import Repo

    stages = read_stages(root)
    found = {(a.target, b.target) for a in stages for b in stages if a is not b and a.feeds(b)}

    def name(stage):
        return getattr(stage, "name", None) or "data.dvc"

    with Repo(str(root)) as repo:  # an edge of DVC's points from a stage to what it needs
        assert found == {(name(before), name(stage)) for stage, before in repo.index.graph.edges}


def test_code_version_follows_the_definition_and_not_the_values(shell):
    before = stages_by_target(shell.root)
    shell.edit("params.yaml", "gate: 0.5", "gate: 0.6")
    assert stages_by_target(shell.root) == before
    shell.edit("dvc.yaml", "steps.py train", "steps.py train --fast")
    after = stages_by_target(shell.root)
    assert [t for t in after if after[t].definition != before[t].definition] == ["train"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "asset: validated",
            "asset: train",
            r"stages 'validate' and 'train' both name the Dagster asset 'train'; set another",
        ),
        (
            "group: data",
            "grup: data",
            r"`stages\.validate\.meta\.dagster\.grup` is not a known key; did you mean `group`",
        ),
        (
            "artifacts/reports/validate.json",
            "artifacts/validate.json",
            r"'validate' has `meta\.dagster\.checks` but no out under artifacts/reports/",
        ),
    ],
)
def test_wrong_meta_is_refused_by_name(shell, old, new, message):
    shell.edit("dvc.yaml", old, new)
    with pytest.raises(ConfigError, match=message):
        read_stages(shell.root)


def test_a_stage_has_no_version_before_its_first_success_and_data_has_that_of_its_file(root):
    records = DvcProject(root).read_records()
    written = YAML(typ="safe").load((root / "data.dvc").read_text())["outs"][0]["md5"]
    assert records["data.dvc"].version == written
    assert records["data.dvc"].up_to_date
    assert records["train"].version is None
    assert not records["train"].up_to_date


def test_version_of_a_single_out_is_the_hash_in_dvc_lock(finished):
    lock = YAML(typ="safe").load((finished.root / "dvc.lock").read_text())
    record = DvcProject(finished.root).read_records("train")["train"]
    assert record.version == lock["stages"]["train"]["outs"][0]["md5"]
    assert record.up_to_date


@pytest.mark.slow
def test_the_recorded_report_is_that_of_the_last_success(finished):
    report = finished.root / "artifacts/reports/validate.json"
    good = report.read_text()
    finished.edit("params.yaml", "gate: 0.5", "gate: 0.1")
    finished.dvc("repro", "-q", "validate", status=255)
    assert report.read_text() != good
    assert DvcProject(finished.root).read_records("validate")["validate"].report.read_text() == good


def test_targets_do_not_depend_on_the_current_folder(root, tmp_path, monkeypatch):
    from_here = [stage.target for stage in read_stages(root)]
    monkeypatch.chdir(root)
    assert [stage.target for stage in read_stages(root)] == from_here
    assert not any(re.search(r"/", target) for target in from_here)


@pytest.mark.slow
def test_a_project_that_stays_open_sees_every_change(finished):
    project = DvcProject(finished.root)

    def stale():
        return {t for t, record in project.read_records().items() if not record.up_to_date}

    assert stale() == set()
    finished.edit("params.yaml", "left: {scale: 1}", "left: {scale: 5}")
    assert stale() == {"embed@left"}
    (finished.root / "data" / "rows.txt").write_text("more")
    assert stale() == {"embed@left", "validate", "data.dvc"}
    finished.dvc("repro", "-q")
    assert stale() == set()


def test_what_lies_elsewhere_is_known_by_its_address_and_connects_stages(shell):
    shell.edit("dvc.yaml", "deps: [data, steps.py]", "deps: [data, 'https://example.com/words']")
    shell.edit("dvc.yaml", "outs: [artifacts/model]", "outs: [artifacts/model, /elsewhere/model]")
    stages = stages_by_target(shell.root)
    assert [str(dep) for dep in stages["validate"].deps] == ["data", "https:/example.com/words"]
    assert (shell.root / stages["train"].outs[0]).resolve() == shell.root / "artifacts/model"
    assert (shell.root / stages["train"].outs[1]).resolve() == Path("/elsewhere/model")


@pytest.mark.slow
def test_a_file_that_templates_are_filled_from_is_watched_while_a_project_stays_open(shell):
    (shell.root / "sizes.yaml").write_text("size: 3")
    shell.edit("dvc.yaml", "stages:", "vars: [sizes.yaml]\nstages:")
    shell.edit("dvc.yaml", "python steps.py train", "python steps.py train ${size}")
    shell.dvc("repro", "-q")
    project = DvcProject(shell.root)
    assert project.read_records("train")["train"].up_to_date
    (shell.root / "sizes.yaml").write_text("size: 40")
    assert not project.read_records("train")["train"].up_to_date


def test_names_that_an_asset_cannot_have_are_made_valid_and_stay_apart(root):
    (root / "dvc.yaml").write_text(
        "stages: {a-b: {cmd: ls, deps: [data]}, a_b: {cmd: ls}, "
        "many: {foreach: [x.1, x-1], do: {cmd: 'ls ${item}'}}}"
    )
    names = {stage.target: stage.asset for stage in read_stages(root)}
    assert names["a_b"] == "a_b"
    assert len(set(names.values())) == len(names)
    assert all(re.fullmatch(r"\w+", name, re.ASCII) for name in names.values())
    (root / "dvc.yaml").write_text("stages: {many: {foreach: [x-1], do: {cmd: 'ls ${item}'}}}")
    assert [stage.asset for stage in read_stages(root)] == ["many_x_1"]


def test_within_a_block_a_project_is_read_once_and_after_it_anew(shell):
    with remember_stages():
        before = read_stages(shell.root)
        shell.edit("dvc.yaml", "desc: Rows that are words.", "desc: Words.")
        assert read_stages(shell.root) == before
    assert read_stages(shell.root) != before


def test_an_open_project_has_the_same_stages_and_notices_what_changes(shell):
    project = DvcProject(shell.root)
    assert project.read_stages() == read_stages(shell.root)
    shell.edit("dvc.yaml", "desc: Rows that are words.", "desc: Words.")
    assert project.read_stages() == read_stages(shell.root)


def test_what_waits_for_its_turn_is_superseded_by_what_is_recorded_of_its_input(finished):
    project = DvcProject(finished.root)
    assert not any(one.superseded for one in project.read_records(judge=False).values())
    (finished.root / "artifacts/validated/rows.txt").write_text("one two")
    finished.dvc("commit", "-f", "-q", "validate")
    records = project.read_records()
    found = {target for target, record in records.items() if record.superseded}
    assert found == {
        "embed@left",
        "embed@right",
    }  # `train` reads outs of theirs, which are as before
    assert not any(records[target].up_to_date for target in found)
