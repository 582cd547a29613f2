import numpy as np
import pytest

from mm_assets.contracts.errors import DataContractError
from mm_assets.evaluation.answers import Answers
from mm_assets.evaluation.cost import measure_losses, plot_cost
from mm_assets.evaluation.lines import describe_cost
from mm_assets.evaluation.metrics import compare_paired
from mm_assets.targets.multiclass import Multiclass

DRAWS = {"resamples": 300, "confidence": 0.95, "seed": 0}
TARGET = Multiclass(("a", "b"))
GROUPS = np.array([f"g{n // 2}" for n in range(12)])


def answer(rows, right):
    right = np.asarray(right, bool)
    shares = np.stack([right, ~right], axis=1).astype(float)
    return Answers(
        np.array(rows, np.int64), shares, TARGET.tally(np.zeros(len(right), np.int64), shares)
    )


COMPLETE = answer(range(2, 12), [1] * 9 + [0])
# Also answers rows 0 and 1, which lack what is left out; they do not count.
WITHOUT = {
    "text": answer(range(12), [0, 0] + [1] * 5 + [0] * 5),
    "voice": answer(range(2, 12), [1] * 9 + [0]),
}


def test_losses_are_counted_on_the_rows_that_have_everything():
    found = measure_losses(TARGET, COMPLETE, WITHOUT, GROUPS, **DRAWS)
    assert found["text"]["difference"] == pytest.approx(0.9 - 0.5)
    assert (found["text"]["rows"], found["text"]["groups"]) == (10, 5)
    assert found["text"]["difference_low"] < 0.4 < found["text"]["difference_high"]
    assert (found["voice"]["difference"], found["voice"]["p_value"]) == (0, 1)
    same = compare_paired(
        TARGET, COMPLETE.tallies, WITHOUT["text"].tallies[2:], GROUPS[2:], **DRAWS
    )
    assert found["text"] == same


def test_no_complete_row_is_refused():
    with pytest.raises(DataContractError, match="at least 1 row with a known label, got 0"):
        measure_losses(TARGET, answer([], []), WITHOUT, GROUPS, **DRAWS)


@pytest.fixture
def evidence():
    losses = measure_losses(TARGET, COMPLETE, WITHOUT, GROUPS, **DRAWS)
    weights = {"text": 90.9, "voice": 0.0}
    cost = {name: {**one, "megabytes": weights[name]} for name, one in losses.items()}
    return {"headline": "accuracy", "cost": cost}


def test_lines_for_a_person(evidence):
    text, voice = describe_cost(evidence, {"text": 4.25})
    assert text.startswith("without text: lose +40.0 points of accuracy (+")
    assert text.endswith("save 4.2 ms a row and 90.9 MB")
    assert voice == "without voice: lose +0.0 points of accuracy (+0.0 to +0.0), save 0.0 MB"


def test_the_picture(tmp_path, evidence):
    for file in ("one.svg", "two.svg"):
        plot_cost("mood", evidence, tmp_path / file)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert "text (90.9 MB)" in text
    assert "on 10 test rows" in text
