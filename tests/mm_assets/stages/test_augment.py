import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mm_assets.contracts.errors import StageError
from mm_assets.data.splits import assign_splits
from mm_assets.stages.augment import add_copies, augment
from mm_assets.stages.validate import validate


def run(small):
    project = small.load()
    validate(project)
    report = augment(project)
    return project, report, pd.read_parquet(project.workspace.augmented / "samples.parquet")


@pytest.mark.slow
def test_training_rows_alone_have_copies_right_after_them(small):
    _, report, rows = run(small)
    assert list(rows.columns) == [
        "id", "copy", "split", "group", "render", "text", "photo", "scan", "mood",
    ]  # fmt: skip
    assert not report.blocks
    for (_, split), copies in rows.groupby(["id", "split"])["copy"]:
        assert copies.tolist() == ([0, 1, 2] if split == "train" else [0])
    assert rows["id"].drop_duplicates().tolist() == small.table["id"].tolist()
    assert report.rows_out == len(rows) == 60 + report.metrics["copies"]
    assert sum(report.metrics[f"{s}_rows"] for s in ("train", "validation", "test")) == 60


@pytest.mark.slow
def test_splits_are_those_of_the_groups(small):
    project, _, rows = run(small)
    samples = rows[rows["copy"] == 0]
    expected = assign_splits(samples["group"], shares=project.config.split, seed=3)
    assert samples["split"].tolist() == expected.tolist()


@pytest.mark.slow
def test_a_copy_says_how_each_of_its_modalities_is_rendered(small):
    project, _, rows = run(small)
    assert rows.loc[rows["copy"] == 0, "render"].isna().all()
    for row in rows[rows["copy"] > 0].to_dict("records"):
        present = {key for key in project.modalities if isinstance(row[key], str)}
        assert set(json.loads(row["render"])) == present


@pytest.mark.slow
def test_a_plan_depends_on_nothing_but_its_own_sample(small):
    _, _, before = run(small)
    small.table = small.table.iloc[::-1].drop(index=[10, 11])
    _, _, after = run(small)
    plans = before.set_index(["id", "copy"])["render"]
    found = after.set_index(["id", "copy"])["render"]
    assert found.dropna().equals(plans.loc[found.index].dropna())
    assert plans.dropna().is_unique


@pytest.mark.slow
def test_another_seed_renders_otherwise(small):
    small.params["data"]["split"] = "part"
    small.table["part"] = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    _, _, before = run(small)
    small.params["seed"] = 4
    _, _, after = run(small)
    copies = before["copy"] > 0
    assert (before.loc[copies, "render"] != after.loc[copies, "render"]).all()
    assert before.drop(columns="render").equals(after.drop(columns="render"))


@pytest.mark.slow
def test_no_copies_leave_the_samples(small):
    small.params["augment"]["copies"] = 0
    _, report, rows = run(small)
    assert len(rows) == 60
    assert rows["render"].isna().all()
    assert not report.blocks


@pytest.mark.slow
def test_two_runs_give_equal_bytes(small, read_bytes):
    project, first, _ = run(small)
    files = read_bytes(project.workspace.augmented)
    assert augment(project) == first
    assert read_bytes(project.workspace.augmented) == files


def test_the_contact_sheet_shows_pictures_beside_their_copies(small):
    small.params["modalities"] = {"photo": small.params["modalities"]["photo"]}
    red = np.zeros((12, 16, 3), dtype=np.uint8) + np.array([200, 0, 0], dtype=np.uint8)
    for n in range(60):
        Image.fromarray(red + np.uint8(n % 40)).save(small.root / f"data/{n}.png")
    small.table["file"] = [f"{n}.png" for n in range(60)]
    small.params["gates"] = {"quarantined_share": 1.0}
    project, report, _ = run(small)
    (plot,) = report.plots
    with Image.open(project.workspace.root / plot.path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    red_share = ((pixels[..., 0] > 150) & (pixels[..., 1] < 90)).mean()
    assert red_share > 0.3


def test_a_picture_that_broke_since_validation_names_sample_and_file(small):
    project = small.load()
    validate(project)
    for picture in project.workspace.data.glob("*.png"):
        picture.write_bytes(b"no picture")
    with pytest.raises(
        StageError,
        match=r"^augment: photo of sample '\w+' \(\w+\.png\) was valid and cannot be used now: "
        r"image_unreadable: .*; the data changed, so run `dvc repro` to validate it again$",
    ):
        augment(project)
    assert not project.workspace.augmented.exists()


@pytest.mark.parametrize("change", [{"feeling": "odd"}, {"id": None}])
def test_without_a_valid_row_it_says_where_to_look(small, change):
    small.table = small.table.assign(**change)
    with pytest.raises(
        StageError, match=r"stage validate left none; artifacts/pages/validate.html s"
    ):
        run(small)


@pytest.mark.slow
def test_a_group_in_two_given_splits_never_gets_here(small):
    small.params["data"]["split"] = "part"
    small.params["gates"] = {"quarantined_share": 0.1}
    small.table["part"] = ["train"] * 41 + ["validation"] * 9 + ["test"] * 10
    _, report, rows = run(small)
    assert "g20" not in set(rows["group"])
    assert not report.blocks


@pytest.mark.parametrize("copies", [0, 1, 3])
def test_copies_follow_their_sample(copies):
    samples = pd.DataFrame({"id": ["a", "b", "c"], "split": ["train", "test", "train"]})
    rows = add_copies(samples, copies=copies)
    assert rows["id"].tolist() == ["a"] * (1 + copies) + ["b"] + ["c"] * (1 + copies)
    assert rows.index.tolist() == list(range(len(rows)))
