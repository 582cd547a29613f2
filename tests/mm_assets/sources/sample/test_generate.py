import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.errors import SourceError
from mm_assets.data.table import read_table
from mm_assets.sources.sample import generate_sample
from mm_assets.sources.sample.answer import TARGETS, tabulate_bounds
from mm_assets.sources.sample.broken import FAULTS
from mm_assets.sources.sample.generate import COLUMNS, draw_customer, drop_modalities
from mm_assets.stages.project import load_project
from mm_assets.stages.validate import validate

ROOT = Path(__file__).parents[4]


def read_files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project") / "data"
    generate_sample(folder, rows=24, customers=6, missing=0.3)
    return folder


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(sample, tmp_path):
    generate_sample(tmp_path / "again", rows=24, customers=6, missing=0.3)
    generate_sample(tmp_path / "other", rows=24, customers=6, missing=0.3, seed=8)

    assert read_files(tmp_path / "again") == read_files(sample)
    assert (
        read_table(tmp_path / "other/samples.csv")
        .message.ne(read_table(sample / "samples.csv").message)
        .any()
    )


def test_a_longer_sample_starts_with_the_shorter_one(tmp_path):
    for name, rows in (("short", 4), ("long", 8)):
        generate_sample(tmp_path / name, rows=rows, customers=4, broken=False)

    short, long = read_files(tmp_path / "short"), read_files(tmp_path / "long")
    table = Path("samples.csv")
    assert long.pop(table).startswith(short.pop(table))
    assert short.items() <= long.items()


@pytest.mark.slow
def test_another_language_changes_the_messages_alone(tmp_path):
    for language in ("en", "zh"):
        generate_sample(tmp_path / language, rows=8, customers=4, language=language, missing=0.2)
    english, chinese = (read_files(tmp_path / language) for language in ("en", "zh"))
    for name in (Path("samples.csv"), Path("card.json")):
        assert english.pop(name) != chinese.pop(name)
    assert english == chinese

    tables = [read_table(tmp_path / language / "samples.csv") for language in ("en", "zh")]
    both = tables[0].message.notna() & tables[1].message.notna()
    for column in set(COLUMNS) - {"message"}:
        assert tables[0][column].equals(tables[1][column])
    assert tables[0].message.isna().equals(tables[1].message.isna())
    good = both & ~tables[0].id.str.contains("-[a-z]")
    assert tables[1].message[good].str.contains("[\u4e00-\u9fff]{4}").all()


def test_new_customers_are_other_people(tmp_path):
    generate_sample(tmp_path / "a", rows=6, customers=3, broken=False)
    generate_sample(tmp_path / "b", rows=6, customers=3, broken=False, first_customer=3)

    first, second = (read_table(tmp_path / n / "samples.csv") for n in "ab")
    assert not set(first.customer) & set(second.customer)
    assert not set(first.id) & set(second.id)
    assert first.customer.nunique() == second.customer.nunique() == 3
    voices = {draw_customer(7, number).speaker for number in range(6)}
    assert len(voices) == 6


def test_good_rows_name_files_that_exist_and_files_belong_to_a_row(tmp_path):
    generate_sample(tmp_path / "data", rows=20, customers=5, broken=False, missing=0.3)
    table = read_table(tmp_path / "data/samples.csv")

    named = set(table.voice.dropna()) | set(table.photo.dropna())

    assert list(table.columns) == list(COLUMNS)
    assert table.id.is_unique
    assert named | {"samples.csv", "card.json"} == {
        path.as_posix() for path in (p for p in read_files(tmp_path / "data"))
    }
    for name, target in TARGETS.items():
        assert table[name].isin(target.classes).all()


def test_modalities_are_missing_at_the_stated_rate_but_never_all(tmp_path):
    rng, rows = np.random.default_rng(0), []
    for folder in ("photo", "voice"):
        (tmp_path / folder).mkdir()
    for _ in range(400):
        row = {"message": "text", "photo": "photo/a.jpg", "voice": "voice/a.ogg"}
        for cell in ("photo", "voice"):
            (tmp_path / row[cell]).touch()
        rows.append(drop_modalities(row, tmp_path, 0.5, rng))
        for cell in ("photo", "voice"):
            assert (tmp_path / f"{cell}/a.{'jpg' if cell == 'photo' else 'ogg'}").exists() == (
                row[cell] is not None
            )
    gone = np.array([[row[cell] is None for cell in row] for row in rows])
    assert not gone.all(axis=1).any()
    # Each is lost with 1/2, but of the 1/8 that lose all three, one is given back.
    np.testing.assert_allclose(gone.mean(axis=0), 0.5 - 1 / 24, atol=0.08)


@pytest.mark.slow
def test_validation_finds_every_broken_row_for_its_reason_and_no_other(sample):
    project_root = sample.parent
    (project_root / "params.yaml").write_text((ROOT / "recipes/sample.yaml").read_text())
    project = load_project(project_root)

    report = validate(project)

    found = pd.read_parquet(project.workspace.validated / "quarantine.parquet")
    card = json.loads((sample / "card.json").read_text())
    assert dict(zip(found.id, found.reason, strict=True)) == card["broken"]
    assert len(found) == len(card["broken"])  # each row for one reason only
    assert len(FAULTS) == 22
    kept = pd.read_parquet(project.workspace.validated / "samples.parquet")
    good = {"kept-content-twice", "broken-id-twice"}  # the first of two
    assert set(kept.id[kept.id.str.contains("-[a-z]")]) == good
    assert report.rows_out == 24 + len(good)


def test_an_empty_text_is_not_a_missing_one(sample):
    table = read_table(sample / "samples.csv").set_index("id")
    assert table.message["broken-text-empty"] == ""
    assert table.message.isna()["broken-nothing-given"]


def test_the_card_holds_channels_and_bounds(sample):
    card = json.loads((sample / "card.json").read_text())
    assert card["schema_version"] == 1
    assert card["upper_bounds"] == tabulate_bounds()
    assert card["channels"]["intent"]["reliability"] == dict(TARGETS["intent"].reliability)
    assert sum(card["channels"]["sentiment"]["prior"]) == pytest.approx(1)


def test_a_folder_with_files_in_it_is_refused(tmp_path):
    (tmp_path / "mine.csv").touch()
    with pytest.raises(SourceError, match=r"needs an empty folder, but .* holds files; empty it"):
        generate_sample(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.csv"]
