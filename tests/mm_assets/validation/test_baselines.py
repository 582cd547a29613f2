import math

from mm_assets.validation.baselines import check_baselines

SOUND = {
    "loss_fell_by": {"text": 0.5, "text+photo": 0.7},
    "parameters_not_finite": 0,
    "linear_gains": {"mood": 0.3},
}


def failed(**changes):
    suite = check_baselines(**(SOUND | changes))
    return {result.column: result.severity for result in suite.failed}


def test_baselines_that_have_learned_pass():
    assert failed() == {}


def test_what_has_learned_nothing_is_warned_of_by_name():
    assert failed(loss_fell_by={"text": 0.5, "text+photo": 0.0}) == {
        "text+photo_loss_fell_by_nats": "warning"
    }
    assert failed(linear_gains={"mood": -0.1}) == {"mood_linear_gain_nats": "warning"}


def test_weights_that_are_not_finite_block():
    assert failed(parameters_not_finite=3) == {"parameters_not_finite": "error"}


def test_a_gain_that_is_no_number_does_not_pass():
    assert "mood_linear_gain_nats" in failed(linear_gains={"mood": -math.inf})
