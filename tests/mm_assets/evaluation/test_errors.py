import numpy as np

from mm_assets.evaluation.errors import MOST_ERRORS, find_confident_errors, find_sure_answers


def test_the_most_surprising_come_first_and_right_answers_never():
    assert find_confident_errors(np.array([0.0, 0.6, 0.9, 0.0, 0.6])).tolist() == [2, 1, 4]
    assert find_confident_errors(np.zeros(3)).tolist() == []


def test_no_more_are_found_than_are_shown():
    surprise = np.random.default_rng(0).random(100)
    found = find_confident_errors(surprise)
    assert surprise[found].tolist() == sorted(surprise, reverse=True)[:MOST_ERRORS]


def test_of_right_answers_the_surest_of_each_answer_is_found():
    sure = np.array([0.6, 0.9, 0.8, 0.7, 0.95])
    found = find_sure_answers(
        np.array([0, 0, 0, 0, 0.95]), np.stack([sure, 1 - sure], axis=1), ["a", "a", "b", "b", "c"]
    )
    assert found.tolist() == [1, 2]


def test_of_numbers_the_nearest_are_found():
    found = find_sure_answers(np.array([2.0, 0.1, 0.3]), np.ones((3, 1)), ["1", "2", "3"])
    assert found.tolist() == [1, 2]
    assert find_sure_answers(np.ones(2), np.ones((2, 1)), ["1", "2"]).tolist() == []
