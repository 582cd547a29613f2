"""How often a sensor asks again for what failed."""

import time

import dagster as dg
import pytest

from orchestration.asked import Asked, ask, read_asked

FAILED = dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.FAILURE)


def test_what_never_succeeds_is_asked_for_ten_times_in_a_week(monkeypatch):
    asked, hours = ask("a", None, None), [0]
    start = asked.at_s
    for hour in range(1, 7 * 24):
        monkeypatch.setattr(time, "time", lambda hour=hour: start + hour * 3600)
        found = ask("a", asked, FAILED)
        if isinstance(found, Asked):
            assert found.key != asked.key
            asked = found
            hours.append(hour)
    # Pauses of 1, 2, 4, 8, 16 and then 32 hours each.
    assert hours == [0, 1, 3, 7, 15, 31, 63, 95, 127, 159]


def test_another_state_is_asked_for_at_once_and_counts_anew():
    before = Asked(state="a", at_s=time.time(), times=7)
    assert isinstance(ask("a", before, FAILED), str)
    assert ask("b", before, FAILED).times == 1


@pytest.mark.parametrize("cursor", [None, "", '{"b1": "0123"}'])
def test_no_cursor_or_an_earlier_releases_is_no_request(cursor):
    assert read_asked(cursor) is None
    request = Asked(state="a", at_s=1.5)
    assert read_asked(request.model_dump_json()) == request
