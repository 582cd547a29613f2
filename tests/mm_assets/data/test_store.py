import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_assets.contracts.errors import DataContractError, StoreError
from mm_assets.data import store as module
from mm_assets.data.store import Origin, VectorStore, find_state, keep_state, vector_key

ROOT = Path(__file__).parents[3]


def keys_of(count):
    return np.array([vector_key(str(number), None) for number in range(count)], dtype="S32")


def open_store(folder, dim=3, **origin):
    return VectorStore(folder, "f" * 64, Origin("e", 1, dim, **origin))


def read_all(store, keys):
    """Give each key's (steps, dim), or null."""
    found = [None] * len(keys)
    for places, steps, vectors in store.read(keys):
        for place, part in zip(places, np.split(vectors, np.cumsum(steps)[:-1]), strict=True):
            assert found[place] is None, "read twice"
            found[place] = part
    return found


def test_a_key_is_the_digest_of_content_and_rendering():
    assert vector_key("ab", None) == hashlib.sha256(b"ab\n").digest()
    assert vector_key("ab", '{"drop": 0}') == hashlib.sha256(b'ab\n{"drop": 0}').digest()


@given(
    st.lists(
        st.tuples(st.text("0af", max_size=4), st.none() | st.text("{}x", min_size=1)), unique=True
    )
)
def test_different_contents_or_renderings_never_share_a_key(pairs):
    assert len({vector_key(*pair) for pair in pairs}) == len(pairs)


def test_what_was_added_is_found_and_nothing_else(tmp_path):
    store, keys = open_store(tmp_path), keys_of(5)
    matrix = np.random.default_rng(0).standard_normal((5, 3), dtype=np.float32)
    store.add(keys[:2], matrix[:2])
    store.add(keys[2:4], matrix[2:4])

    assert store.find(keys).tolist() == [1, 1, 1, 1, 0]
    *found, missing = read_all(store, keys)
    np.testing.assert_array_equal(np.concatenate(found), matrix[:4])
    assert missing is None
    assert found[0].dtype == np.float32


def test_sequences_of_different_lengths_are_kept_apart(tmp_path):
    store, keys = open_store(tmp_path, dim=2, sequence=True), keys_of(4)
    parts = [np.full((steps, 2), steps, np.float32) for steps in (3, 1, 4)]
    store.add(keys[:3], np.concatenate(parts), np.array([3, 1, 4]))

    assert store.find(keys[::-1]).tolist() == [0, 4, 1, 3]
    for got, given_ in zip(read_all(store, keys), [*parts, None], strict=True):
        np.testing.assert_array_equal(got, given_)


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 40), max_size=6), st.lists(st.integers(0, 40), unique=True, max_size=9)
)
def test_any_question_about_any_shards_is_answered_as_a_dictionary_would(
    tmp_path_factory, held, asked
):
    store = open_store(tmp_path_factory.mktemp("store"), dim=1)
    every = keys_of(41)
    for number in held:  # a shard each, some of them twice
        store.add(every[[number]], np.full((1, 1), number, np.float32))
    keys = every[asked] if asked else np.empty(0, "S32")

    assert store.find(keys).tolist() == [int(number in held) for number in asked]
    got = read_all(store, keys)
    assert [None if g is None else g[0, 0] for g in got] == [
        n if n in held else None for n in asked
    ]


def test_a_key_whose_digest_ends_with_zeros_is_found(tmp_path):
    """NumPy drops zero bytes at the end of an element of bytes."""
    store = open_store(tmp_path)
    keys = np.array([b"\x01" * 30 + b"\x00\x00", b"\x00" * 32, b"\x01" * 32], dtype="S32")
    store.add(keys, np.arange(9, dtype=np.float32).reshape(3, 3))
    assert [part[0, 0] for part in read_all(store, keys)] == [0, 3, 6]


def test_a_large_shard_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GROUP_BYTES", 10 * 3 * 4)
    store, keys = open_store(tmp_path), keys_of(95)
    matrix = np.random.default_rng(0).standard_normal((95, 3), dtype=np.float32)
    store.add(keys, matrix)
    asked = np.random.default_rng(1).permutation(95)[:60]

    pieces = list(store.read(keys[asked]))

    assert len(pieces) == 10
    assert max(len(places) for places, _, _ in pieces) <= 10
    got = np.empty((60, 3), np.float32)
    for places, _, vectors in pieces:
        got[places] = vectors
    np.testing.assert_array_equal(got, matrix[asked])


def test_encoders_do_not_see_each_other(tmp_path):
    open_store(tmp_path).add(keys_of(1), np.ones((1, 3), np.float32))
    other = VectorStore(tmp_path, "0" * 64, Origin("e", 1, 3))
    assert other.find(keys_of(1)).tolist() == [0]


def test_an_empty_store_and_an_empty_question_find_nothing(tmp_path):
    store = open_store(tmp_path)
    assert store.find(keys_of(3)).tolist() == [0, 0, 0]
    store.add(keys_of(0), np.empty((0, 3), np.float32))
    assert not store.folder.exists()
    store.add(keys_of(1), np.ones((1, 3), np.float32))
    assert store.find(keys_of(0)).tolist() == list(store.read(keys_of(0))) == []


