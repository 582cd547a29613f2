import ctypes
import functools
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest

from mm_assets.contracts.errors import BadSampleError, DataContractError, DecodingError
from mm_assets.data.decoding_pool import DecodingPool

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _this_file_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[3])


def double(batch):
    return [2 * item for item in batch]


def misbehave(batch):
    """Do to the process what each item says; numbers are doubled.

    Raises:
        BadSampleError: For ``bad``.
        KeyError: For ``bug``.
    """
    for item in batch:
        match item:
            case "segfault":
                ctypes.string_at(0)
            case "abort":
                os.abort()
            case "exit":
                os._exit(3)
            case "hang":
                time.sleep(999)
            case "hang in C":
                ctypes.CDLL(None).pause()
            case "ten gigabytes":
                np.ones(10 * 2**30, np.uint8)
            case "bad":
                raise BadSampleError("text_empty", "nothing there")
            case "bug":
                raise KeyError("a bug")
            case "pid":
                return os.getpid()
    return [2 * item for item in batch if not isinstance(item, str)]


def measure(batch):
    import resource

    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    variables = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")]
    return soft / 2**20 - pages * resource.getpagesize() / 2**20, variables, sorted(sys.modules)


@pytest.fixture
def before():
    """Processes of other tests, such as multiprocessing's resource tracker."""
    return set(psutil.Process().children(recursive=True))


@pytest.fixture
def children(before):
    """List processes of ours that are still there after a while: an end may take a moment."""

    def list_ours():
        found = set(psutil.Process().children(recursive=True)) - before
        return psutil.wait_procs(found, timeout=5)[1]

    return list_ours


@pytest.fixture
def pool(children):
    with DecodingPool(2, timeout_s=20.0, memory_mb=512) as pool:
        yield pool
    assert children() == []


def test_results_come_in_order_with_their_batch(pool):
    batches = [list(range(n, n + 3)) for n in range(0, 300, 3)]
    found = list(pool.map(double, iter(batches), ahead=5))
    assert found == [(batch, [2 * item for item in batch]) for batch in batches]


def test_no_batch_starts_no_process(children):
    with DecodingPool(2, timeout_s=1.0, memory_mb=256) as pool:
        assert list(pool.map(double, [], ahead=4)) == []
        assert children() == []


def test_at_most_ahead_batches_wait(pool):
    taken = []

    def batches():
        for at in range(50):
            taken.append(at)
            yield [at]

    results = pool.map(double, batches(), ahead=3)
    for at in range(20):
        assert next(results) == ([at], [2 * at])
        assert len(taken) <= at + 1 + 3
    results.close()


@pytest.mark.parametrize(
    ("item", "reason", "detail"),
    [
        (
            "segfault",
            "decoder_crashed",
            r"died \(SIGSEGV\); .*`compute\.decode_megabytes` from 512",
        ),
        ("abort", "decoder_crashed", r"\(SIGABRT\)"),
        ("exit", "decoder_crashed", r"\(exit code 3\)"),
        ("hang", "decoder_timeout", r"longer than 2 s; .*`compute\.decode_s` in params\.yaml"),
        ("hang in C", "decoder_timeout", "longer than 2 s"),
        ("ten gigabytes", "decoder_out_of_memory", r"more than 512 MB; .*`compute\.decode_mega"),
        ("bad", "text_empty", "^nothing there$"),
    ],
)
def test_only_the_guilty_item_is_lost(item, reason, detail, children):
    with DecodingPool(2, timeout_s=2.0, memory_mb=512) as pool:
        found = list(pool.map(misbehave, [[1, 2], [3, item, 4], [5]], ahead=4))
    assert [batch for batch, _ in found] == [[1, 2], [3], [item], [4], [5]]
    error = found[2][1]
    assert isinstance(error, BadSampleError)
    assert error.reason == reason
    assert re.search(detail, error.detail)
    assert [result for batch, result in found if batch != [item]] == [[2, 4], [6], [8], [10]]
    assert children() == []


def test_many_bad_items_among_good_ones(pool):
    names = ["segfault", "bad", "ten gigabytes", "exit"]
    batches = [[10 * n, names[n % 4], 10 * n + 1] for n in range(8)]
    found = list(pool.map(misbehave, batches, ahead=4))
    assert [item for batch, _ in found for item in batch] == [x for batch in batches for x in batch]
    reasons = [value.reason for _, value in found if isinstance(value, BadSampleError)]
    expected = ["decoder_crashed", "text_empty", "decoder_out_of_memory", "decoder_crashed"]
    assert reasons == 2 * expected


