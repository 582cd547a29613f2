import pandas as pd
import pytest

from mm_assets.contracts.config import parse_config
from mm_assets.validation.table import check_table, name_columns

CONFIG = parse_config(
    {
        "version": 2,
        "data": {"group": "who"},
        "modalities": {"text": {"kind": "text", "column": "words", "encoder": {"name": "minilm"}}},
        "targets": {"mood": {"kind": "multiclass", "column": "feeling"}},
    }
)
TABLE = pd.DataFrame({"id": ["a"], "who": ["g"], "words": ["hi"], "feeling": ["glad"], "x": [1]})


def fail(frame):
    return {(r.column, r.observed): r.advice for r in check_table(frame, CONFIG).failed}


def test_every_key_that_names_a_column_is_listed():
    assert name_columns(CONFIG) == {
        "data.id": "id",
        "data.group": "who",
        "modalities.text.column": "words",
        "targets.mood.column": "feeling",
    }


def test_a_whole_table_passes_whatever_else_it_holds():
    suite = check_table(TABLE, CONFIG)
    assert suite.name == "table_is_well_formed"
    assert suite.passed


def test_a_missing_column_names_its_key_and_the_closest_column():
    advice = (
        "did you mean 'word'? set `modalities.text.column` in params.yaml to one of: "
        "id, who, word, feeling, x"
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
