import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from PIL import Image

from mm_assets.contracts.errors import ConfigError, SourceError, StageError
from mm_assets.sources.raw_data import bind_remote
from mm_assets.stages.quarantine import find_rows, look_at_row, read_quarantine, restore_rows
from mm_assets.stages.run import check_data

pytestmark = pytest.mark.slow  # each runs validate on a small table


class Survey:
    """A folder of data that has been checked where it lies; DVC does not know it."""

    def __init__(self, small):
        small.load()
        self.root, self.folder = small.root, small.root / "survey"
        (small.root / "data").rename(self.folder)
        check_data(self.root, self.folder)

    def restore(self, *names, changes=None, files=None):
        found = read_quarantine(self.root)
        rows = find_rows(found, names)
        return restore_rows(found, rows, changes=changes or {}, files=files or {})

    def list_reasons(self):
        check_data(self.root, self.folder)
        return read_quarantine(self.root).findings.set_index("row")["reason"].to_dict()

    def read_all(self):
        return {p: p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}


@pytest.fixture
def survey(small):
    """Rows 4 to 14 of the table are bad, each in its own way."""
    table = small.table
    whole = (small.root / "data/3.png").read_bytes()
    (small.root / "data/3.png").write_bytes(whole[:200])
    table.loc[4, "words"] = " "
    table.loc[5, "vector"] = "[1, 2]"
    table.loc[6, "feeling"] = "odd"
    table.loc[8, "id"] = "s7"
    cells = ["words", "file", "vector"]
    table.loc[11, cells] = table.loc[10, cells]
    table.loc[12, [*cells, "feeling"]] = table.loc[13, [*cells, "feeling"]]
    table.loc[20, "file"] = "../outside.png"
    small.params["gates"] = {"quarantined_share": 0.5}
    return Survey(small)


REASONS = {
    4: "image_truncated",
    5: "text_empty",
    6: "vector_length",
    7: "label_unknown",
    9: "id_duplicated",
    11: "label_contradicted",
    12: "label_contradicted",
    14: "content_duplicated",
    21: "path_outside_data",
}


def test_each_row_is_found_by_its_id_or_its_number(survey):
    found = read_quarantine(survey.root)
    assert survey.list_reasons() == REASONS
    assert find_rows(found, ["s3", "5", "s3"]) == [4, 5]
    with pytest.raises(SourceError, match=r"no row 's2' is in quarantine; `mm quarantine ls`"):
        find_rows(found, ["s2"])


def test_an_id_of_several_quarantined_rows_asks_for_the_number(survey):
    found = read_quarantine(survey.root)
    findings = found.findings.assign(id="x")
    with pytest.raises(SourceError, match=r"have the id 'x': rows 4, 5.*name one by its number"):
        find_rows(type(found)(found.project, findings, False), ["x"])


def test_everything_about_a_row_is_shown(survey):
    view = look_at_row(read_quarantine(survey.root), 4)
    assert (view.row, view.id) == (4, "s3")
    assert view.cells["words"] == "message number 3"
    assert view.files == {"photo": survey.folder / "3.png"}
    ((modality, reason, detail, advice),) = view.findings
    assert (modality, reason) == ("photo", "image_truncated")
    assert "truncated" in detail
    assert "--file MODALITY=PATH" in advice


def test_a_path_that_leads_outside_is_no_file_to_show(survey):
    assert look_at_row(read_quarantine(survey.root), 21).files == {}


@pytest.mark.parametrize(
    ("name", "changes", "row"),
    [
        ("s4", {"words": "mended"}, 5),
        ("s4", {"words": None}, 5),
        ("s5", {"vector": "[1, 2, 3]"}, 6),
        ("s6", {"feeling": "sad"}, 7),
        ("s6", {"feeling": None}, 7),
        ("s7", {"id": "new"}, 9),
        ("14", {"words": "of its own"}, 14),
        ("s20", {"file": None}, 21),
    ],
)
def test_a_mended_cell_takes_a_row_back_and_changes_no_other(survey, name, changes, row):
    before = survey.read_all()
    lines = survey.restore(name, changes=changes)
    after = survey.read_all()
    table = survey.folder / "samples.csv"
    assert lines[0].startswith(f"row {row} (")
    assert lines[0].endswith("is taken back")
    changed = [path for path in after if after[path] != before.get(path)]
    assert (changed, len(after)) == ([table], len(before))
    old, new = (text.decode().splitlines() for text in (before[table], after[table]))
    assert [at for at, line in enumerate(old) if line != new[at]] == [row]
    assert survey.list_reasons() == {at: why for at, why in REASONS.items() if at != row}


