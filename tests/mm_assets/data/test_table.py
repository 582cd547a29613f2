import openpyxl
import pandas as pd
import pytest

from mm_assets.contracts.errors import DataContractError, SourceError
from mm_assets.data.table import (
    as_text,
    clear_blanks,
    list_tables,
    read_augmented,
    read_table,
)


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


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


def test_tables_are_listed_by_name_without_what_editors_leave(tmp_path):
    for name in ("b.csv", "a.PARQUET", ".hidden.csv", "~$b.xlsx", "notes.md", "deep/c.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, "id\n")
    assert [path.name for path in list_tables(tmp_path)] == ["a.PARQUET", "b.csv"]


def test_json_lines_keep_types_and_a_lacking_key_is_null(tmp_path):
    lines = '{"id": "007", "n": 1, "day": "2020-01-01"}\n\n{"n": 2.5, "id": "8", "v": [1, 2]}\n'
    for name in ("t.jsonl", "t.ndjson"):
        frame = read_table(write(tmp_path / name, lines))
        assert list(frame.columns) == ["id", "n", "day", "v"]
        assert frame["id"].tolist() == ["007", "8"]
        assert frame["n"].tolist() == [1.0, 2.5]
        assert frame["day"].tolist()[0] == "2020-01-01"
        assert frame["v"].tolist()[1] == [1, 2]
        assert frame.isna().to_numpy().tolist() == [
            [False, False, False, True],
            [False, False, True, False],
        ]


def write_workbook(path, **sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        page = book.create_sheet(title)
        for row in rows:
            page.append(row)
    book.save(path)
    return path


def test_a_workbook_keeps_types_and_loses_empty_margins(tmp_path):
    rows = [["id", "n", "text", None], ["007", 1, None, None], [8, 2.5, "two", None], [None] * 4]
    path = write_workbook(tmp_path / "t.xlsx", first=rows, second=[["id"], ["x"]])
    frame = read_table(path)
    assert frame["id"].tolist() == ["007", 8]
    assert frame["n"].tolist() == [1.0, 2.5]
    assert frame["text"].isna().tolist() == [True, False]
    assert list(frame.columns) == ["id", "n", "text"]
    assert read_table(path, sheet="second")["id"].tolist() == ["x"]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([["id"]], {"sheet": "third"}, r"no sheet 'third'; set `data\.sheet` .* one of: only"),
        ([], {}, r"t\.xlsx is empty: sheet 'only' has no cell; there are sheets only"),
        ([["id", None], [1, 2]], {}, r"no name for column 2 of 2; name them in the header"),
        ([["id", "id"], [1, 2]], {}, r"two columns named 'id'; rename one"),
    ],
)
def test_a_workbooks_flaws_are_named(tmp_path, rows, options, message):
    with pytest.raises(SourceError, match=message):
        read_table(write_workbook(tmp_path / "t.xlsx", only=rows), **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", r"sample table t\.csv is empty: it has no bytes"),
        ("t.parquet", "", r"sample table t\.parquet is empty"),
        ("t.csv", "a,b,a\n1,2,3\n", r"two columns named 'a'; rename one"),
        (
            "t.csv",
            ",id,a\n0,1,2\n",
            r"no name for column 1 of 3; the usual cause is an index that pandas wrote along: write "
            r"the table with `index=False`",
        ),
        ("t.csv", "id, ,\n0,1,2\n", r"no name for columns 2, 3 of 3; name them in the header"),
        ("t.parquet", "no parquet", r"t\.parquet cannot be read as Parquet: .*; write or fetch it"),
        ("t.xlsx", "x", r"t\.xlsx cannot be read as an Excel workbook: .*without a password"),
        ("t.jsonl", '{"a": 1}\n{"a": \n', r"t\.jsonl: line 2 is no JSON \(.*one object"),
        ("t.jsonl", "[1]\n", r"t\.jsonl: line 1 must hold an object, got list"),
        ("t.jsonl", '{"": 1}\n', r"no name for column 1 of 1"),
        ("t.jsonl", "\n", r"t\.jsonl is empty: it holds blank lines alone"),
        (
            "t.jsonl",
            '{"a": "x"}\n{"a": "caf\xe9 au lait"}\n'.encode("cp1252"),
            r"t\.jsonl is not utf-8 text: byte 0xe9 in line 2 .*set `data\.encoding: cp1252`",
        ),
        ("t.json", "[]", r"t\.json must be one of \.csv, \.tsv, .*; write one object per line"),
        ("t.xls", "x", r"t\.xls must be .*; save the old workbook as \.xlsx"),
        ("t.sav", "x", r"t\.sav must be .*; convert it"),
    ],
)
def test_an_unreadable_table_is_named_with_its_reason(tmp_path, name, content, message):
    with pytest.raises(SourceError, match=message):
        read_table(write(tmp_path / name, content))


def test_an_absent_table_names_those_that_lie_there(tmp_path):
    with pytest.raises(SourceError, match=r"t\.csv not found in .*set `data\.table`.*mm import"):
        read_table(tmp_path / "t.csv")
    write(tmp_path / "Samples.CSV", "id\n")
    write(tmp_path / "notes.md", "")
    with pytest.raises(SourceError, match=r"did you mean 'Samples\.CSV'\? set `data\.table`"):
        read_table(tmp_path / "samples.csv")
    with pytest.raises(SourceError, match=r"to one that is there: Samples\.CSV$"):
        read_table(tmp_path / "people.xlsx")


def test_augmented_rows_come_by_split_alone(tmp_path):
    rows = pd.DataFrame({"id": ["a", "b", "c"], "split": ["train", "test", "validation"]})
    rows.to_parquet(tmp_path / "samples.parquet")
    assert read_augmented(tmp_path, splits=["test"])["id"].tolist() == ["b"]
    found = read_augmented(tmp_path, splits=("validation", "train"))
    assert found["id"].tolist() == ["a", "c"]
    assert found.index.tolist() == [0, 1]
    with pytest.raises(DataContractError, match="at least one split, got none"):
        read_augmented(tmp_path, splits=[])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7, 8], ["7", "8"]), ([7.0, None], ["7", None]), ([0.5, 1.0], ["0.5", "1.0"]),
     (["007", ""], ["007", ""]), ([True, False], ["True", "False"])],
)  # fmt: skip
def test_values_become_the_text_that_a_person_would_write(values, expected):
    found = as_text(pd.Series(values))
    assert [None if pd.isna(value) else value for value in found] == expected


def test_cells_of_white_space_alone_become_null_and_no_others():
    cells = pd.Series(["a", "", " \t", None, [1.0], 0, "0"], dtype=object)
    assert clear_blanks(cells).isna().tolist() == [False, True, True, True, False, False, False]
    assert clear_blanks(pd.Series(["", "b"])).isna().tolist() == [True, False]
    assert clear_blanks(pd.Series([0.0, 1.0])).tolist() == [0.0, 1.0]


def test_half_a_character_in_json_lines_is_replaced_and_whole_ones_stay(tmp_path):
    lines = r'{"id": "half \ud83d one"}' + "\n" + r'{"id": "\ud83d\ude00 \\ud83d"}' + "\n"
    frame = read_table(write(tmp_path / "t.jsonl", lines))
    assert frame["id"].tolist() == ["half \ufffd one", "\U0001f600 \\ud83d"]
