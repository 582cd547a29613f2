import pytest

from mm_assets.evaluation.multiple_tests import adjust_holm


def test_adjustment_is_holms():
    # Smallest times 4, next times 3, and never less than the one before.
    assert adjust_holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, None, 0.06, 0.02], nan_ok=True
    )
    assert adjust_holm([0.9, 0.8]) == [1.0, 1.0]
    assert adjust_holm([None]) == [None]
