import os
import time
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.media import _open_without_waiting, find_missing_folders, read_media


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "photo").mkdir(parents=True)
    (folder / "photo" / "a.png").write_bytes(b"bytes")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def reason_of(cell, folder, **limits):
    with pytest.raises(BadSampleError) as caught:
        read_media(cell, folder, **{"max_megabytes": 1.0, **limits})
    return caught.value


def test_a_file_inside_the_folder_is_read_whole(data):
    assert read_media("photo/a.png", data, max_megabytes=1.0) == b"bytes"
    assert read_media("photo/../photo/a.png", data, max_megabytes=1.0) == b"bytes"


@pytest.mark.parametrize("cell", ["../secret.txt", "photo/../../secret.txt"])
def test_a_path_that_leads_outside_is_refused_before_it_is_opened(data, cell):
    error = reason_of(cell, data)
    assert error.reason == "path_outside_data"
    assert "leads outside the data folder; give a path relative to it" in error.detail


def test_a_link_is_judged_by_where_it_leads(data):
    (data / "out.png").symlink_to(data.parent / "secret.txt")
    (data / "in.png").symlink_to(data / "photo" / "a.png")
    error = reason_of("out.png", data)
    assert error.reason == "path_outside_data"
    assert error.detail == (
        "'out.png' is a link, or lies in one, that leads outside the data folder; put the file itself "
        "there, as `mm import FOLDER` does"
    )
    assert read_media("in.png", data, max_megabytes=1.0) == b"bytes"


def test_a_data_folder_that_is_itself_a_link_is_fine(data, tmp_path):
    (tmp_path / "link").symlink_to(data)
    assert read_media("photo/a.png", tmp_path / "link", max_megabytes=1.0) == b"bytes"


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("absent.png", "file_missing"),
        ("photo", "file_missing"),
        ("", "file_missing"),
        ("pipe", "file_missing"),
        ("empty.png", "file_empty"),
        ("a\0b", "file_unreadable"),
        ("x" * 300, "file_unreadable"),
        ("x" * 5000, "file_unreadable"),
        ("a/" * 5_000_000, "file_unreadable"),
        ("/a" * 5_000_000, "file_unreadable"),
        ("../" * 3_000_000, "file_unreadable"),
        ("\ud800.png", "file_unreadable"),
        (7, "path_not_text"),
    ],
)
def test_other_bad_cells_have_their_own_reason(data, cell, reason):
    (data / "empty.png").touch()
    os.mkfifo(data / "pipe")  # opening it would wait for ever
    error = reason_of(cell, data)
    assert error.reason == reason
    assert str(data) not in error.detail, "a report must not hold this machine's paths"
    assert len(error.detail) < 500
    error.detail.encode()  # lone surrogates are escaped


def test_a_file_that_grows_meanwhile_is_read_as_far_as_it_went(data, monkeypatch):
    log, look = data / "log.bin", os.fstat
    log.write_bytes(b"0")

    def look_and_grow(handle):
        found = look(handle)
        log.write_bytes(log.read_bytes() + b"1")
        return found

    monkeypatch.setattr(os, "fstat", look_and_grow)
    read = read_media("log.bin", data, max_megabytes=1.0)
    assert 0 < len(read) < log.stat().st_size
    assert log.read_bytes().startswith(read)


def test_a_file_that_became_a_pipe_or_a_link_is_not_waited_for(data):
    # As if it had been a file when it was looked at.
    os.mkfifo(data / "pipe")
    (data / "link").symlink_to(data.parent / "secret.txt")
    with pytest.raises(FileNotFoundError):
        _open_without_waiting(data / "pipe")
    with pytest.raises(OSError, match="symbolic links"):
        _open_without_waiting(data / "link")


def test_a_file_over_the_limit_is_not_read(data):
    (data / "big.bin").write_bytes(b"0" * 1500)
    error = reason_of("big.bin", data, max_megabytes=0.001)
    assert error.reason == "file_too_large"
    assert error.detail == "'big.bin' has 0.0 MB, the limit is 0.001 MB"


@pytest.mark.parametrize(
    ("cell", "detail"),
    [
        ("/home/ann/project/photo/a.png", "write 'photo/a.png', relative to the data folder"),
        ("C:\\ann\\photo\\a.png", "write 'photo/a.png', relative to the data folder"),
        ("/etc/hostname", "make it relative to the data folder"),
        ("/x/../secret.txt", "make it relative to the data folder"),
        ("\\\\server\\share\\b.png", "make it relative to the data folder"),
    ],
)
def test_an_absolute_path_is_told_how_to_be_written(data, cell, detail):
    error = reason_of(cell, data)
    assert error.reason == "path_absolute"
    assert error.detail == (
        f"{cell!r} is an absolute path, which is another on every machine; {detail}"
    )


def test_even_an_absolute_path_into_the_folder_is_refused(data):
    error = reason_of(str(data / "photo/a.png"), data)
    assert error.reason == "path_absolute"
    assert error.detail.endswith("write 'photo/a.png', relative to the data folder")


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        ("Photo/A.PNG", "; there is 'photo/a.png', which differs in upper and lower case"),
        ("photo\\a.png", "; write it with forward slashes, 'photo/a.png'"),
        ("Photo\\a.png", "; there is 'photo/a.png', which differs in upper and lower case"),
        ("photo/b.png", ""),
        ("PHOTO", ""),
        ("photo/../PHOTO/a.png", ""),
    ],
)
def test_a_missing_file_is_named_with_the_one_that_was_meant(data, cell, hint):
    error = reason_of(cell, data)
    assert error.reason == "file_missing"
    assert error.detail == f"there is no file {cell!r} in the data folder{hint}"


def test_accents_may_be_encoded_in_two_ways(data):
    composed, cut = (unicodedata.normalize(form, "photo/é.png") for form in ("NFC", "NFD"))
    (data / cut).write_bytes(b"x")
    error = reason_of(composed, data)
    assert error.detail.endswith(f"there is {cut!r}, which differs in how its accents are encoded")


def test_a_file_that_comes_later_is_seen(data):
    assert "there is" not in reason_of("photo/NEW.png", data).detail.partition(";")[2]
    time.sleep(0.02)  # the file system's clock
    (data / "photo/new.png").write_bytes(b"x")
    assert reason_of("photo/NEW.png", data).detail.endswith("upper and lower case")


def test_many_missing_files_cost_no_listing_each(data, monkeypatch):
    (data / "photo/0.png").touch()
    listed, list_folder = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or list_folder(path))
    for at in range(10):
        reason_of(f"photo/{at}.PNG", data)
    assert data / "photo" in listed
    assert len(listed) == len(set(listed))


def test_missing_folders_are_counted_by_what_paths_start_with(data):
    (data / "top.png").touch()
    cells = ["photo/a.png", "photo/none.png", "img/a.png", "img/deep/b.png", "IMG\\c.png"]
    cells += ["/etc/x.png", "C:\\x.png", "top.png", "gone.png", "./photo/a.png", None, 7]
    found = find_missing_folders(pd.Series(cells), data)
    assert found == {"img": 2, "/": 2, "IMG": 1, "": 1}
    assert next(iter(found.values())) == 2
    assert find_missing_folders(pd.Series(["a/b"]), data / "nowhere") == {"a": 1}
