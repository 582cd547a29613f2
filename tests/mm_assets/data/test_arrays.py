import io
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.arrays import read_matrix

MOST = 1000
NUMBERS = np.array([[1.0, 2.0], [np.nan, 3.5], [-4.0, 5e3]])


def to_npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def to_npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def to_parquet(**columns):
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def write_header(shape, dtype="<f8"):
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


TEXTS = {
    "commas": b"1,2\n,3.5\n-4,5e3\n",
    "a header": b"one,two\n1,2\nNaN,3.5\n-4,5e3\n",
    "quotes and a mark": b'\xef\xbb\xbf"one","two"\r\n"1","2"\r\n"",3.5\r\n-4,5e3\r\n',
    "tabs": b"one\ttwo\n1\t2\nNA\t3.5\n-4\t5e3\n",
    "semicolons": b"1;2\nnull;3.5\n-4;5e3\n",
    "spaces and a remark": b"# 2 Hz\n1 2\n\nnone 3.5\n-4 5e3\n",
    "old line ends": b"1,2\r,3.5\r-4,5e3\r",
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_read_however_it_is_cut(name):
    found = read_matrix(TEXTS[name], most=MOST)
    np.testing.assert_array_equal(found.numbers, NUMBERS)
    assert found.is_table


@pytest.mark.parametrize(
    "data",
    [
        to_npy(NUMBERS),
        to_npy(np.asfortranarray(NUMBERS)),
        to_npy(NUMBERS.astype(">f4")),
        to_npz(signal=NUMBERS),
        to_parquet(one=[1, None, -4], two=[2.0, 3.5, 5e3]),
    ],
)
def test_binary_files_are_told_by_their_bytes(data):
    np.testing.assert_array_equal(read_matrix(data, most=MOST).numbers, NUMBERS)


@pytest.mark.parametrize(
    "data", [b"time,v1,ii\n0,1,2\n1,3,4\n", to_parquet(time=[0, 1], v1=[1, 3], ii=[2, 4])]
)
def test_columns_are_taken_by_name_and_in_order(data):
    found = read_matrix(data, most=MOST, columns=["ii", "v1"])
    np.testing.assert_array_equal(found.numbers, [[2, 1], [4, 3]])
    assert found.names == ("ii", "v1")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (to_npy(np.array([Bomb()]), allow_pickle=True), "array_unreadable", "nothing is unpickled"),
        (pickle.dumps(Bomb()), "array_unreadable", "no text file of numbers"),
        (to_npy(np.array(["a"])), "array_unreadable", "must be real, got dtype <U1"),
        (to_npy(np.array([1j])), "array_unreadable", "must be real, got dtype complex128"),
        (write_header((10**15,)), "array_too_large", rf"at least {10**15} numbers, 1000 is most"),
        (
            write_header((10, 10)) + bytes(8),
            "array_unreadable",
            "is 800 bytes, but 8 follow",
        ),
        (write_header((-1, -8)) + bytes(64), "array_unreadable", r"promises shape \(-1, -8\)"),
        (write_header((0, 2)), "array_unreadable", r"got one of shape \(0, 2\)"),
        (write_header((1, 1, 1)) + bytes(8), "array_unreadable", "one or two axes"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "array_unreadable", "it is no npy file"),
        (b"\x93NUMPY\x09\x00", "array_unreadable", "it is no npy file"),
        (b"PK\x03\x04" + bytes(40), "array_unreadable", "it is no npz file"),
        (to_npz(a=NUMBERS, b=NUMBERS), "array_unreadable", "must hold one array, got 2"),
        (b"PAR1 and no more PAR1", "array_unreadable", "it is no parquet file"),
        (
            to_parquet(a=["x"]),
            "array_columns",
            r"column 'a' is string; all must be numbers: name those",
        ),
        (to_parquet(a=np.zeros(2000)), "array_too_large", "at least 2000 numbers"),
        (b"1\n" * 2000, "array_too_large", "at least 1001 numbers"),
        (b"," * 2000, "array_too_large", "at least 2001 numbers"),
        (b"1,2\n3\n", "array_unreadable", "number of columns changed"),
        (b"1,2\n3,x\n", "array_unreadable", "could not convert string 'x'"),
        (b"a,b\n", "array_unreadable", "holds a header alone"),
        (b" \n\n", "array_unreadable", "blank lines alone"),
    ],
)
def test_hostile_files_have_their_reason(data, reason, detail):
    with pytest.raises(BadSampleError, match=detail) as caught:
        read_matrix(data, most=MOST)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"a,b\n1,2\n", r"one column 'c' is needed, got 0; it has 'a', 'b'"),
        (b"c,c\n1,2\n", r"one column 'c' is needed, got 2"),
        (b"1,2\n", "the file has no header"),
        (to_npy(NUMBERS), "columns of a table, but it is npy"),
    ],
)
def test_columns_that_are_not_there_are_named(data, detail):
    with pytest.raises(BadSampleError, match=detail) as caught:
        read_matrix(data, most=MOST, columns=["c"])
    assert caught.value.reason == "array_columns"


def test_an_archive_unpacks_no_further_than_allowed():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(BadSampleError, match="it unpacks to more than 81536 bytes"):
        read_matrix(file.getvalue(), most=MOST)
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    good=st.sampled_from(
        [*TEXTS.values(), to_npy(NUMBERS), to_npz(a=NUMBERS), to_parquet(a=[1.0, 2.0])]
    ),
    at=st.integers(0, 10_000),
    byte=st.integers(0, 255),
    cut=st.booleans(),
)
def test_a_damaged_file_is_read_or_refused(good, at, byte, cut):
    at %= len(good)
    damaged = good[:at] if cut else good[:at] + bytes([byte]) + good[at + 1 :]
    try:
        found = read_matrix(damaged, most=MOST)
    except BadSampleError:
        return
    assert found.numbers.size <= MOST
