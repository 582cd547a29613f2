import json
import shutil
import subprocess
import sys
import textwrap

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mm_assets.contracts.config import parse_config
from mm_assets.contracts.errors import SourceError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.table import read_table
from mm_assets.drift.appending import append_rows
from mm_assets.drift.incoming import sign_batch
from mm_assets.drift.ingestion import Ingested, ingest_batch, read_batch


def make_config(**data):
    return parse_config(
        {
            "version": 2,
            "data": data,
            "modalities": {
                "text": {"kind": "text", "column": "words", "encoder": {"name": "hashed_ngrams"}},
                "trace": {
                    "kind": "signal",
                    "column": "file",
                    "options": {"rate_hz": 10, "channels": 1},
                    "encoder": {"name": "signal_statistics"},
                },
            },
            "targets": {"mood": {"kind": "multiclass", "column": "mood"}},
        }
    )


TABLE = 'id,words,file,mood\na,"one, two",trace/a.csv,glad\nb,,,sad\n'
BATCH = 'mood,file,words,id\nsad,trace/a.csv,three,c\n,,"say ""four""",d\nglad,gone.csv,,e\n'


class Folders:
    def __init__(self, root):
        self.root, self.workspace = root, Workspace(root)
        self.config = make_config()
        self.batch = root / "incoming/b1"
        for folder, table, trace in (
            (root / "data", TABLE, "1\n2\n"),
            (self.batch, BATCH, "3\n4\n"),
        ):
            (folder / "trace").mkdir(parents=True)
            (folder / "samples.csv").write_text(table)
            (folder / "trace/a.csv").write_text(trace)

    @property
    def table(self):
        return (self.root / "data/samples.csv").read_text()

    def ingest(self):
        return ingest_batch(self.batch, self.workspace, self.config)


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path)


ADDED = (
    "c,three,batches/b1/trace/a.csv,sad\n"
    + 'd,"say ""four""",,\n'
    + "e,,batches/b1/gone.csv,glad\n"
)


def test_rows_come_below_and_media_beside(folders, read_bytes):
    before = read_bytes(folders.batch)
    assert folders.ingest() == Ingested("b1", sign_batch(folders.batch), rows=3, skipped=0, files=1)
    # Bytes that were there stay; a path that leads nowhere must not meet another file in data/.
    assert folders.table == TABLE + ADDED
    data = read_bytes(folders.root / "data")
    assert {str(name) for name in data} == {"samples.csv", "trace/a.csv", "batches/b1/trace/a.csv"}
    assert (folders.root / "data/trace/a.csv").read_text() == "1\n2\n"
    assert (folders.root / "data/batches/b1/trace/a.csv").read_text() == "3\n4\n"
    assert read_bytes(folders.batch) == before
    assert not (folders.root / ".mm/ingesting").exists()


def test_doing_it_again_changes_nothing(folders, read_bytes):
    folders.ingest()
    before = read_bytes(folders.root / "data")
    assert folders.ingest() == Ingested("b1", sign_batch(folders.batch), rows=0, skipped=3, files=0)
    assert read_bytes(folders.root / "data") == before


def test_a_batch_that_grew_adds_what_is_new(folders):
    folders.ingest()
    (folders.batch / "samples.csv").write_text(BATCH + "sad,trace/f.csv,five,f\n")
    (folders.batch / "trace/f.csv").write_text("5\n6\n")
    assert folders.ingest() == Ingested("b1", sign_batch(folders.batch), rows=1, skipped=3, files=1)
    assert folders.table == TABLE + ADDED + "f,five,batches/b1/trace/f.csv,sad\n"
    assert (folders.root / "data/batches/b1/trace/f.csv").is_file()
    assert (folders.root / "data/batches/b1/trace/a.csv").is_file()


def test_a_row_delivered_twice_is_skipped_by_its_content(folders):
    """The same row in another batch, its medium under another name, its label left out."""
    folders.ingest()
    other = folders.root / "incoming/b2"
    other.mkdir()
    (other / "samples.csv").write_text("id,words,file\nc,three,x.csv\n")
    shutil.copy(folders.batch / "trace/a.csv", other / "x.csv")
    found = ingest_batch(other, folders.workspace, folders.config)
    assert found == Ingested("b2", sign_batch(other), rows=0, skipped=1, files=0)


def test_only_the_state_that_was_compared_is_taken(folders):
    compared = sign_batch(folders.batch)
    (folders.batch / "samples.csv").write_text(BATCH + "sad,,five,f\n")
    with pytest.raises(SourceError, match=r"'b1' must be in the state .* `mm drift b1`; nothing"):
        ingest_batch(folders.batch, folders.workspace, folders.config, compared=compared)
    assert folders.table == TABLE
    now = sign_batch(folders.batch)
    found = ingest_batch(folders.batch, folders.workspace, folders.config, compared=now)
    assert (found.signature, found.rows) == (now, 4)


