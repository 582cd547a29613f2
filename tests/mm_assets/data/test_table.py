import pandas as pd
import pytest

from mm_assets.contracts.errors import DataContractError, SourceError
from mm_assets.data.table import read_augmented, read_table


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_csv_cells_stay_text_and_only_absent_ones_are_null(tmp_path):
    frame = read_table(write(tmp_path / "t.csv", 'id,a\n007,""\n1e3,\nNA,null\n'))
    assert frame["id"].tolist() == ["007", "1e3", "NA"]
    assert frame["a"].iloc[0] == ""
    assert frame["a"].isna().tolist() == [False, True, False]


def test_csv_cells_may_hold_line_breaks_commas_and_any_script(tmp_path):
    frame = read_table(write(tmp_path / "t.csv", 'id,a\n1,"two\nlines, ""quoted"" بات"\n'))
    assert frame["a"].tolist() == ['two\nlines, "quoted" بات']


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert list(read_table(write(tmp_path / "t.csv", "\ufeffid,a\n1,2\n")).columns) == ["id", "a"]


def test_a_header_alone_is_an_empty_table(tmp_path):
    frame = read_table(write(tmp_path / "t.csv", "id,a\n"))
    assert list(frame.columns) == ["id", "a"]
    assert frame.empty


def test_parquet_keeps_its_types_and_an_index_becomes_a_column(tmp_path):
    vectors = {"vector": [[1.0, 2.0], None]}
    pd.DataFrame(vectors, index=pd.Index([7, 9], name="id")).to_parquet(tmp_path / "t.parquet")
    frame = read_table(tmp_path / "t.parquet")
    assert frame.index.tolist() == [0, 1]
    assert frame["id"].tolist() == [7, 9]
    assert list(frame["vector"].iloc[0]) == [1.0, 2.0]
    assert frame["vector"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", r"sample table t\.csv cannot be read: .*[Ee]mpty"),
        ("t.csv", "a,b\n1\n", r"sample table t\.csv cannot be read: .*[Cc]olumn"),
        ("t.csv", b"a\n\xff\xfe\n", r"sample table t\.csv cannot be read: .*UTF8"),
        ("t.csv", "a,b,a\n1,2,3\n", r"two columns named 'a'; rename one"),
        ("t.parquet", "no parquet", r"sample table t\.parquet cannot be read"),
        ("t.xlsx", "x", r"t\.xlsx must be \.csv or \.parquet; convert it"),
    ],
)
def test_an_unreadable_table_is_named_with_its_reason(tmp_path, name, content, message):
    with pytest.raises(SourceError, match=message):
        read_table(write(tmp_path / name, content))


def test_an_absent_table_says_what_to_set(tmp_path):
    with pytest.raises(SourceError, match=r"t\.csv not found in .*set `data\.table`.*mm use"):
        read_table(tmp_path / "t.csv")


def test_augmented_rows_come_by_split_alone(tmp_path):
    rows = pd.DataFrame({"id": ["a", "b", "c"], "split": ["train", "test", "validation"]})
    rows.to_parquet(tmp_path / "samples.parquet")
    assert read_augmented(tmp_path, splits=["test"])["id"].tolist() == ["b"]
    found = read_augmented(tmp_path, splits=("validation", "train"))
    assert found["id"].tolist() == ["a", "c"]
    assert found.index.tolist() == [0, 1]
    with pytest.raises(DataContractError, match="at least one split, got none"):
        read_augmented(tmp_path, splits=[])
