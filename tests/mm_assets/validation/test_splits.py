import pandas as pd
import pytest

from mm_assets.validation.splits import check_splits

ROWS = pd.DataFrame(
    {
        "id": ["a", "a", "b", "c", "d", "e", "f"],
        "copy": [0, 1, 0, 0, 0, 0, 0],
        "split": ["train", "train", "train", "validation", "validation", "test", "test"],
        "group": ["1", "1", "2", "3", "3", "4", "4"],
        "mood": ["glad", "glad", "sad", "glad", "sad", "glad", "sad"],
    }
)
CONTENT = pd.Series({name: f"content {name}" for name in "abcdef"})
MEDIA = pd.DataFrame({"id": list("abcdef"), "modality": "photo", "content": list("uvwxyz")})


def check(rows=ROWS, content=CONTENT, media=MEDIA):
    moods = rows.loc[rows["copy"] == 0, "mood"].dropna()
    return check_splits(rows, content, media=media, outlines={"mood": moods})


def change(column, values):
    return ROWS.assign(**{column: ROWS["id"].map(values).fillna(ROWS[column])})


def test_sound_splits_pass():
    suite = check()
    assert suite.name == "splits_are_sound"
    assert suite.passed


@pytest.mark.parametrize(
    ("altered", "expected", "observed"),
    [
        (
            {"rows": change("group", {"e": "2"})},
            "each group is in one split",
            "2 of 5 unexpected (40.0 %): 2",
        ),
        (
            {"content": CONTENT.replace("content e", "content a")},
            "each content is in one split",
            "2 of 6 unexpected (33.3 %): content a",
        ),
        (
            {"rows": ROWS.assign(copy=[0, 1, 0, 0, 0, 0, 1])},
            "only training rows have copies",
            "1 of 2 unexpected (50.0 %): test",
        ),
        (
            {"rows": ROWS.assign(copy=0)},
            "every pair of id and copy occurs once",
            "2 of 7 unexpected (28.6 %)",
        ),
        (
            {"rows": change("split", {"e": "train", "f": "train"})},
            "no split is empty",
            "missing: test",
        ),
    ],
)
def test_an_unsound_split_blocks(altered, expected, observed):
    errors = {r.expected: r.observed for r in check(**altered).failed if r.severity == "error"}
    assert observed in errors[expected]


def test_a_file_used_in_two_splits_warns_and_is_named():
    (failed,) = check(media=MEDIA.replace("z", "u")).failed
    assert failed.severity == "warning"
    assert failed.observed == "2 of 6 unexpected (33.3 %): photo of a"


def test_other_modalities_may_share_content():
    media = pd.concat([MEDIA, MEDIA.assign(modality="voice", content="quiet").iloc[:1]])
    assert check(media=media).passed


def test_labels_distributed_otherwise_warn():
    # Training is half glad, half sad; validation becomes all glad: half of the mass has moved.
    (failed,) = check(change("mood", {"d": "glad"})).failed
    assert (failed.severity, failed.column, failed.observed) == ("warning", "mood", "0.5")


def test_a_class_seen_only_in_test_warns_and_is_named():
    suite = check(change("mood", {"e": "odd"}))
    assert not suite.blocks
    (found,) = (result for result in suite.failed if result.expected.startswith("every class"))
    assert found.expected == "every class of mood in validation and test occurs in training"
    assert found.observed == "1 of 4 unexpected (25.0 %): odd"
    assert "no training row shows 'odd', so the model cannot learn it" in found.advice
    assert "such labels count as unknown" in found.advice


def test_each_of_a_rows_several_labels_is_looked_at():
    tags = pd.Series(list("xyxyxyxy"), index=[0, 0, 2, 2, 4, 4, 5, 5])  # rows of ROWS, by place
    assert check_splits(ROWS, CONTENT, media=MEDIA, outlines={"tags": tags}).passed
    tags.iloc[-1] = "z"
    failed = check_splits(ROWS, CONTENT, media=MEDIA, outlines={"tags": tags}).failed
    assert [result.observed for result in failed] == ["0.5", "1 of 4 unexpected (25.0 %): z"]
