import pandas as pd
import pytest

from mm_assets.validation.export import check_export


def check(largest=1e-6, served=1e-6, megabytes=10.0):
    differences = pd.DataFrame(
        {
            "subset": ["text", "text+image"],
            "batch": 3,
            "largest": [1e-7, largest],
            "served": [served, 1e-7],
        }
    )
    return check_export(differences, megabytes=megabytes, tolerance=1e-4, largest_megabytes=100.0)


def test_equal_answers_pass():
    assert check().passed


@pytest.mark.parametrize(
    ("broken", "column"),
    [
        ({"largest": 2e-4}, "largest"),
        ({"largest": float("inf")}, "largest"),
        ({"served": 2e-4}, "served"),
        ({"megabytes": 101.0}, "megabytes"),
    ],
)
def test_one_difference_above_the_tolerance_stops_the_pipeline(broken, column):
    suite = check(**broken)

    assert suite.blocks
    assert [result.column for result in suite.failed] == [column]
    assert suite.failed[0].advice
