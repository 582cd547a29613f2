import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from mm_assets.contracts.config import SplitConfig, parse_config
from mm_assets.contracts.errors import SourceError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.splits import assign_splits
from mm_assets.sources.folder import survey_folder
from mm_assets.sources.proposal import write_proposal
from mm_assets.stages.project import build_project

ROOT = Path(__file__).parents[3]
ROWS = 120
RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "id": [f"r{at}" for at in range(ROWS)],
        "customer": [f"c{at % 10}" for at in range(ROWS)],
        "What happened?": [f"the service was not good on day {at} of it" for at in range(ROWS)],
        "vector": ["[1, 2.5]"] * (ROWS // 2) + ["[3, 4]"] * (ROWS // 2),
        "age": RANDOM.integers(18, 90, ROWS),
        "yes": RANDOM.choice(["no", "on", "1"], ROWS),
        "姓名: #": RANDOM.choice(["a: b", '"c"'], ROWS),
        "label": ["2", "10"] * (ROWS // 2),
        "topics": ["a;b", "b", "c", "a"] * (ROWS // 4),
        "seen": ["2020-01-01", "2020-01-02"] * (ROWS // 2),
    }
)


def propose(folder, frame, **options):
    frame.to_csv(folder / "samples.csv", index=False)
    text = write_proposal(survey_folder(folder, **options))
    raw = YAML(typ="safe").load(text)
    build_project(parse_config(raw), Workspace(folder))
    return text, raw


def test_a_proposal_is_a_valid_project_with_every_section_of_the_shipped_one(tmp_path):
    text, raw = propose(tmp_path, TABLE)
    shipped = YAML(typ="safe").load((ROOT / "recipes/sample.yaml").read_text())
    assert raw.keys() == shipped.keys()
    assert raw["data"] == {"table": "samples.csv", "id": "id", "group": "customer"}
    assert raw["modalities"] == {
        "what_happened": {
            "kind": "text",
            "column": "What happened?",
            "encoder": {"name": "minilm"},
        },
        "vector": {
            "kind": "features",
            "column": "vector",
            "options": {"dim": 2},
            "encoder": {"name": "standardized"},
        },
        "tabular": {
            "kind": "tabular",
            "columns": {"age": "numeric", "yes": "categorical", "姓名: #": "categorical"},
            "encoder": {"name": "tabular"},
        },
    }
    assert raw["targets"] == {
        "label": {"kind": "binary", "column": "label", "classes": ["2", "10"]},
        "topics": {"kind": "multilabel", "column": "topics", "options": {"separator": ";"}},
    }
    assert raw["evaluation"]["slices"] == ["yes", "姓名: #"]
    assert '# Columns that are not used:\n# "seen": dates' in text
    assert "UNSURE" not in text


def test_every_reason_stands_above_its_choice(tmp_path):
    lines = propose(tmp_path, TABLE)[0].splitlines()
    assert lines[lines.index("  id: id") - 1] == "  # it differs in every row"
    assert lines[lines.index("      age: numeric") - 1].startswith("      # numbers from ")
    assert lines[lines.index("  label:") - 1].startswith('  # two values; "')
    assert max(map(len, lines)) <= 100


def test_the_seed_cuts_groups_near_the_shares(tmp_path):
    text, raw = propose(tmp_path, TABLE)
    splits = assign_splits(TABLE["customer"], shares=SplitConfig(), seed=raw["seed"])
    groups = TABLE["customer"].groupby(splits).nunique()
    assert f"{groups['train']}, {groups['validation']} and {groups['test']} for train" in (
        " ".join(text.replace("#", "").split())
    )
    assert groups["train"] in (6, 7, 8)
    assert min(groups) >= 1


@pytest.mark.slow
def test_looked_at_again_a_grown_table_keeps_seed_and_shares(tmp_path):
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    first = YAML(typ="safe").load(write_proposal(survey_folder(tmp_path)))
    first |= {"seed": 4242, "split": {"train": 0.5, "validation": 0.25, "test": 0.25}}
    before = parse_config(first)
    grown = TABLE.assign(customer=TABLE["customer"] + "b", id=TABLE["id"] + "b")
    pd.concat([TABLE, grown]).to_csv(tmp_path / "t.csv", index=False)

    again = parse_config(
        YAML(typ="safe").load(write_proposal(survey_folder(tmp_path), before=before))
    )
    assert (again.seed, again.split) == (4242, before.split)
    other = before.model_copy(update={"data": before.data.model_copy(update={"group": None})})
    anew = YAML(typ="safe").load(write_proposal(survey_folder(tmp_path), before=other))
    assert anew["seed"] != 4242


@pytest.mark.parametrize("count", [3, 4, 5])
def test_few_groups_still_fill_every_split(tmp_path, count):
    frame = TABLE.assign(customer=[f"c{at % count}" for at in range(ROWS)])
    _, raw = propose(tmp_path, frame)
    splits = assign_splits(frame["customer"], shares=SplitConfig(), seed=raw["seed"])
    assert set(splits) == {"train", "validation", "test"}


def test_what_is_unsure_is_marked_where_it_stands(tmp_path):
    frame = TABLE.drop(columns=["label", "topics"]).rename(columns={"age": "score"})
    (tmp_path / "other.csv").write_text("id\n")
    lines = propose(tmp_path, frame)[0].splitlines()
    assert lines[lines.index("  score:") - 1].startswith("  # UNSURE: perhaps what is to be pred")
    above = lines[lines.index("  table: samples.csv") - 2]
    assert above.startswith('  # UNSURE: the folder also has "other.csv"; this one is the largest')


def test_slips_among_classes_are_left_out_and_marked(tmp_path):
    frame = pd.concat([TABLE] * 10, ignore_index=True).assign(id=range(10 * ROWS))
    frame.loc[5, "label"] = "lots"
    text, raw = propose(tmp_path, frame)
    assert raw["targets"]["label"]["classes"] == ["2", "10"]
    assert "# UNSURE: too rare to be learnt, so their rows will be quarantined: lots; " in text


def test_many_classes_are_left_to_the_training_rows(tmp_path):
    frame = pd.concat([TABLE] * 10, ignore_index=True).assign(id=range(10 * ROWS))
    frame["label"] = [f"k{at % 60}" for at in range(10 * ROWS)]
    text, raw = propose(tmp_path, frame)
    assert "classes" not in raw["targets"]["label"]
    assert "`classes` is left out: they are those of the training rows" in text


def test_names_are_made_distinct_and_legal(tmp_path):
    frame = TABLE.assign(Label=RANDOM.choice(["u", "v"], ROWS), Id="x", GROUP="y")
    frame["GROUP"] = TABLE["What happened?"] + "!"
    frame["文本"] = TABLE["What happened?"] + "?"
    _, raw = propose(tmp_path, frame, roles={"Label": "binary"})
    assert list(raw["targets"]) == ["label", "topics", "label_2"]
    assert [key for key in raw["modalities"] if key.startswith(("group", "text"))] == [
        "group_2",
        "text",
    ]


@pytest.mark.slow
def test_encoding_delimiter_and_sheet_are_written(tmp_path):
    frame = TABLE.assign(note="schön für alle, größer")
    (tmp_path / "t.csv").write_bytes(
        frame.drop(columns="姓名: #").to_csv(index=False, sep="\t").encode("cp1252")
    )
    text = write_proposal(survey_folder(tmp_path))
    data = YAML(typ="safe").load(text)["data"]
    assert (data["encoding"], data["delimiter"]) == ("cp1252", "\t")
    assert '# UNSURE: delimiter "\\t": the header has no ","' in text

    (tmp_path / "t.csv").unlink()
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        for year in ("2023", "2024"):
            TABLE.to_excel(book, sheet_name=year, index=False)
    config = parse_config(YAML(typ="safe").load(write_proposal(survey_folder(tmp_path))))
    assert config.data.sheet == "2023"


def test_rows_that_no_column_names_are_named_by_their_content_and_it_is_marked(tmp_path):
    TABLE[["customer", "label", "age"]].to_csv(tmp_path / "t.csv", index=False)
    text = write_proposal(survey_folder(tmp_path))

    assert "# UNSURE: No column names the rows, so each is named by its content" in text
    assert parse_config(YAML(typ="safe").load(text)).data.id is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["id", "What happened?"], r"no column looks like a label to predict; name one with `mm "),
        (["id", "seen"], r"columns are id, seen \(dates, such as \"2020-01-01\", which no kind"),
        (["id", "label"], r"no column is left to predict from; .*the columns are id, label"),
    ],
)
def test_a_table_that_lacks_a_role_says_how_to_name_one(tmp_path, columns, message):
    with pytest.raises(SourceError, match=message):
        propose(tmp_path, TABLE[columns])


