import numpy as np

from mm_assets.evaluation.errors import MOST_ERRORS, find_confident_errors


def test_the_most_surprising_come_first_and_right_answers_never():
    assert find_confident_errors(np.array([0.0, 0.6, 0.9, 0.0, 0.6])).tolist() == [2, 1, 4]
    assert find_confident_errors(np.zeros(3)).tolist() == []


def test_no_more_are_found_than_are_shown():
    surprise = np.random.default_rng(0).random(100)
    found = find_confident_errors(surprise)
    assert surprise[found].tolist() == sorted(surprise, reverse=True)[:MOST_ERRORS]
