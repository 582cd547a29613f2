import pytest


@pytest.fixture(scope="session")
def require_share():
    """Give a check that so many of so many is what a chance leads to: within 4 standard errors."""

    def require(count, trials, chance):
        error = (trials * chance * (1 - chance)) ** 0.5
        assert abs(count - trials * chance) <= 4 * error, (
            f"{count} of {trials}, {trials * chance:.0f} +- {error:.1f} were expected"
        )

    return require