def test_a_folder_says_what_made_its_vectors(tmp_path):
    store = open_store(tmp_path, sequence=True, precision="bf16")
    store.add(keys_of(1), np.ones((1, 3), np.float32))
    described = json.loads((store.folder / "encoder.json").read_text())
    assert described.pop("made") <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert described == {
        "schema_version": "2",
        "encoder": "e",
        "version": 1,
        "dim": 3,
        "sequence": True,
        "precision": "bf16",
    }


def test_asking_says_that_the_vectors_are_used(tmp_path):
    store = open_store(tmp_path)
    store.add(keys_of(1), np.ones((1, 3), np.float32))
    (store.folder / "used").touch()
    os.utime(store.folder / "used", (0, 0))
    store.find(keys_of(1))
    assert (store.folder / "used").stat().st_mtime > time.time() - 60


def test_many_writers_at_once_lose_nothing(tmp_path):
    store, keys = open_store(tmp_path, dim=2), keys_of(64)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.add(keys[[i]], np.full((1, 2), i, np.float32)), range(64)))
    assert [part[0, 0] for part in read_all(store, keys)] == list(range(64))


WRITER = """
import sys, numpy as np
from pathlib import Path
from mm_assets.data.store import Origin, VectorStore, vector_key
store = VectorStore(Path(sys.argv[1]), "f" * 64, Origin("e", 1, 256))
number = int(sys.argv[2])
while number < int(sys.argv[3]):
    keys = np.array([vector_key(str(n), None) for n in range(number, number + 8)], dtype="S32")
    store.add(keys, np.repeat(np.arange(number, number + 8, dtype=np.float32)[:, None], 256, 1))
    number += 8
    print(number, flush=True)
"""


@pytest.mark.slow
def test_processes_killed_while_they_write_leave_only_whole_shards(tmp_path):
    """Two write without end and are killed at once, twice; a third then writes what is missing."""

    def start(*span):
        command = [sys.executable, "-c", WRITER, str(tmp_path), *map(str, span)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    said = 0
    for begin in (0, 4_000):
        writers = [start(begin, 10**9), start(begin + 80, 10**9)]
        for writer in writers:
            lines = [int(writer.stdout.readline()) for _ in range(5)]
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            said += len(lines) + len(writer.stdout.read().splitlines())
            writer.wait()
    store, keys = open_store(tmp_path, dim=256), keys_of(6_000)

    found = store.find(keys)
    assert found.sum() >= 4 * 8 * 5
    assert len(list(store.folder.glob("[!.]*.parquet"))) >= said
    for place, part in enumerate(read_all(store, keys)):
        assert (part is None) == (found[place] == 0)
        assert part is None or (part == place).all()

    assert start(0, 120).wait(timeout=60) == 0
    assert store.find(keys[:120]).all()


def test_what_a_killed_writer_left_is_ignored(tmp_path):
    store = open_store(tmp_path)
    store.add(keys_of(1), np.ones((1, 3), np.float32))
    (store.folder / ".half.xyz.parquet").write_bytes(b"PAR1 half")
    assert store.find(keys_of(1)).tolist() == [1]


@pytest.mark.parametrize("ask", ["find", "read"])
def test_a_damaged_shard_is_named(tmp_path, ask):
    store = open_store(tmp_path)
    store.add(keys_of(1), np.ones((1, 3), np.float32))
    (shard,) = store.folder.glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(
        StoreError, match=rf"{shard.name} cannot be read .*`mm store verify --set-aside`"
    ):
        list(getattr(store, ask)(keys_of(1)))


def test_a_shard_of_another_release_is_passed_over(tmp_path):
    store = open_store(tmp_path)
    store.add(keys_of(1), np.ones((1, 3), np.float32))
    (shard,) = store.folder.glob("*.parquet")
    pq.write_table(pq.read_table(shard).replace_schema_metadata({"mm_store": "1"}), shard)
    assert store.find(keys_of(1)).tolist() == [0]
    assert list(store.read(keys_of(1))) == []


def test_vectors_of_another_length_are_named(tmp_path):
    open_store(tmp_path).add(keys_of(1), np.ones((1, 3), np.float32))
    with pytest.raises(
        StoreError, match=r"another length than the 4 of encoder e; raise `version`"
    ):
        list(open_store(tmp_path, dim=4).read(keys_of(1)))


@pytest.mark.parametrize(
    ("matrix", "steps"),
    [
        (np.ones((2, 3), np.float32), None),
        (np.ones((1, 3)), None),
        (np.ones(3, np.float32), None),
        (np.ones((1, 4), np.float32), None),
        (np.ones((1, 3), np.float32), np.array([2])),
    ],
)
def test_a_wrong_matrix_is_refused(tmp_path, matrix, steps):
    with pytest.raises(
        DataContractError, match=r"needs float32 \(\d, 3\) for 1 keys with \d steps"
    ):
        open_store(tmp_path).add(keys_of(1), matrix, steps)


def test_a_state_is_kept_by_what_decides_it(tmp_path):
    assert find_state(tmp_path, "a") is None
    keep_state(tmp_path, "a", {"mean": np.arange(3.0)})
    np.testing.assert_array_equal(find_state(tmp_path, "a")["mean"], [0, 1, 2])
    assert find_state(tmp_path, "b") is None


def test_a_damaged_state_is_named(tmp_path):
    keep_state(tmp_path, "a", {"mean": np.arange(3.0)})
    (tmp_path / "states/a.safetensors").write_bytes(b"short")
    with pytest.raises(
        StoreError, match=r"fitted state .*a\.safetensors cannot be read .*delete it"
    ):
        find_state(tmp_path, "a")
