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
    return check_splits(rows, content, media=media, targets=["mood"])


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
        (
            {"rows": change("mood", {"e": "odd"})},
            "every class of validation and test occurs in training",
            "1 of 4 unexpected (25.0 %): odd",
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