def test_a_file_that_was_replaced_by_hand_is_confirmed(survey):
    Image.new("RGB", (16, 12), "red").save(survey.folder / "3.png")
    before = survey.read_all()
    assert survey.restore("s3") == ["row 4 (s3) is taken back"]
    assert survey.read_all() == before
    assert 4 not in survey.list_reasons()


def test_a_better_file_takes_the_place_of_the_one_that_the_cell_names(survey, tmp_path):
    better = tmp_path / "better.png"
    Image.new("RGB", (16, 12), "red").save(better)
    before = survey.read_all()
    survey.restore("s3", files={"photo": better})
    after = survey.read_all()
    assert [path.name for path in after if after[path] != before.get(path)] == ["3.png"]
    assert after[survey.folder / "3.png"] == better.read_bytes()
    assert after.keys() == before.keys()
    assert 4 not in survey.list_reasons()


def test_where_the_cell_names_no_place_the_file_keeps_its_name_and_the_cell_names_it(
    survey, tmp_path
):
    better = tmp_path / "better.png"
    Image.new("RGB", (16, 12), "red").save(better)
    survey.restore("s20", files={"photo": better})
    table = pd.read_csv(survey.folder / "samples.csv")
    assert table.loc[20, "file"] == "better.png"
    assert (survey.folder / "better.png").read_bytes() == better.read_bytes()
    assert 21 not in survey.list_reasons()


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (
            ["s3"],
            {},
            r"row 4 \(s3\) is still bad: photo: image_truncated: .*; the copy or download",
        ),
        (["s6"], {"feeling": "glum"}, r"row 7 \(s6\) is still bad: label_unknown: .*got 'glum'"),
        (["9"], {"id": "s1"}, r"row 9 \(s1\) is still bad: id_duplicated"),
        (["14"], {}, r"row 14 \(s13\) is still bad: content_duplicated: .* as s12; nothing, if"),
        (["s10"], {}, r"row 11 \(s10\) is still bad: label_contradicted"),
        (["s4", "s5"], {"words": "good"}, r"row 6 \(s5\) is still bad: scan: vector_length"),
        (["s4"], {"wrds": "good"}, r"samples.csv has no column 'wrds'; it has id, who, words"),
    ],
)
def test_a_row_that_is_still_bad_is_refused_and_nothing_changes(survey, names, changes, message):
    before = survey.read_all()
    with pytest.raises(SourceError, match=message):
        survey.restore(*names, changes=changes)
    assert survey.read_all() == before


def test_a_file_that_is_no_better_is_refused_and_the_old_one_comes_back(survey, tmp_path):
    (tmp_path / "worse.png").write_text("no picture")
    before = survey.read_all()
    with pytest.raises(SourceError, match=r"image_unreadable.*\n  nothing was changed"):
        survey.restore("s3", files={"photo": tmp_path / "worse.png"}, changes={"words": "x"})
    with pytest.raises(SourceError, match="image_unreadable"):
        survey.restore("s20", files={"photo": tmp_path / "worse.png"})
    assert survey.read_all() == before


def test_a_row_that_would_make_a_kept_one_bad_is_refused(survey):
    """Row 5 comes before row 16 and would be the first with its content."""
    table = pd.read_csv(survey.folder / "samples.csv")
    same = {"words": table.loc[15, "words"], "vector": table.loc[15, "vector"]}
    same["file"] = table.loc[15, "file"]
    same = {name: None if pd.isna(value) else value for name, value in same.items()}
    with pytest.raises(SourceError, match=r"row 16 \(s15\) would be bad then: .*_"):
        survey.restore("s4", changes=same)


def test_rows_that_contradicted_each_other_and_now_agree_keep_one(survey):
    (line,) = survey.restore("s11", changes={"feeling": "sad"})
    assert line == ("row 12 (s11) is mended; it has the same content as s10, of which one stays")
    found = survey.list_reasons()
    assert (found.get(11), found[12]) == (None, "content_duplicated")


@pytest.mark.parametrize(
    ("names", "key", "error", "message"),
    [
        (["s3"], "text", ConfigError, r"--file needs a modality whose cells name files \(photo\)"),
        (["s3", "s4"], "photo", SourceError, r"--file mends one row at a time, got rows \[4, 5\]"),
    ],
)
def test_a_file_for_nothing_is_refused(survey, names, key, error, message):
    with pytest.raises(error, match=message):
        survey.restore(*names, files={key: survey.folder / "0.png"})


