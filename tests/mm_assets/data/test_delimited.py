import csv

import pytest

from mm_assets.contracts.errors import SourceError
from mm_assets.data.delimited import guess_delimiter, guess_encoding, read_delimited

SENTENCES = {
    "cp1252": "Größe und Übermut, das wäre schön; à l'hôtel",
    "cp1250": "Zażółć gęślą jaźń, proszę bardzo",
    "gb18030": "今天天气很好,我们去公园散步",
    "big5": "今天天氣很好,我們去公園散步",
    "cp932": "今日はいい天気ですね",
    "cp949": "오늘 날씨가 정말 좋다",
    "cp1251": "привет, как дела, что нового",
}


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path, *, encoding="utf-8", delimiter=None):
    return read_delimited(path, encoding=encoding, delimiter=delimiter).to_pydict()


def test_only_an_absent_cell_is_null_and_all_others_are_text(tmp_path):
    table = read(write(tmp_path / "t.csv", 'id,a\n007,""\n1e3,\nNA,null\n'))
    assert table == {"id": ["007", "1e3", "NA"], "a": ["", None, "null"]}


def test_cells_agree_with_pythons_csv_module(tmp_path):
    text = 'id,a\n1,"two\nlines, ""quoted"" بات"\n\n2, spaced \n"3",5" pipe and 6" pipe\n'
    path = write(tmp_path / "t.csv", text)
    with path.open(newline="") as file:
        header, *rows = [row for row in csv.reader(file) if row]
    assert read(path) == dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


@pytest.mark.parametrize(
    ("name", "delimiter", "text"),
    [
        ("t.tsv", None, "id\ta\n1\tx,y\n"),
        ("t.csv", ";", "id;a\n1;x,y\n"),
        ("t.TSV", "|", "id|a\n1|x,y"),
    ],
)
def test_the_ending_says_the_delimiter_and_the_config_overrules_it(tmp_path, name, delimiter, text):
    assert read(write(tmp_path / name, text), delimiter=delimiter) == {"id": ["1"], "a": ["x,y"]}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", *SENTENCES])
def test_any_encoding_of_python_is_read(tmp_path, encoding):
    text = SENTENCES.get(encoding, "今 naïve")
    path = write(tmp_path / "t.csv", f'id,a\n1,"{text}"\n'.encode(encoding))
    given = "utf-8" if encoding == "utf-8-sig" else encoding
    assert read(path, encoding=given) == {"id": ["1"], "a": [text]}


@pytest.mark.parametrize("encoding", SENTENCES)
def test_the_encoding_is_guessed_so_that_the_text_is_right(tmp_path, encoding):
    lines = "".join(f"{at},{SENTENCES[encoding]}\n" for at in range(20))
    path = write(tmp_path / "t.csv", ("id,a\n" + lines).encode(encoding))
    guess = guess_encoding(path)
    assert guess is not None
    assert path.read_bytes().decode(guess) == "id,a\n" + lines


@pytest.mark.parametrize(("encoding", "guess"), [("utf-8", "utf-8"), ("utf-16", "utf-16")])
def test_utf_shows_by_itself(tmp_path, encoding, guess):
    assert guess_encoding(write(tmp_path / "t.csv", "id,é\n".encode(encoding))) == guess


def test_a_delimiter_is_guessed_only_where_the_given_one_cuts_nothing():
    assert guess_delimiter("id;a,b;c", given=";") is None
    assert guess_delimiter("id;a;c", given=",") == ";"
    assert guess_delimiter("id\ta", given=",") == "\t"
    assert guess_delimiter("id", given=",") is None


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            "id,a\n1,ok\n2,café au lait\n".encode("cp1252"),
            {},
            r"t\.csv is not utf-8 text: byte 0xe9 in line 3 does not decode; it looks like cp1252: "
            r"set `data\.encoding: cp1252`",
        ),
        ("id,à".encode("cp1252"), {}, r"byte 0xe0 in line 1 does not decode"),
        (
            "id,a\n1,é\n".encode(),
            {"encoding": "ascii"},
            r"not ascii text: byte 0xc3 in line 2 .*set `data\.encoding: utf-8`",
        ),
        (
            b"id,a\n1,x\n",
            {"encoding": "utf9"},
            r"`data\.encoding` 'utf9' is no encoding that Python",
        ),
        (
            "id,a\n1,x\n".encode("utf-16"),
            {},
            r"starts with the byte-order mark of UTF-16, but `data\.encoding` is utf-8; set "
            r"`data\.encoding: utf-16`",
        ),
        ("id,a\n1,x\n".encode("utf-32"), {}, r"byte-order mark of UTF-32"),
        (
            "id;text;label\n1;well, yes;a\n",
            {},
            r"has one column, named 'id;text;label', when cells are separated by ','; set "
            r'`data\.delimiter: ";"`',
        ),
        ("id\ttext\n1\ta\n", {}, r'set `data\.delimiter: "\\t"`'),
        ("id|text\n1|a\n", {"delimiter": ";"}, r'set `data\.delimiter: "\|"`'),
        (
            "id,a\n1,x\n2,y,z\n3\n",
            {},
            r"t\.csv: line 3 has 3 cells, the header has 2: '2,y,z'; put a cell that holds ',' or a "
            r"line break in double quotes",
        ),
        ('id,a\n1,"x\ny"\n2\n', {}, r"line 4 has 1 cell, the header has 2: '2'"),
        (
            'id,a\n1,x\n2,"y\n3,z\n4,z\n',
            {},
            r"a double quote that opens in line 3 is never closed, so all that follows is one cell",
        ),
        (
            "id,a\n1,x\0y\n",
            {},
            r"has a NUL byte in line 2: the file is damaged, is no text, or is ",
        ),
        ("\n\n", {}, r"t\.csv is empty: it holds blank lines alone"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, content, options, message):
    with pytest.raises(SourceError, match=message):
        read(write(tmp_path / "t.csv", content), **options)


def test_a_cell_longer_than_the_csv_modules_limit_is_no_error(tmp_path):
    long = "x" * 200_000
    path = write(tmp_path / "t.csv", f'id,a\n1,"{long}"\n2,5" pipe\n')
    assert read(path)["a"] == [long, '5" pipe']
    assert csv.field_size_limit() == 131072
