import numpy as np
import pytest

from mm_assets.contracts.errors import BadSampleError, StageError
from mm_assets.data.cells import name_broken_cell, write_values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "missing"),
        (float("nan"), "missing"),
        (0.123456, "0.1235"),
        ([1, np.float32(0.5), None], "[1, 0.5, missing]"),
        ({"age": 31, "region": "north"}, "age: 31, region: north"),
    ],
)
def test_values_are_written_in_one_line(value, text):
    assert write_values(value) == text


def test_a_broken_cell_is_named_with_who_read_it_and_its_sample():
    with (
        pytest.raises(
            StageError,
            match=r"embed@voice: sample 's4' \(4\.wav\) was valid and cannot be used now: gone: .*run "
            r"`dvc repro` to validate it again",
        ),
        name_broken_cell("embed@voice:", "s4", "4.wav"),
    ):
        raise BadSampleError("gone", "no such file")
