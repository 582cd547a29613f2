import os

import pytest

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.media import read_media


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


@pytest.mark.parametrize("cell", ["../secret.txt", "photo/../../secret.txt", "/etc/hostname"])
def test_a_path_that_leads_outside_is_refused_before_it_is_opened(data, cell):
    error = reason_of(cell, data)
    assert error.reason == "path_outside_data"
    assert "leads outside the data folder; give a path relative to it" in error.detail


def test_a_link_is_judged_by_where_it_leads(data):
    (data / "out.png").symlink_to(data.parent / "secret.txt")
    (data / "in.png").symlink_to(data / "photo" / "a.png")
    assert reason_of("out.png", data).reason == "path_outside_data"
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
        ("x" * 5000, "file_unreadable"),
        (7, "path_not_text"),
    ],
)
def test_other_bad_cells_have_their_own_reason(data, cell, reason):
    (data / "empty.png").touch()
    os.mkfifo(data / "pipe")  # opening it would wait for ever
    error = reason_of(cell, data)
    assert error.reason == reason
    assert str(data) not in error.detail, "a report must not hold this machine's paths"


def test_a_file_over_the_limit_is_not_read(data):
    (data / "big.bin").write_bytes(b"0" * 1500)
    error = reason_of("big.bin", data, max_megabytes=0.001)
    assert error.reason == "file_too_large"
    assert error.detail == "'big.bin' has 0.0 MB, the limit is 0.001 MB"