def test_a_batch_that_changes_while_it_is_read_is_refused(folders):
    waiting = [folders.batch / "late.csv"]

    def arrive(event, arguments):
        """Let a file arrive once the table is being read; a hook cannot be taken away again."""
        if waiting and event == "open" and arguments[0] == str(folders.batch / "samples.csv"):
            waiting.pop().write_text("1")

    sys.addaudithook(arrive)
    with pytest.raises(SourceError, match="'b1' changed while it was copied; wait until"):
        folders.ingest()
    assert not waiting
    assert folders.table == TABLE
    assert folders.ingest().signature == sign_batch(folders.batch)


@pytest.mark.parametrize(
    ("line", "trace"),
    [("sad,trace/a.csv,other words,c\n", "3\n4\n"), ("sad,trace/a.csv,three,c\n", "9\n")],
    ids=["another cell", "another file under the same name"],
)
def test_an_id_with_another_content_stops_before_anything_is_changed(
    folders, read_bytes, line, trace
):
    folders.ingest()
    before = read_bytes(folders.root / "data")
    (folders.batch / "samples.csv").write_text("mood,file,words,id\n" + line + "sad,,new,z\n")
    (folders.batch / "trace/a.csv").write_text(trace)
    with pytest.raises(SourceError, match=r"1 stand there with another: c; give those rows other"):
        folders.ingest()
    assert read_bytes(folders.root / "data") == before


def test_a_file_that_rows_of_data_use_is_not_replaced(folders):
    folders.ingest()
    (folders.batch / "samples.csv").write_text("mood,file,words,id\nsad,trace/a.csv,new,z\n")
    (folders.batch / "trace/a.csv").write_text("9\n")
    with pytest.raises(SourceError, match=r"file batches/b1/trace/a\.csv"):
        folders.ingest()


def test_paths_that_leave_the_batch_stay_as_they_are_and_bring_nothing(folders, tmp_path):
    (tmp_path / "secret.csv").write_text("7\n")
    (folders.batch / "link.csv").symlink_to(tmp_path / "secret.csv")
    cells = [
        "../../secret.csv",
        f"{tmp_path}/secret.csv",
        "link.csv",
        "trace/../trace/a.csv",
        "[1]",
    ]
    lines = [f"sad,{cell},w{n},x{n}\n" for n, cell in enumerate(cells)]
    (folders.batch / "samples.csv").write_text("mood,file,words,id\n" + "".join(lines))
    assert folders.ingest().files == 1
    added = read_table(folders.root / "data/samples.csv")["file"].tolist()[2:]
    assert added == [
        "../../secret.csv",
        f"{tmp_path}/secret.csv",
        "batches/b1/link.csv",
        "batches/b1/trace/a.csv",
        "[1]",
    ]
    assert not (folders.root / "data/batches/b1/link.csv").exists()


def test_rows_without_an_id_column_are_known_by_their_content(folders):
    folders.config = make_config(id=None)
    for folder in (folders.root / "data", folders.batch):
        table = pd.read_csv(folder / "samples.csv", dtype=str).drop(columns="id")
        table.to_csv(folder / "samples.csv", index=False)
    assert folders.ingest().rows == 3
    assert folders.ingest() == Ingested("b1", sign_batch(folders.batch), rows=0, skipped=3, files=0)


def test_bad_rows_are_taken_once(folders):
    """Without an id, or with one twice: stage `validate` quarantines them, and nothing is lost."""
    lines = "sad,,no id,\nsad,,first,t\nglad,,second,t\n"
    (folders.batch / "samples.csv").write_text("mood,file,words,id\n" + lines)
    assert folders.ingest().rows == 3
    assert folders.ingest() == Ingested("b1", sign_batch(folders.batch), rows=0, skipped=3, files=0)


def test_columns_that_do_not_fit_are_named(folders):
    (folders.batch / "samples.csv").write_text("id,words,age\na,b,3\n")
    with pytest.raises(SourceError, match=r"batch 'b1' needs the columns .* lacks file; it has id"):
        folders.ingest()
    (folders.batch / "samples.csv").write_text("id,words,file,age\na,b,,3\n")
    with pytest.raises(SourceError, match=r"columns that data/samples\.csv has not: age; take"):
        folders.ingest()
    (folders.batch / "samples.csv").write_text("id,words,file\n")
    with pytest.raises(SourceError, match=r"batch 'b1' has no row in samples\.csv; fill it"):
        folders.ingest()


def test_a_target_that_a_batch_lacks_is_null(folders):
    (folders.batch / "samples.csv").write_text("id,words,file\nz,b,\n")
    assert read_batch(folders.batch, folders.config)["mood"].isna().all()
    folders.ingest()
    assert folders.table == TABLE + "z,b,,\n"


ROWS = [
    {"id": 1, "words": "one", "file": ["a", "b"], "mood": None},
    {"id": 2, "words": None, "file": ["c"], "mood": "sad"},
]


def write_json_lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata({"made": "here"}), path)


def write_workbook(path, rows):
    book = openpyxl.Workbook()
    book.active.append(list(rows[0]))
    for row in rows:
        book.active.append([str(v) if isinstance(v, list) else v for v in row.values()])
    book.save(path)