@pytest.mark.parametrize(
    ("role", "values", "message"),
    [
        ("binary", ["cat"], r"cannot be binary, which needs 2 classes; it has \"cat\" alone; say"),
        (
            "multiclass",
            ["cat"],
            r"cannot be multiclass, which needs at least 2 classes; it has \"cat",
        ),
        ("multiclass", [None], r"cannot be multiclass, .*; it has no value; say what else it is"),
        (
            "binary",
            ["a", "b", "c"],
            r"column 'pet' cannot be binary, .*; it has 3 values; .*--as COL",
        ),
    ],
)
def test_a_target_whose_values_are_no_classes_is_refused(tmp_path, role, values, message):
    pets = [values[n % len(values)] for n in range(len(TABLE))]
    with pytest.raises(SourceError, match=message):
        propose(tmp_path, TABLE.assign(pet=pets), roles={"pet": role})


def test_many_classes_that_are_all_rare_are_left_to_the_training_rows(tmp_path):
    pets = [f"pet {n}" for n in range(len(TABLE))]
    _, raw = propose(tmp_path, TABLE.assign(pet=pets), roles={"pet": "multiclass"})
    assert "classes" not in raw["targets"]["pet"]


def test_signals_events_sequences_and_videos_are_proposed(tmp_path):
    np.save(tmp_path / "ecg.npy", np.zeros((2, 500), np.float32))
    (tmp_path / "clip.mp4").write_bytes(b"")
    (tmp_path / "clip2.mp4").write_bytes(b"")
    frame = pd.DataFrame(
        {
            "id": [f"r{at}" for at in range(ROWS)],
            "trace": ["ecg.npy", "./ecg.npy"] * (ROWS // 2),
            "clip": ["clip.mp4", "clip2.mp4"] * (ROWS // 2),
            "visits": ['[[0, "view"]]', '[[1, "buy", 3]]'] * (ROWS // 2),
            "poses": ["[[1, 2, 3]]", "[[1, 2, 3], [4, 5, 6]]"] * (ROWS // 2),
            "label": ["2", "10"] * (ROWS // 2),
        }
    )
    text, raw = propose(tmp_path, frame)
    found = {
        key: (m["kind"], m.get("options"), m["encoder"]["name"])
        for key, m in raw["modalities"].items()
    }
    assert found == {
        "trace": ("signal", {"rate_hz": 100.0, "channels": 2}, "signal_statistics"),
        "clip": ("video", None, "video_frames"),
        "visits": ("events", None, "event_counts"),
        "poses": ("features", {"dim": 3, "sequence": True}, "standardized_steps"),
    }
    assert "UNSURE: paths of .npy files" in text
    assert "`rate_hz`, the samples a second" in re.sub(r"\s*#?\s+", " ", text)
