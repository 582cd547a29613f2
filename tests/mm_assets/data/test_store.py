import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.contracts.errors import DataContractError, StoreError
from mm_assets.data.store import VectorStore, vector_key


def keys_of(count):
    return [vector_key(str(number), None) for number in range(count)]


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
    store, keys = VectorStore(tmp_path, "f"), keys_of(5)
    matrix = np.random.default_rng(0).standard_normal((5, 3), dtype=np.float32)
    store.add(keys[:2], matrix[:2])
    store.add(keys[2:4], matrix[2:4])

    found = store.find(keys)

    assert set(found) == set(keys[:4])
    for key, expected in zip(keys, matrix[:4], strict=False):
        np.testing.assert_array_equal(found[key], expected)
        assert found[key].dtype == np.float32


def test_encoders_do_not_see_each_other(tmp_path):
    VectorStore(tmp_path, "one").add(keys_of(1), np.ones((1, 2), np.float32))
    assert VectorStore(tmp_path, "two").find(keys_of(1)) == {}


def test_an_empty_store_and_an_empty_question_find_nothing(tmp_path):
    store = VectorStore(tmp_path, "f")
    assert store.find(keys_of(3)) == {}
    store.add([], np.empty((0, 4), np.float32))
    assert not store.folder.exists()
    store.add(keys_of(1), np.ones((1, 4), np.float32))
    assert store.find([]) == {}


def test_many_writers_at_once_lose_nothing(tmp_path):
    store, keys = VectorStore(tmp_path, "f"), keys_of(64)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.add([keys[i]], np.full((1, 2), i, np.float32)), range(64)))
    found = store.find(keys)
    assert [found[key][0] for key in keys] == list(range(64))


def test_what_a_killed_writer_left_is_ignored(tmp_path):
    store = VectorStore(tmp_path, "f")
    store.add(keys_of(1), np.ones((1, 2), np.float32))
    (store.folder / ".half.xyz.parquet").write_bytes(b"PAR1 half")
    assert len(store.find(keys_of(1))) == 1


def test_a_damaged_shard_is_named(tmp_path):
    store = VectorStore(tmp_path, "f")
    store.add(keys_of(1), np.ones((1, 2), np.float32))
    (shard,) = store.folder.glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(StoreError, match=rf"{shard.name} cannot be read .*delete it and run again"):
        store.find(keys_of(1))


def test_a_shard_of_another_release_is_named(tmp_path):
    store = VectorStore(tmp_path, "f")
    store.add(keys_of(1), np.ones((1, 2), np.float32))
    (shard,) = store.folder.glob("*.parquet")
    pq.write_table(pq.read_table(shard).replace_schema_metadata({"mm_store": "0"}), shard)
    with pytest.raises(StoreError, match=r"has schema version 0, this release reads 1; delete it"):
        store.find(keys_of(1))


@pytest.mark.parametrize(
    "matrix", [np.ones((2, 3), np.float32), np.ones((1, 3)), np.ones(3, np.float32)]
)
def test_a_wrong_matrix_is_refused(tmp_path, matrix):
    with pytest.raises(DataContractError, match=r"one key per row of a float32 matrix, got 1 keys"):
        VectorStore(tmp_path, "f").add(keys_of(1), matrix)