@pytest.mark.parametrize(
    ("suffix", "write"),
    [("jsonl", write_json_lines), ("parquet", write_parquet), ("xlsx", write_workbook)],
)
def test_every_format_keeps_its_types(tmp_path, suffix, write):
    table, batch, copy = (tmp_path / f"{name}.{suffix}" for name in ("table", "batch", "copy"))
    more = [{**row, "id": row["id"] + 10} for row in ROWS]
    write(table, ROWS)
    write(batch, more)
    append_rows(table, batch, copy, rows=[1, 0], paths={0: {"words": "elsewhere"}})
    expected = tmp_path / f"expected.{suffix}"
    write(expected, [*ROWS, more[1], {**more[0], "words": "elsewhere"}])
    found, wanted = read_table(copy), read_table(expected)
    pd.testing.assert_frame_equal(found, wanted)
    if suffix == "parquet":
        assert pq.read_schema(copy).metadata == {b"made": b"here"}


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8-sig", "id;words\n1;žluť\n"),
        ("utf-16", "id;words\r\n1;žluť\r\n"),
        ("cp1250", "id;words\n1;žluť"),
    ],
)
def test_text_keeps_encoding_delimiter_and_line_ends(tmp_path, encoding, text):
    table, batch, copy = (tmp_path / f"{name}.csv" for name in ("table", "batch", "copy"))
    table.write_bytes(text.encode(encoding))
    batch.write_bytes('words;id\n"kůň; a";2\n'.encode(encoding))
    append_rows(table, batch, copy, rows=[0], paths={}, encoding=encoding, delimiter=";")
    end = "\r\n" if "\r\n" in text else "\n"
    whole = text if text.endswith("\n") else text + end
    assert copy.read_bytes() == f'{whole}2;"kůň; a"{end}'.encode(encoding)


def test_a_letter_that_the_tables_encoding_lacks_is_an_error(tmp_path):
    table, batch = tmp_path / "table.parquet", tmp_path / "batch.parquet"
    pq.write_table(pa.table({"id": [1]}), table)
    pq.write_table(pa.table({"id": ["x"]}), batch)
    with pytest.raises(SourceError, match=r"column 'id' must hold int64, .* got string"):
        append_rows(table, batch, tmp_path / "copy.parquet", rows=[0], paths={})


def test_a_workbook_with_formulas_is_left_alone(tmp_path):
    table, batch = tmp_path / "table.xlsx", tmp_path / "batch.xlsx"
    write_workbook(table, ROWS)
    write_workbook(batch, ROWS)
    book = openpyxl.load_workbook(table)
    book.active["F9"] = "=1+1"
    book.save(table)
    with pytest.raises(SourceError, match="has formulas, whose results only Excel"):
        append_rows(table, batch, tmp_path / "copy.xlsx", rows=[0], paths={})


# Ends its own process at the n-th change of the disk, by a signal that nothing can catch.
KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import pandas, openpyxl, pyarrow.csv
from mm_assets.contracts.config import read_config
from mm_assets.contracts.workspace import Workspace
from mm_assets.drift.incoming import sign_batch
from mm_assets.drift.ingestion import ingest_batch
CHANGES = {{"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.copyfile", "os.chmod"}}
root, points = Path({root!r}), 0

def kill_at(point):
    seen = 0
    def watch(event, arguments):
        nonlocal seen
        if event in CHANGES:
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)

while True:
    points += 1
    copy = root.with_name(f"killed{{points}}")
    import shutil; shutil.copytree(root, copy)
    child = os.fork()
    if not child:
        kill_at(points)
        ingest_batch(copy / "incoming/b1", Workspace(copy), read_config(copy / "params.yaml"))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(points)
"""


@pytest.mark.slow
@pytest.mark.parametrize("known", [False, True], ids=["new", "known in part"])
def test_killed_at_any_point_the_table_is_whole_and_the_next_run_completes_it(
    folders, tmp_path, read_bytes, known
):
    from ruamel.yaml import YAML

    root = tmp_path / "template"
    root.mkdir()
    for name in ("data", "incoming"):
        shutil.move(folders.root / name, root / name)
    YAML().dump(json.loads(folders.config.model_dump_json()), root / "params.yaml")
    if known:  # its media then go one by one beside those that are there
        (root / "data/batches/b1/trace").mkdir(parents=True)
        (root / "data/batches/b1/trace/old.csv").write_text("0\n")
    code = textwrap.dedent(KILLED).format(tests=str(tmp_path), root=str(root))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    points = int(done.stdout)
    assert points > 5
    complete = read_bytes(tmp_path / f"killed{points}" / "data")
    tables = set()
    for point in range(1, points):
        killed = tmp_path / f"killed{point}"
        table = (killed / "data/samples.csv").read_text()
        assert table in (TABLE, TABLE + ADDED)
        tables.add(table)
        if table != TABLE:  # whose media are there then
            assert (killed / "data/batches/b1/trace/a.csv").is_file()
        ingest_batch(killed / "incoming/b1", Workspace(killed), folders.config)
        assert read_bytes(killed / "data") == complete
        assert not (killed / ".mm/ingesting").exists()
    assert tables == {TABLE, TABLE + ADDED}
