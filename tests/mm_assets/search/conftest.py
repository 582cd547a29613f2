import pytest

SPACE = {
    "fusion.dropout": {"low": 0.0, "high": 0.6},
    "train.learning_rate": {"low": 0.003, "high": 0.1, "log": True},
}


@pytest.fixture
def searchable(embedded):
    """A trial takes a tenth of a second; today's learning rate is far too low."""
    embedded.params["train"] = {"epochs": 4, "learning_rate": 0.0001, "seeds": 1}
    embedded.params["search"] = {"space": dict(SPACE), "trials": 6}
    return embedded
