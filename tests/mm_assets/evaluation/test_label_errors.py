import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_assets.evaluation.label_errors import (
    find_label_errors,
    measure_label_errors,
    plot_label_errors,
)
from mm_assets.targets.multiclass import Multiclass
from mm_assets.targets.multilabel import Multilabel
from mm_assets.targets.regression import Regression

EQUAL = 1e-6  # cleanlab's FLOATING_POINT_COMPARISON


def follow_the_paper(labels, probabilities):
    """Find off-diagonals of the confident joint, equations 1 and 2, row by row.

    In a collision, where several classes are reached, cleanlab takes the most probable of all; and
    what is short of a threshold or of the highest share by at most `EQUAL` has it.
    """
    classes = range(probabilities.shape[1])
    thresholds = {j: np.mean(probabilities[labels == j, j]) for j in classes if (labels == j).any()}
    found = []
    for row, shares in enumerate(probabilities):
        reached = [j for j in thresholds if shares[j] >= thresholds[j] - EQUAL]
        if not reached:
            continue
        counted = reached[0] if len(reached) == 1 else shares.argmax()
        is_best = shares[labels[row]] + EQUAL >= shares.max()
        if counted != labels[row] and not is_best:
            found.append(row)
    return found


def find_margin(labels, probabilities, row):
    others = np.delete(probabilities[row], labels[row])
    return probabilities[row, labels[row]] - others.max()


def test_by_hand():
    probabilities = np.array(
        [[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.1, 0.9], [0.3, 0.7], [0.6, 0.4]]
    )
    labels = np.array([0, 0, 0, 1, 1, 1])
    # Thresholds: (0.9 + 0.8 + 0.05) / 3 = 0.583 for class 0, (0.9 + 0.7 + 0.4) / 3 = 0.667.
    # Row 2 counts as class 1, row 5 as class 0; row 2's margin is the worse.
    assert find_label_errors(labels, probabilities).tolist() == [2, 5]


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(10, 60))
def test_what_is_found_is_what_the_paper_counts(seed, classes, rows):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.7), rows)
    labels = np.array([rng.choice(classes, p=shares) for shares in probabilities])
    found = find_label_errors(labels, probabilities).tolist()
    known, numbers = np.unique(labels, return_inverse=True)
    if len(known) == classes:
        assert sorted(found) == follow_the_paper(labels, probabilities)
    # A class that no row is labelled with is out of the question.
    shares = probabilities[:, known] / probabilities[:, known].sum(axis=1, keepdims=True)
    margins = [find_margin(numbers, shares, row) for row in found]
    assert margins == pytest.approx(sorted(margins), abs=1e-12)


def test_planted_errors_come_first():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    shares = 0.03 + 0.91 * np.eye(3)[truth]
    probabilities = np.stack([rng.dirichlet(40 * row) for row in shares])
    labels = truth.copy()
    labels[:15] = (labels[:15] + 1) % 3
    found = find_label_errors(labels, probabilities).tolist()
    # The model must be as sure as it is on average, which it is in about half of them.
    assert set(found) <= set(range(15))
    assert len(found) >= 5


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 2, 2]])
def test_a_class_without_rows_is_no_obstacle(labels):
    probabilities = np.array([[0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    found = find_label_errors(np.array(labels), probabilities)
    assert set(found.tolist()) <= {0, 1, 2}


def test_classes_are_named():
    target = Multiclass(("glad", "sad"))
    probabilities = np.array([[0.95, 0.05]] * 5 + [[0.1, 0.9]] * 5)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    (found,) = measure_label_errors(target, labels, probabilities)
    assert found == {
        "row": 4,
        "given": "sad",
        "suggested": "glad",
        "given_probability": pytest.approx(0.05),
        "suggested_probability": pytest.approx(0.95),
    }


def test_each_label_of_several_is_looked_at_by_itself():
    target = Multilabel(("loud", "fast"))
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 0], [0, 0]])
    probabilities = np.where(labels == 1, 0.9, 0.1)
    labels[0, 1] = 1  # given as fast, which nothing speaks for
    (found,) = measure_label_errors(target, labels, probabilities)
    assert (found["row"], found["given"], found["suggested"]) == (0, "fast", "not fast")


def test_numbers_have_no_classes_to_mistake():
    target = Regression.from_state({"mean": 0.0, "scale": 1.0})
    assert measure_label_errors(target, np.array([1.0, 2.0]), np.array([[1.0], [9.0]])) is None


def test_the_picture_names_the_most_frequent_first(tmp_path):
    kinds = [
        {"given": "$a$", "suggested": "b", "count": 3},
        {"given": "b", "suggested": "$a$", "count": 1},
    ]
    for file in ("one.svg", "two.svg"):
        plot_label_errors("mood", {"label_errors": {"kinds": kinds}}, tmp_path / file)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert text.index("$a$ → b") < text.index("b → $a$")
    plot_label_errors("mood", {"label_errors": {"kinds": []}}, tmp_path / "none.svg")
