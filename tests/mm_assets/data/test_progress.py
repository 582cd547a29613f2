import sys

import pytest

from mm_assets.data import progress
from mm_assets.data.progress import show_progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where a test says so."""

    class Clock:
        now_s = 0.0

        def monotonic(self):
            return self.now_s

    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


def work(clock, seconds, **options):
    for _ in show_progress(range(60), title="embed", unit="row", **options):
        clock.now_s += seconds


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(clock, capsys):
    work(clock, 0.75, total=60)
    said = capsys.readouterr().err
    assert "\r" not in said
    lines = said.splitlines()
    assert all(line.startswith("embed:  ") for line in lines[:-1])
    assert lines[-1].startswith("embed: 100%|")
    # The first one that ends more than 10 s after the line before is the 14th.
    assert [line.split("| ")[1].split(" ")[0] for line in lines] == [
        f"{done}/60" for done in (14, 28, 42, 56, 60)
    ]


def test_a_log_gets_nothing_of_what_is_short(clock, capsys):
    work(clock, 0.1, total=60)
    assert capsys.readouterr().err == ""


def test_items_count_by_their_size_and_a_total_need_not_be_known(clock, capsys):
    work(clock, 1, size=lambda _: 32)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" [")[0] for line in lines] == [
        f"embed: {done}row" for done in range(320, 1921, 320)
    ]


def test_a_terminal_gets_a_live_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(show_progress(range(3), title="embed", total=3)) == [0, 1, 2]
    assert capsys.readouterr().err.count("\r") >= 2
