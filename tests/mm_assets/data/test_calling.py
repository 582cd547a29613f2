import os
import subprocess

import pytest

from mm_assets.contracts.errors import StageError, TrainingError
from mm_assets.data.calling import CallBeside


def test_a_call_gives_what_the_function_returns():
    with CallBeside(divmod, 7, 2) as first, CallBeside(os.getpid) as second:
        assert first.result() == (3, 1)
        assert second.result() != os.getpid()


def test_what_it_prints_is_no_part_of_the_answer():
    with CallBeside(os.system, "echo noise") as call:
        assert call.result() == 0


def test_an_error_of_ours_is_raised_here():
    told = pytest.raises(TrainingError, match="the loss is nan")
    with CallBeside(TrainingError, "the loss is nan") as call, told:
        call.result()


def test_another_error_says_where_to_look():
    told = pytest.raises(StageError, match=r"divmod ended with 1 in a process of its own; what")
    with CallBeside(divmod, 1, 0) as call, told:
        call.result()


def test_it_ends_with_the_block():
    with CallBeside(subprocess.run, ["sleep", "60"]) as call:
        process = call._process
        assert process.poll() is None
    assert process.returncode == -9
