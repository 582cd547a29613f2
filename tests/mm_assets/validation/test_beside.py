import pandas as pd
import psutil
import pytest

from mm_assets.contracts.errors import StageError
from mm_assets.validation.beside import CheckBeside
from mm_assets.validation.embed import check_embeddings

pytestmark = pytest.mark.slow  # each starts a process that imports Great Expectations

MEASURES = pd.DataFrame(
    {
        "id": ["a", "b"],
        "copy": 0,
        "dim": [3, 4],
        "values_not_finite": [0, 1],
        "is_zero": False,
        "is_average": False,
        "is_copied": False,
    }
)


def test_results_are_those_of_the_check_here():
    with CheckBeside() as checking:
        found = checking.run(check_embeddings, MEASURES, rows=2, dim=3)
    assert found == check_embeddings(MEASURES, rows=2, dim=3)
    assert [result.success for result in found.results] == [True, True, False, False] + [True] * 3


def test_a_check_that_raises_fails_the_stage(capfd):
    with (
        CheckBeside() as checking,
        pytest.raises(StageError, match=r"check_embeddings ended with 1 .* standard error"),
    ):
        checking.run(check_embeddings, None, rows=2, dim=3)
    assert "AttributeError" in capfd.readouterr().err


def test_the_process_ends_with_the_block():
    before = psutil.Process().children()
    with CheckBeside():
        (started,) = set(psutil.Process().children()) - set(before)
    assert not started.is_running()
