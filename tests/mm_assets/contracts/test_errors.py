from multiprocessing import Pipe

from mm_assets.contracts.errors import BadSampleError


def test_a_finding_survives_being_sent_to_another_process():
    here, there = Pipe()
    with here, there:
        here.send(BadSampleError("text_empty", "nothing"))
        error = there.recv()
    assert type(error) is BadSampleError
    assert (error.reason, error.detail, str(error)) == (
        "text_empty",
        "nothing",
        "text_empty: nothing",
    )


def test_a_detail_can_be_written_is_short_and_the_same_in_each_run():
    cell = f"\ud800 {object()!r} " + "x" * 10_000
    detail = BadSampleError("row_unreadable", f"it holds {cell}").detail
    assert detail.startswith("it holds \\ud800 <object object> xxx")
    assert detail.endswith("x…")
    assert len(detail.encode()) < 1020
