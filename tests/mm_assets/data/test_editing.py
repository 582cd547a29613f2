import codecs
import csv
import json

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mm_assets.contracts.errors import SourceError
from mm_assets.data.editing import edit_table
from mm_assets.data.table import read_table

ODD = '''id;"text";mood\r
007; " spaced ";glad\r
\r
b;"two
lines; ""quoted""";\r
c;plain;'''


def edit(path, changes, **reading):
    target = path.with_name(f"copy{path.suffix}")
    after = edit_table(path, target, changes, **reading)
    return target, after


def test_every_other_byte_of_a_csv_stays(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(codecs.BOM_UTF8 + ODD.encode())
    changes = {1: {"text": 'x;"y"', "mood": "sad"}, 2: {"mood": "glad"}}
    target, after = edit(path, changes, delimiter=";")
    expected = ODD.replace('"two\nlines; ""quoted""";', '"x;""y""";sad')
    assert target.read_bytes() == codecs.BOM_UTF8 + (expected + "glad").encode()
    assert after["text"].tolist()[1:] == ['x;"y"', "plain"]
    assert after["mood"].tolist() == ["glad", "sad", "glad"]


def test_a_cleared_cell_is_null_and_an_empty_text_is_not(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("id\ttext\n1\ta\n2\tb\n3\tc\n")
    target, after = edit(path, {0: {"text": None}, 2: {"text": ""}})
    assert target.read_text() == 'id\ttext\n1\t\n2\tb\n3\t""\n'
    assert after["text"].isna().tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("cp1252", "id,text\na,\xe9t\xe9\n".encode("cp1252")),
        ("utf-16", codecs.BOM_UTF16_BE + "id,text\na,été\n".encode("utf-16-be")),
        ("utf-16", codecs.BOM_UTF16_LE + "id,text\na,été\n".encode("utf-16-le")),
        ("utf-8-sig", codecs.BOM_UTF8 + "id,text\na,été\n".encode()),
        ("gb18030", "id,text\na,été\n".encode("gb18030")),
    ],
)
def test_the_encoding_and_its_mark_stay(tmp_path, encoding, data):
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    target, _ = edit(path, {0: {"id": "ü"}}, encoding=encoding)
    wide = {codecs.BOM_UTF16_BE: "utf-16-be", codecs.BOM_UTF16_LE: "utf-16-le"}.get(data[:2])
    name = (wide or encoding).removesuffix("-sig")
    assert target.read_bytes() == data.replace("\na,".encode(name), "\nü,".encode(name))


def test_a_value_that_the_encoding_lacks_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("id,text\na,é\n".encode("cp1252"))
    with pytest.raises(
        SourceError, match=r"a.csv is cp1252 text, which has no '说'; save it as UTF"
    ):
        edit(path, {0: {"text": "说"}}, encoding="cp1252")


CELLS = st.text(st.sampled_from('ab,;"\n é说\t'), max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5),
    value=CELLS.filter(bool),
    place=st.tuples(st.integers(0, 4), st.integers(0, 2)),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_csv_that_python_writes_differs_in_that_cell_alone(
    tmp_path_factory, rows, value, place, quoting
):
    path = tmp_path_factory.mktemp("any") / "a.csv"
    row, column = place[0] % len(rows), place[1]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=quoting).writerows([("x", "y", "z"), *rows])
    _, after = edit(path, {row: {"xyz"[column]: value}})
    with path.open(newline="", encoding="utf-8") as file:
        expected = list(csv.reader(file))[1:]
    expected[row][column] = value
    assert after.fillna("").to_numpy().tolist() == expected


LINES = (
    '{"id": "a",  "n": 1.50, "v": [1, 2], "t": "\\u00e9"}\r\n\r\n {"id":"b","t":"x\u2028y"}\n{}\n'
)


