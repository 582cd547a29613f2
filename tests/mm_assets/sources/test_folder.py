import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.errors import SourceError
from mm_assets.sources.folder import reconsider, survey_folder

ROWS = 120
RANDOM = np.random.default_rng(0)
NOTES = [f"The patient was seen on ward {at} and it is not yet clear" for at in range(ROWS)]


def table(**columns):
    base = {
        "id": [f"r{at}" for at in range(ROWS)],
        "note": NOTES,
        "label": ["good", "bad", "fair"] * (ROWS // 3),
    }
    return pd.DataFrame({**base, **columns})


def survey(folder, frame, **options):
    frame.to_csv(folder / "samples.csv", index=False)
    return survey_folder(folder, **options)


def roles(found):
    return {column.name: column.role for column in found.columns}


def the(found, name):
    return next(column for column in found.columns if column.name == name)


def test_a_plain_table_needs_no_question(tmp_path):
    frame = table(
        speaker=[f"s{at % 12}" for at in range(ROWS)],
        age=RANDOM.integers(18, 90, ROWS),
        plan=RANDOM.choice(["free", "paid"], ROWS),
        seen=["2020-01-01", "2020-01-02"] * (ROWS // 2),
    )
    found = survey(tmp_path, frame)
    assert roles(found) == {
        "id": "id",
        "note": "text",
        "label": "multiclass",
        "speaker": "group",
        "age": "numeric",
        "plan": "categorical",
        "seen": "unused",
    }
    assert found.unsure == ()
    assert found.notes == ()
    assert the(found, "speaker").reason.startswith("12 values, about 10 rows each: rows of one")


@pytest.mark.parametrize(
    ("name", "values", "role", "sure"),
    [
        ("churned", RANDOM.choice([0, 1], ROWS), "binary", False),
        ("price", RANDOM.normal(size=ROWS).round(3), "regression", False),
        ("target", RANDOM.normal(size=ROWS).round(3), "regression", True),
        ("rating", RANDOM.integers(1, 6, ROWS), "multiclass", False),
        ("y", ["yes", "no"] * (ROWS // 2), "binary", True),
        ("tags", ["a|b", "b|c", "c", "a"] * (ROWS // 4), "multilabel", True),
        ("情感标签", ["好", "坏", "好"] * (ROWS // 3), "binary", True),
        ("colour", RANDOM.choice(["red", "blue"], ROWS), "binary", False),
    ],
)
def test_a_target_is_told_by_name_and_values(tmp_path, name, values, role, sure):
    frame = table(**{name: values}).drop(columns="label")
    column = the(survey(tmp_path, frame), name)
    assert (column.role, column.sure) == (role, sure)


def test_targets_of_clear_names_are_all_learnt_and_unclear_names_are_not_needed(tmp_path):
    frame = table(
        sentiment=RANDOM.choice(["up", "down"], ROWS), score=RANDOM.normal(size=ROWS).round(2)
    )
    found = roles(survey(tmp_path, frame))
    assert (found["label"], found["sentiment"], found["score"]) == (
        "multiclass",
        "binary",
        "numeric",
    )


def test_ten_thousand_classes_are_asked_about(tmp_path):
    frame = pd.DataFrame({"id": [f"r{at}" for at in range(60_000)]})
    frame["text"] = "the number is " + frame["id"] + " and that is it"
    frame["label"] = [f"class {at % 10_000}" for at in range(60_000)]
    column = the(survey(tmp_path, frame), "label")
    assert (column.role, column.sure) == ("multiclass", False)
    assert "10000 classes" in column.reason
    assert "so many are seldom learnt" in column.reason


def test_dates_are_no_labels(tmp_path):
    frame = table(label=["2020-01-01", "2020-01-02", "2020-01-03"] * (ROWS // 3))
    assert the(survey(tmp_path, frame), "label").role == "unused"


@pytest.mark.parametrize(
    ("columns", "name", "sure", "reason"),
    [
        ({"id": None, "sampleId": [f"x{at}" for at in range(ROWS)]}, "sampleId", True, "differs"),
        ({"id": None, "code": [f"x{at}" for at in range(ROWS)]}, "code", True, "differs"),
        ({"id": None, "row": list(range(ROWS))}, "row", False, "it numbers the rows"),
        ({"id": [f"r{max(at, 1)}" for at in range(ROWS)]}, "id", False, "quarantined: 1"),
    ],
)
def test_the_id_is_what_differs_in_every_row(tmp_path, columns, name, sure, reason):
    frame = table(**columns).dropna(axis=1, how="all")
    (column,) = survey(tmp_path, frame).having("id")
    assert (column.name, column.sure) == (name, sure)
    assert reason in column.reason


def test_a_group_of_two_values_cannot_fill_three_splits(tmp_path):
    column = the(survey(tmp_path, table(speaker=["ann", "bob"] * (ROWS // 2))), "speaker")
    assert (column.role, column.sure) == ("unused", False)
    assert "it has 2 values, and three splits need 3" in column.reason


@pytest.mark.parametrize(
    ("values", "role", "sure"),
    [
        (["train", "test", "validation"], "split", True),
        (["train", "test", "dev"], "unused", False),
    ],
)
def test_a_split_is_taken_only_as_the_pipeline_reads_it(tmp_path, values, role, sure):
    column = the(survey(tmp_path, table(part=values * (ROWS // 3))), "part")
    assert (column.role, column.sure) == (role, sure)
    if role == "unused":
        assert "says dev, test, train; to use it, write train, validation, test" in column.reason


@pytest.mark.parametrize(
    ("leak", "reason"),
    [
        (lambda label, _: label.map({"good": 2, "fair": 1, "bad": 0}), "says in other words"),
        (lambda label, _: label, "says in other words"),
        (
            lambda label, noise: label + (noise > 0).map({True: "+", False: "-"}),
            "each of its 6 values goes with one value of the target",
        ),
        (
            lambda label, noise: label.map({"good": 20, "fair": 10, "bad": 0}) + noise,
            "the target's values are ranges of it",
        ),
    ],
)
def test_a_column_that_tells_the_label_is_left_out_and_marked(tmp_path, leak, reason):
    frame = table()
    noise = pd.Series(RANDOM.uniform(-1, 1, ROWS))
    name = "class" if "other words" in reason else "verdict"
    frame[name] = leak(frame["label"], noise)
    column = the(survey(tmp_path, frame), name)
    assert column.role == "unused"
    assert reason in column.reason


def test_a_leak_that_is_wanted_stays_and_is_still_marked(tmp_path):
    frame = table()
    frame["verdict"] = frame["label"].str.upper() + RANDOM.choice(["1", "2"], ROWS)
    column = the(survey(tmp_path, frame, roles={"verdict": "categorical"}), "verdict")
    assert (column.role, column.sure) == ("categorical", False)
    assert 'it gives "label" away' in column.reason


def test_a_leak_of_a_number_is_its_multiple(tmp_path):
    frame = table(label=RANDOM.normal(size=ROWS))
    frame["scaled"] = 3 * frame["label"] + 1
    frame["other"] = RANDOM.normal(size=ROWS)
    found = roles(survey(tmp_path, frame))
    assert (found["scaled"], found["other"]) == ("unused", "numeric")


def test_an_answer_changes_what_else_is_proposed(tmp_path):
    found = survey(tmp_path, table(colour=RANDOM.choice(["red", "blue"], ROWS)))
    assert roles(found)["colour"] == "categorical"
    again = reconsider(found, {"label": "unused"})
    assert roles(again)["colour"] == "binary"
    assert the(again, "label").reason == "as you said"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lable": "binary"}, r"no column 'lable'; it has id, note, label"),
        ({"note": "id", "label": "id"}, r"only one column can be the id, got note, label"),
        ({"note": "features"}, r"'note' cannot be features, .*here are texts of"),
    ],
)
def test_a_role_that_cannot_be_is_refused(tmp_path, given, message):
    with pytest.raises(SourceError, match=message):
        survey(tmp_path, table(), roles=given)


def test_of_several_tables_the_largest_is_taken_and_one_can_be_named(tmp_path):
    table().head(30).to_csv(tmp_path / "dev.csv", index=False)
    found = survey(tmp_path, table())
    assert (found.table.name, [other.name for other in found.others]) == (
        "samples.csv",
        ["dev.csv"],
    )
    named = survey_folder(tmp_path, table="dev.csv")
    assert (named.table.name, len(named.frame)) == ("dev.csv", 30)


def test_encoding_and_delimiter_are_found_and_noted(tmp_path):
    frame = table(note=[f"Der Zug kam {at} Minuten zu spät; schade für alle" for at in range(ROWS)])
    (tmp_path / "t.csv").write_bytes(frame.to_csv(index=False, sep=";").encode("cp1252"))
    found = survey_folder(tmp_path)
    assert (found.encoding, found.delimiter) == ("cp1252", ";")
    assert len(found.notes) == 2
    assert found.frame["note"].iloc[0].startswith("Der Zug kam 0 Minuten zu spät;")


def test_of_several_sheets_the_longest_is_taken_and_it_is_noted(tmp_path):
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        pd.DataFrame({"How to read this": ["…"]}).to_excel(book, sheet_name="Notes", index=False)
        table().to_excel(book, sheet_name="2024", index=False)
    found = survey_folder(tmp_path)
    assert found.sheet == "2024"
    assert found.notes == ('the workbook has sheets "Notes", "2024"; "2024" is the longest',)


@pytest.mark.parametrize("labels", [["Cat", "cat"], ["cat", "dog", "cat "]])
def test_classes_that_are_one_but_for_case_and_spaces_are_marked(tmp_path, labels):
    found = the(
        survey(tmp_path, table(label=[labels[n % len(labels)] for n in range(ROWS)])), "label"
    )
    assert not found.sure
    assert '"cat" count as two: write them in one way' in found.reason.replace('"cat "', '"cat"')


def test_a_number_that_is_missing_by_name_is_no_slip(tmp_path):
    found = the(
        survey(tmp_path, table(age=["nan", " "] + [str(n) for n in range(ROWS - 2)])), "age"
    )
    assert (found.role, found.sure, found.reason) == (
        "numeric",
        True,
        f"numbers from 0 to {ROWS - 3}",
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (None, "", r"no sample table in .*; it needs one with a row per sample, as one of \.csv"),
        ("t.csv", "id,label\n", r"t\.csv in .* has a header and no row; fill it"),
        ("t.csv", "", r"t\.csv is empty"),
        ("t.csv", "id,a\n1,2,3\n", r"line 2 has 3 cells"),
    ],
)
def test_a_folder_without_a_usable_table_is_refused(tmp_path, name, content, message):
    if name:
        (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=message):
        survey_folder(tmp_path)


def test_a_table_that_is_named_and_not_there_is_refused(tmp_path):
    table().to_csv(tmp_path / "here.csv", index=False)
    with pytest.raises(
        SourceError, match=r"--table must be a file of .*, got x.csv; there are here"
    ):
        survey_folder(tmp_path, table="x.csv")


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"FOLDER must be a folder that exists, got .*nowhere"):
        survey_folder(tmp_path / "nowhere")
