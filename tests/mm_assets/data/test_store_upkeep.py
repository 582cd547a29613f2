import os
import time

import numpy as np
import pytest

from mm_assets.contracts.workspace import Workspace
from mm_assets.data import store_upkeep as module
from mm_assets.data.atomic import write_json
from mm_assets.data.store import Origin, VectorStore, keep_state, vector_key
from mm_assets.data.store_upkeep import (
    choose_unused,
    find_fault,
    list_all_shards,
    list_holdings,
    list_leftovers,
    merge_shards,
    remove_holding,
    set_aside,
)

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.delenv("MM_STORE", raising=False)
    return Workspace(tmp_path)


def fill(workspace, fingerprint, count=4, shards=1, dim=3):
    """Add shards of one row each counting up, dim numbers alike."""
    store = VectorStore(workspace.store, fingerprint, Origin("minilm", 2, dim))
    for number in range(shards):
        names = range(number * count, (number + 1) * count)
        keys = np.array([vector_key(str(name), None) for name in names], dtype="S32")
        store.add(keys, np.repeat(np.array(names, np.float32)[:, None], dim, 1))
    return store


def age(path, days):
    for file in [path, *path.glob("*")] if path.is_dir() else [path]:
        os.utime(file, (time.time() - days * 86400,) * 2)


def test_a_store_says_what_it_holds_and_what_the_project_uses(workspace):
    fill(workspace, ONE, count=4, shards=2)
    fill(workspace, TWO, count=1)
    age(workspace.store / TWO, days=9)
    keep_state(workspace.store, "ab", {"mean": np.ones(3)})
    write_json(workspace.embeddings("text") / "encoder.json", {"stored": [TWO], "states": ["ab"]})

    found = {one.path.name: one for one in list_holdings(workspace)}

    assert list(found)[-1] == TWO
    assert (found[ONE].name, found[ONE].vectors) == ("minilm v2, dim 3, float32", 8)
    assert found[TWO].vectors == 1
    assert found[TWO].used == pytest.approx(time.time() - 9 * 86400, abs=60)
    assert found[ONE].size_bytes == sum(f.stat().st_size for f in (workspace.store / ONE).iterdir())
    assert {name for name, one in found.items() if one.is_current} == {TWO, "ab.safetensors"}


def test_only_what_nobody_used_for_some_days_is_unused(workspace):
    for fingerprint, days in ((ONE, 31), (TWO, 29)):
        fill(workspace, fingerprint)
        age(workspace.store / fingerprint, days)
    holdings = list_holdings(workspace)
    assert [one.path.name for one in choose_unused(holdings, days=30.0)] == [ONE]
    write_json(workspace.embeddings("text") / "encoder.json", {"stored": [ONE]})
    assert choose_unused(list_holdings(workspace), days=30.0) == []


def test_what_is_removed_is_gone_and_nothing_else(workspace):
    fill(workspace, ONE)
    fill(workspace, TWO)
    (workspace.store / "notes").mkdir()
    for holding in list_holdings(workspace):
        if holding.path.name == ONE:
            remove_holding(holding)
    assert sorted(path.name for path in workspace.store.iterdir()) == [TWO, "notes"]


def test_sound_shards_have_no_fault(workspace):
    fill(workspace, ONE, shards=3)
    assert [find_fault(shard) for shard in list_all_shards(workspace.store)] == [None] * 3


def test_one_flipped_bit_among_the_numbers_is_found(workspace):
    """A network's numbers tell nothing by themselves, so only the pages' checksums can see it."""
    fill(workspace, ONE, count=500, dim=64)
    (shard,) = list_all_shards(workspace.store)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert find_fault(shard).startswith("cannot be read: ")


def test_a_cut_shard_and_one_of_another_length_are_found(workspace):
    store = fill(workspace, ONE, shards=2)
    cut, odd = list_all_shards(workspace.store)
    cut.write_bytes(cut.read_bytes()[:-10])
    described = store.folder / "encoder.json"
    described.write_text(described.read_text().replace('"dim": 3', '"dim": 4'))
    assert find_fault(cut).startswith("cannot be read: ")
    assert find_fault(odd) == "vectors of another length than the 4 that encoder.json states"


def test_a_shard_that_is_set_aside_is_computed_anew_and_swept_away(workspace):
    store = fill(workspace, ONE)
    keys = np.array([vector_key("0", None)], dtype="S32")
    (shard,) = list_all_shards(workspace.store)
    set_aside(shard)
    assert store.find(keys).tolist() == [0]
    assert [path.name for path in list_leftovers(workspace.store)] == [f"{shard.name}.damaged"]


def test_a_half_written_file_is_left_behind_once_it_is_old(workspace):
    store = fill(workspace, ONE)
    half = store.folder / ".half.parquet"
    half.write_bytes(b"PAR1")
    assert list_leftovers(workspace.store) == []
    age(half, days=1)
    assert list_leftovers(workspace.store) == [half]


def test_merging_keeps_every_vector_once(workspace, monkeypatch):
    store = fill(workspace, ONE, count=2, shards=9)
    fill(workspace, ONE, count=2, shards=1)  # written twice, as two runs at once may
    keys = np.array([vector_key(str(n), None) for n in range(18)], dtype="S32")

    assert merge_shards(store.folder) == 10

    (shard,) = list_all_shards(workspace.store)
    assert find_fault(shard) is None
    assert store.find(keys).all()
    ((places, _, vectors),) = store.read(keys)
    np.testing.assert_array_equal(vectors[:, 0], places)
    assert list_holdings(workspace)[0].vectors == 18
    assert merge_shards(store.folder) == 0


def test_large_shards_are_left_alone_and_merged_ones_stay_below_a_limit(workspace, monkeypatch):
    store = fill(workspace, ONE, count=100, shards=8, dim=64)
    size = list_all_shards(workspace.store)[0].stat().st_size
    monkeypatch.setattr(module, "MERGED_BYTES", 4 * size - 100)
    assert merge_shards(store.folder) == 0
    monkeypatch.setattr(module, "MERGED_BYTES", 5 * size)
    assert merge_shards(store.folder) == 8
    assert len(list_all_shards(workspace.store)) == 2


def test_a_reader_sees_what_was_merged_while_it_read(workspace):
    store = fill(workspace, ONE, count=1, shards=6)
    keys = np.array([vector_key(str(n), None) for n in range(6)], dtype="S32")
    reading = store.read(keys)
    seen = [next(reading)]
    merge_shards(store.folder)
    seen += reading
    assert sorted(place for places, _, _ in seen for place in places) == list(range(6))