def test_a_bug_is_raised_and_says_where(pool):
    with pytest.raises(RuntimeError, match=r"(?s)in misbehave.*KeyError: 'a bug'"):
        list(pool.map(misbehave, [[1], ["bug"], [2]], ahead=4))


def refuse(batch):
    raise DataContractError("the copies were planned otherwise")


def test_an_error_on_purpose_that_is_no_samples_stays_what_it_is(pool):
    with pytest.raises(DataContractError, match=r"^the copies were planned otherwise$"):
        list(pool.map(refuse, [[1]], ahead=4))


def raise_local(batch):
    class Local(Exception):
        pass

    raise Local("cannot be pickled")


def test_a_bug_that_cannot_be_pickled_is_told_all_the_same(pool):
    with pytest.raises(RuntimeError, match=r"(?s)in raise_local.*Local: cannot be pickled"):
        list(pool.map(raise_local, [[1]], ahead=4))


def give_lambda(batch):
    return lambda: batch


def test_a_result_that_cannot_be_pickled_is_a_bug(pool):
    with pytest.raises(RuntimeError, match="give_lambda"):
        list(pool.map(give_lambda, [[1]], ahead=4))


def test_processes_are_limited_and_import_little(pool):
    [(_, (free_mb, variables, modules))] = pool.map(measure, [[1]], ahead=1)
    assert free_mb == pytest.approx(512, abs=64)
    assert variables == ["1", "1"]
    assert not {"torch", "great_expectations", "dagster", "av"} & set(modules)


def shout(batch):
    os.write(2, b"libtiff: warning\n")
    warnings.warn("of Pillow", stacklevel=1)


def test_what_decoders_say_to_standard_error_is_dropped(pool, capfd):
    assert list(pool.map(shout, [[1]], ahead=1)) == [([1], None)]
    assert capfd.readouterr().err == ""


def test_a_process_serves_many_batches_and_another_function(pool):
    first, second = (
        {pid for _, pid in pool.map(functools.partial(misbehave), [["pid"]] * 40, ahead=4)}
        for _ in range(2)
    )
    assert len(first | second) <= 2


def test_an_error_of_the_consumer_stops_what_is_running(children):
    def consume():
        # One that waited for what hangs would do so for ever.
        with DecodingPool(2, timeout_s=1e6, memory_mb=256) as pool:
            for _ in pool.map(misbehave, [[1], ["hang"], ["hang in C"], [2]], ahead=8):
                raise BufferError

    with pytest.raises(BufferError):
        consume()
    assert children() == []


def start_hanging(tmp_path):
    """Start a program whose two decoding processes hang, one in C; give it and these two."""
    module = tmp_path / "hanging.py"
    module.write_text(
        textwrap.dedent("""
            import ctypes, sys, time
            from pathlib import Path

            def hang(batch):
                Path(f"{batch[0]}.hangs").touch()
                time.sleep(999) if batch[0] else ctypes.CDLL(None).pause()
        """)
    )
    code = (
        "from mm_assets.data.decoding_pool import DecodingPool; from hanging import hang\n"
        "with DecodingPool(2, timeout_s=600.0, memory_mb=256) as pool:\n"
        "    list(pool.map(hang, [[0], [1]], ahead=4))"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would whatever it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("*.hangs"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = psutil.Process(program.pid).children(recursive=True)
    assert len(workers) == 2
    return program, workers


def test_ctrl_c_stops_at_once_and_leaves_no_process(tmp_path):
    program, workers = start_hanging(tmp_path)
    program.send_signal(signal.SIGINT)
    try:
        _, said = program.communicate(timeout=60)
    finally:
        program.kill()
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert not any(worker.is_running() for worker in workers)


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
def test_a_killed_parent_leaves_no_process(tmp_path):
    program, workers = start_hanging(tmp_path)
    program.kill()
    program.communicate()
    psutil.wait_procs(workers, timeout=10)
    assert not any(worker.is_running() for worker in workers)


def test_a_process_that_cannot_start_blames_no_sample(pool, tmp_path, monkeypatch):
    (tmp_path / "mm_assets.py").write_text("raise ImportError('a broken installation')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DecodingError, match=r"cannot start: .*\(exit code 1\); see what it wrote"):
        list(pool.map(double, [[1]], ahead=1))