def test_every_other_byte_of_json_lines_stays(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES.encode())
    target, after = edit(path, {0: {"v": "[3]", "t": None}, 1: {"n": "2"}, 2: {"id": "c"}})
    expected = LINES.replace("[1, 2]", "[3]").replace('"\\u00e9"', "null")
    expected = expected.replace('y"}', 'y", "n": 2}').replace("{}", '{"id": "c"}')
    assert target.read_bytes() == expected.encode()
    assert after["v"].tolist()[0] == [3]
    assert after["n"].tolist()[:2] == [1.5, 2]


def test_parquet_keeps_types_metadata_and_other_values(tmp_path):
    table = pa.table(
        {
            "id": pa.array(["a", "b", "c"], pa.large_string()),
            "n": pa.array([1, None, 3], pa.int32()),
            "v": pa.array([[1.0], None, [2.0, 3.0]], pa.list_(pa.float32())),
            "d": pa.array(["x", "y", "x"]).dictionary_encode(),
        }
    ).replace_schema_metadata({"who": "us"})
    parquet.write_table(table, tmp_path / "a.parquet")
    changes = {1: {"n": "7", "v": "[4, 5.5]", "d": "z"}, 2: {"id": "007", "n": None}}
    target, _ = edit(tmp_path / "a.parquet", changes)
    after = parquet.read_table(target)
    before = parquet.read_schema(tmp_path / "a.parquet")
    assert after.schema.equals(before, check_metadata=True)
    assert after["n"].to_pylist() == [1, 7, None]
    assert after["v"].to_pylist() == [[1.0], [4.0, 5.5], [2.0, 3.0]]
    assert after["id"].to_pylist() == ["a", "b", "007"]
    assert after["d"].to_pylist() == ["x", "z", "x"]


def test_a_value_of_another_type_is_refused(tmp_path):
    pd.DataFrame({"id": ["a"], "n": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"column 'n' holds int64, and 'many' is none"):
        edit(tmp_path / "a.parquet", {0: {"n": "many"}})


def write_workbook(path, formula=None):
    book = openpyxl.Workbook()
    book.active.title = "other"
    page = book.create_sheet("rows")
    for row in [[None] * 3, ["id", "n", "t"], ["a", 1, "x"], [None] * 3, ["b", 2.5, formula]]:
        page.append(row)
    book.save(path)


def test_a_workbook_keeps_other_cells_and_sheets(tmp_path):
    write_workbook(tmp_path / "a.xlsx", formula="y")
    target, after = edit(tmp_path / "a.xlsx", {1: {"n": "3", "t": None}}, sheet="rows")
    assert after["n"].tolist() == [1, 3]
    assert after["t"].fillna("").tolist() == ["x", ""]
    assert after["id"].tolist() == ["a", "b"]
    assert openpyxl.load_workbook(target).sheetnames == ["other", "rows"]


def test_a_workbook_with_formulas_is_left_to_excel(tmp_path):
    write_workbook(tmp_path / "a.xlsx", formula="=1+1")
    with pytest.raises(
        SourceError, match=r"formulas \(the first in sheet 'rows', C5\).*mend the row"
    ):
        edit(tmp_path / "a.xlsx", {0: {"n": "3"}}, sheet="rows")


def test_an_unknown_column_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,a\n")
    with pytest.raises(SourceError, match=r"a.csv has no column 'txt'; it has id, text"):
        edit(tmp_path / "a.csv", {0: {"txt": "b"}})


def test_many_rows_keep_their_bytes(tmp_path):
    path = tmp_path / "a.csv"
    rng = np.random.default_rng(0)
    pd.DataFrame({"id": range(20000), "x": rng.normal(size=20000)}).to_csv(path, index=False)
    target, _ = edit(path, {19_999: {"x": "0"}})
    before, after = path.read_text().splitlines(), target.read_text().splitlines()
    assert after[:-1] == before[:-1]
    assert after[-1] == "19999,0"


def test_json_is_read_back_as_json_reads_it(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "t": "a"}\n')
    target, _ = edit(path, {0: {"t": 'say "é"'}})
    assert json.loads(target.read_text()) == {"id": 1, "t": 'say "é"'}
    assert read_table(target)["t"].tolist() == ['say "é"']
