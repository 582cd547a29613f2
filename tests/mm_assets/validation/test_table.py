from pathlib import Path

import pandas as pd
import pytest

from mm_assets.contracts.config import parse_config
from mm_assets.modalities.base import load_modality
from mm_assets.validation.table import check_table, name_columns

CONFIG = parse_config(
    {
        "version": 2,
        "data": {"group": "who"},
        "modalities": {
            "text": {"kind": "text", "column": "words", "encoder": {"name": "minilm"}},
            "photo": {"kind": "image", "column": "file", "encoder": {"name": "efficientnet_lite0"}},
        },
        "targets": {"mood": {"kind": "multiclass", "column": "feeling"}},
    }
)
TABLE = pd.DataFrame(
    {
        "id": ["a"],
        "who": ["g"],
        "words": ["hi"],
        "file": ["test_table.py"],
        "feeling": ["glad"],
        "x": [1],
    }
)
HERE = Path(__file__).parent
MODALITIES = {key: load_modality(m.kind, {}, {}, where=key) for key, m in CONFIG.modalities.items()}


def check(frame, folder=HERE):
    return check_table(frame, CONFIG, MODALITIES, folder)


def fail(frame, folder=HERE):
    return {(r.column, r.observed): r.advice for r in check(frame, folder).failed}


def test_every_key_that_names_a_column_is_listed():
    assert name_columns(CONFIG) == {
        "data.id": "id",
        "data.group": "who",
        "modalities.text.column": "words",
        "modalities.photo.column": "file",
        "targets.mood.column": "feeling",
    }


def test_a_whole_table_passes_whatever_else_it_holds():
    suite = check(TABLE)
    assert suite.name == "table_is_well_formed"
    assert suite.passed


def test_a_missing_column_names_its_key_and_the_closest_column():
    advice = (
        "did you mean 'word'? set `modalities.text.column` in params.yaml to one of: "
        "id, who, word, file, feeling, x"
    )
    assert fail(TABLE.rename(columns={"words": "word"})) == {("words", "absent"): advice}


def test_a_table_without_rows_says_where_to_put_them():
    advice = "fill data/samples.csv, or put the sample in: `mm use sample`"
    assert fail(TABLE.iloc[:0]) == {(None, "0"): advice}


@pytest.mark.parametrize("column", ["words", "feeling", "id"])
def test_a_column_of_nulls_fails(column):
    ((failed, advice),) = fail(TABLE.assign(**{column: None})).items()
    assert failed == (column, "0")
    assert "names a column of nulls" in advice


@pytest.mark.parametrize(
    ("start", "advice"),
    [
        (
            "img/",
            "there is no folder 'img' in the data folder, but IMAGES; rename it, or copy the media",
        ),
        ("images/", "no folder 'images' in the data folder, but 'IMAGES', which differs in upper"),
        ("/home/ann/", "they are absolute paths, which are others on every machine; cut off"),
        (
            "",
            "they name no folder, and the files do not lie beside the table, where there are folders "
            "IMAGES; write each path from the table on, such as photos/1.jpg",
        ),
    ],
)
def test_media_that_lie_elsewhere_stop_the_table_as_a_whole(tmp_path, start, advice):
    (tmp_path / "IMAGES").mkdir()
    (tmp_path / "here.png").touch()
    rows = TABLE.loc[[0] * 20].assign(file=[f"{start}{at}.png" for at in range(20)])
    ((failed, told),) = fail(rows, tmp_path).items()
    assert failed == ("file", "100 %")
    assert advice in told
    assert check(rows, tmp_path).blocks

    some = rows.assign(file=["here.png"] * 2 + rows["file"].tolist()[2:])
    assert check(some, tmp_path).passed, "rows are judged one by one where a tenth is right"
