"""Two machines, that is two folders, and a store between them: in S3, as moto serves it, or a folder."""

import subprocess
import sys
import time

import numpy as np
import pytest

from mm_assets.contracts.errors import StoreError
from mm_assets.data.store import Origin, VectorStore, find_state, keep_state, vector_key
from mm_assets.data.store_remote import RemoteStore
from mm_assets.data.store_upkeep import find_fault, list_all_shards

STATE = "5" * 64
BIG = 20_000  # rows of a shard of 8 MB, so that a push can be killed in the middle of one
PUSH = """
import sys
from pathlib import Path
from mm_assets.data.store_remote import RemoteStore
RemoteStore(Path(sys.argv[1]), sys.argv[2]).push()
"""


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def url(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "shared")
    return f"{request.getfixturevalue('bucket')}/team/store"


def fill(root, first, rows, dim=4):
    """Add one shard whose vectors are their keys' numbers."""
    numbers = np.arange(first, first + rows)
    keys = np.array([vector_key(str(n), None) for n in numbers], dtype="S32")
    vectors = np.repeat(numbers[:, None], dim, axis=1).astype(np.float32)
    open_store(root, dim).add(keys, vectors)
    return keys, vectors


def open_store(root, dim=4):
    return VectorStore(root, "a" * 64, Origin("minilm", 1, dim))


def test_what_one_machine_computed_another_finds(tmp_path, url):
    here, there = tmp_path / "here", tmp_path / "there"
    keys, vectors = fill(here, 0, 5)
    keep_state(here, STATE, {"mean": np.ones(3, np.float32)})
    assert RemoteStore(here, url).push() == 3  # encoder.json, a shard, a state

    other = fill(there, 5, 2)  # with an encoder.json of its own
    assert RemoteStore(there, url).pull() == 2
    ((places, _, found),) = (part for part in open_store(there).read(keys) if len(part[0]))
    np.testing.assert_array_equal(found, vectors[places])
    np.testing.assert_array_equal(find_state(there, STATE)["mean"], np.ones(3))

    remote = RemoteStore(there, url)
    assert [remote.push(), remote.push(), remote.pull()] == [1, 0, 0]
    assert RemoteStore(here, url).pull() == 1
    assert open_store(here).find(other[0]).tolist() == [1, 1]
    assert not [path for path in here.rglob(".*") if path.is_file()]


def test_a_state_can_be_had_alone_and_work_is_noted_once_for_all(tmp_path, url):
    here, there = tmp_path / "here", tmp_path / "there"
    fill(here, 0, 5)
    keep_state(here, STATE, {"mean": np.ones(3, np.float32)})
    RemoteStore(here, url).push()
    remote = RemoteStore(there, url)
    remote.pull_state("6" * 64)  # nobody has it
    remote.pull_state(STATE)
    assert find_state(there, STATE) is not None
    assert list_all_shards(there) == []

    assert not remote.has_work("w")
    RemoteStore(here, url).note_work("w")
    assert remote.has_work("w")
    assert remote.pull() == 2  # what is noted is no file of the store


@pytest.mark.slow
def test_a_push_that_was_killed_leaves_nothing_by_halves_and_goes_on(tmp_path, url):
    here, there = tmp_path / "here", tmp_path / "there"
    sent = [fill(here, BIG * n, BIG, dim=96)[0] for n in range(12)]
    pushing = subprocess.Popen([sys.executable, "-c", PUSH, str(here), url])
    watched = RemoteStore(there, url)
    while len(watched._list()) < 2:
        assert pushing.poll() is None
        time.sleep(0.01)
    pushing.kill()
    pushing.wait()

    pulled = watched.pull()
    assert pulled >= 2
    assert {find_fault(shard) for shard in list_all_shards(there)} == {None}
    # The storage may still complete what it had been sent whole when the kill came.
    assert RemoteStore(here, url).push() <= 13 - pulled
    assert RemoteStore(there, url).pull() == 13 - pulled
    assert all((open_store(there, 96).find(keys) == 1).all() for keys in sent)


def test_a_file_that_comes_short_is_no_part_of_the_store(tmp_path):
    here, there, url = tmp_path / "here", tmp_path / "there", tmp_path / "shared"
    fill(here, 0, 5)
    RemoteStore(here, str(url)).push()
    remote = RemoteStore(there, str(url))
    remote._list()
    (shard,) = url.glob("*/*.parquet")
    shard.write_bytes(shard.read_bytes()[:-9])
    remote._there[shard.relative_to(url).as_posix()] += 9  # as it was listed
    with pytest.raises(StoreError, match=r"has \d+ bytes, but \d+ came; run it again"):
        remote._fetch(shard.relative_to(url).as_posix())
    assert list_all_shards(there) == []


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_named(bucket, tmp_path):
    fill(tmp_path, 0, 1)
    with pytest.raises(StoreError, match=r"store at s3://nowhere/store cannot be reached \("):
        RemoteStore(tmp_path, "s3://nowhere/store").push()


def test_another_kind_of_url_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"store at carrier-pigeon://x cannot be reached"):
        RemoteStore(tmp_path, "carrier-pigeon://x")


def test_an_empty_store_gives_nothing(tmp_path, url):
    remote = RemoteStore(tmp_path / "here", url)
    assert [remote.push(), remote.pull()] == [0, 0]
