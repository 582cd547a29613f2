"""A disk that is too small, full or read-only."""

import errno
import shutil

import pytest

from mm_assets.contracts.errors import DiskError
from mm_assets.data.disk import format_bytes, name_disk_errors, require_space


def test_a_need_beyond_the_free_bytes_stops_and_one_within_them_does_not(tmp_path):
    free = shutil.disk_usage(tmp_path).free

    require_space(tmp_path, free // 2, what="test")
    with pytest.raises(DiskError) as caught:
        require_space(tmp_path / "not" / "yet", 10**18, what="embed@text: vectors of 9 rows")

    message = str(caught.value)
    assert message.startswith("embed@text: vectors of 9 rows needs 1000000000.0 GB in ")
    assert f"{tmp_path}/not/yet, but only " in message
    assert "are free there; free some space, or put the project on a larger disk" in message
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (2_340_000, "2.3 MB"),
        (10**10, "10.0 GB"),
    ],
)
def test_bytes_are_written_in_powers_of_ten(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_named_whichever_library_met_it(tmp_path, error):
    full = pytest.raises(DiskError, match=r"the disk is full: .*/model could not be written .*free")
    with full, name_disk_errors(tmp_path / "model"):
        raise error


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_must_not_be_written_to_is_named(tmp_path, code):
    forbidden = pytest.raises(
        DiskError, match=rf"^{tmp_path} cannot be written to \(.*give this user"
    )
    with forbidden, name_disk_errors(tmp_path / "model"):
        raise OSError(code, "no", str(tmp_path / ".model.tmp"))


def test_a_folder_that_is_a_disk_of_its_own_is_named(tmp_path):
    mounted = pytest.raises(
        DiskError, match=r"/data cannot be replaced \(.*since a disk is mounted"
    )
    with mounted, name_disk_errors(tmp_path / "data"):
        raise OSError(errno.EBUSY, "busy", str(tmp_path / "data"))


def test_other_errors_pass_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), name_disk_errors(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")
    with pytest.raises(PermissionError), name_disk_errors(tmp_path / "out" / "model"):
        raise PermissionError(errno.EACCES, "no", str(tmp_path / "elsewhere" / "read.bin"))