def test_a_file_that_is_not_there_is_refused(survey):
    with pytest.raises(SourceError, match=r"--file photo=.*gone.png: there is no such file"):
        survey.restore("s3", files={"photo": survey.folder / "gone.png"})


def test_a_file_that_a_kept_row_uses_is_not_replaced(survey):
    with pytest.raises(SourceError, match=r"row 31, which was kept, uses '30.png' too"):
        survey.restore("s3", changes={"file": "30.png"}, files={"photo": survey.folder / "0.png"})


def test_a_name_that_is_taken_is_not_overwritten(survey):
    with pytest.raises(SourceError, match=r"names no file in .* and '0.png' is there already"):
        survey.restore("s20", files={"photo": survey.folder / "0.png"})


def test_a_table_that_changed_since_is_looked_at_again_first(survey):
    table = survey.folder / "samples.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(StageError, match=r"row 4 was 's3' .* and is 's4' now.*run `mm check`"):
        survey.restore("s3")
    table.write_text("".join(lines[:3]))
    with pytest.raises(StageError, match=r"row 4 was 's3' when it was looked at and is None now"):
        look_at_row(read_quarantine(survey.root), 4)


def test_nothing_validated_yet_says_what_to_run(small):
    small.load()
    with pytest.raises(StageError, match=r"nothing has been validated yet; run `mm check`"):
        read_quarantine(small.root)


def test_the_newer_of_pipeline_and_check_counts(small):
    from mm_assets.stages.validate import validate

    small.table.loc[3, "file"] = "gone.png"
    check_data(small.root) if small.load() else None
    assert read_quarantine(small.root).findings["row"].tolist() == [4]
    small.table.loc[3, "file"] = None
    small.table.loc[8, "feeling"] = "odd"
    project = small.load()
    validate(project)
    found = read_quarantine(small.root)
    assert found.findings["row"].tolist() == [9]
    assert found.project.workspace == project.workspace
    assert found.is_versioned
    elsewhere = small.root / "elsewhere"
    shutil.copytree(small.root / "data", elsewhere)
    check_data(small.root, elsewhere)
    found = read_quarantine(small.root)
    assert (found.project.workspace.data, found.is_versioned) == (elsewhere, False)


def test_the_mended_data_is_recorded_with_dvc(small):
    small.table.loc[8, "feeling"] = "odd"
    small.load()
    for command in (
        ["init", "--no-scm", "-q"],
        ["remote", "add", "-q", "sample", ".dvc/sample"],
        ["add", "-q", "data"],
        ["push", "-q", "--remote", "sample", "data"],
    ):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=small.root, check=True)
    check_data(small.root)
    assert not bind_remote(small.root)
    before = (small.root / "data.dvc").read_text()
    assert "remote: sample" in before
    found = read_quarantine(small.root)
    said = restore_rows(found, [9], changes={"feeling": "sad"}, files={})
    assert said == [
        "row 9 (s8) is taken back",
        "data.dvc no longer names the remote `sample`, which does not hold this version of data/: "
        "`dvc push` needs a remote of your own (`dvc remote add --default NAME URL`)",
    ]
    assert restore_rows(found, [9], changes={"feeling": "glad"}, files={}) == said[:1]
    assert (small.root / "data.dvc").read_text() != before
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json", "data.dvc"],
        cwd=small.root, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(status.stdout) == {}


def test_a_column_that_was_renamed_since_is_named(survey):
    table = next(survey.folder.glob("*.csv"))
    header, rest = table.read_text().split("\n", 1)
    table.write_text(header.replace("words", "wording") + "\n" + rest)
    message = (
        r"has no column 'words', which `modalities.text.column` in params.yaml names: .*mm check"
    )
    with pytest.raises(StageError, match=message):
        look_at_row(read_quarantine(survey.root), 5)
    with pytest.raises(StageError, match=message):
        survey.restore("5")


def test_a_check_that_is_stopped_leaves_no_rows_of_one_folder_under_another(survey, monkeypatch):
    other = survey.root / "other"
    shutil.copytree(survey.folder, other)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mm_assets.stages.validate.check_samples", stop)
    with pytest.raises(KeyboardInterrupt):
        check_data(survey.root, other)

    found = read_quarantine(survey.root)
    assert found.project.workspace.data == other.resolve()
