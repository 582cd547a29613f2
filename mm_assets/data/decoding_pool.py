"""Decoding in processes of its own, so that a crash or a hang costs one cell and not the run."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar, cast

from mm_assets.contracts.errors import BadSampleError, DecodingError
from mm_assets.data.child import start_child
from mm_assets.data.decoding_worker import BAD, DONE, NO_MEMORY, RAISED
from mm_assets.data.parallel import map_ahead

Item = TypeVar("Item")
Result = TypeVar("Result")
Outcome = tuple[list[Item], Result | BadSampleError]

START_S = 120.0  # for a process to start and import, on a machine that is busy
# Of the libraries that compute beside decoding: each process has one core.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
_CODE = "from mm_assets.data.decoding_worker import serve; serve({}, {})"
NO_ANSWER, LOST = "no answer", "lost"  # beside what a process says


class DecodingPool:
    """Processes that each decode one batch at a time; a context manager.

    Each process belongs to a thread here that waits for it. One that dies, hangs or takes too much
    memory is replaced. All end with the `with` block, and with this process, however that ends.
    None is started before there is a batch.

    Args:
        workers: How many processes.
        timeout_s: What one item may take; `compute.decode_s`.
        memory_mb: What one process may take for decoding, in 2^20 bytes of address space beyond
            what its imports took; `compute.decode_megabytes`. Enforced on Linux.
    """

    def __init__(self, workers: int, *, timeout_s: float, memory_mb: int) -> None:
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb
        self._workers = [_Worker(memory_mb) for _ in range(workers)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decoding")

    def __enter__(self) -> DecodingPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.close()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.stop()

    def map(
        self,
        function: Callable[[list[Item]], Result],
        batches: Iterable[Sequence[Item]],
        *,
        ahead: int,
    ) -> Iterator[Outcome[Item, Result]]:
        """Call `function` with each batch, in order.

        A batch for which the function raises BadSampleError or MemoryError, whose process dies, or
        that takes longer than `timeout_s` altogether, is run again item by item, each with
        `timeout_s` of its own.

        Args:
            function: Can be pickled, as can its result; a module-level one, or a partial of one.
                It is sent to each process once.
            batches: Lists of items that can be pickled; none is empty.
            ahead: At most so many batches wait, decoded or not.

        Yields:
            The batch and its result; of one that was run again, each item as a batch of its own,
            with its result or with the BadSampleError of the function, or ``decoder_crashed``,
            ``decoder_timeout`` or ``decoder_out_of_memory``.

        Raises:
            MMAssetsError: What else of these the function raised.
            RuntimeError: It raised something else, a bug; holds the process's traceback.
            DecodingError: No process can be started.
        """

        def run(batch: Sequence[Item]) -> list[Outcome[Item, Result]]:
            worker = self._idle.get()
            try:
                return list(self._run(worker, function, list(batch)))
            finally:
                self._idle.put(worker)

        for outcomes in map_ahead(self._threads, run, batches, ahead=ahead):
            yield from outcomes

    def _run(
        self, worker: _Worker, function: Callable[[list[Item]], Result], batch: list[Item]
    ) -> Iterator[Outcome[Item, Result]]:
        try:
            yield batch, worker.call(function, batch, timeout_s=self.timeout_s)
        except BadSampleError as error:
            if len(batch) == 1:
                yield batch, error
                return
            for item in batch:
                yield from self._run(worker, function, [item])


class _Worker:
    """One process, started when it is needed, and again after it was lost."""

    def __init__(self, memory_mb: int) -> None:
        self._memory_mb = memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._loaded: object = None
        self._closed = False
        self._lock = threading.Lock()  # between starting a process and closing the pool

    def call(
        self, function: Callable[[list[Item]], Result], batch: list[Item], *, timeout_s: float
    ) -> Result:
        """Have the process call `function`.

        Raises:
            BadSampleError: The function did, or the process was lost.
            DecodingError: There is no process.
        """
        if self._loaded is not function:
            self._load(function)
        return cast("Result", self._ask(batch, timeout_s))

    def _load(self, function: object) -> None:
        if self._process is None:
            self._start()
        try:
            self._ask(bytes(ForkingPickler.dumps(function)), START_S)
        except BadSampleError as error:
            raise DecodingError(
                f"a process for decoding cannot start: {error.detail.partition(';')[0]}; see what it "
                "wrote to standard error"
            ) from None
        self._loaded = function

    def _start(self) -> None:
        """Start a process that has no file open beside a pipe to here and the standard ones.

        Raises:
            DecodingError: The system refuses, or the pool was left.
        """
        with self._lock:
            self._refuse_closed()
            self._connection, theirs = Pipe()
            with theirs:
                try:
                    self._process = start_child(
                        _CODE.format(theirs.fileno(), self._memory_mb),
                        environment=dict.fromkeys(_THREADS, "1"),
                        handles=(theirs.fileno(),),
                    )
                except OSError as error:
                    raise DecodingError(
                        f"a process for decoding cannot start: {error.strerror}; lower "
                        "`compute.threads` in params.yaml"
                    ) from error

    def _refuse_closed(self) -> None:
        if self._closed:
            raise DecodingError("the pool was left while it decoded")

    def _ask(self, message: object, timeout_s: float) -> object:
        """Send one message and give the answer to it.

        Raises:
            BadSampleError: As `call`.
            DecodingError: The pool was left.
        """
        assert self._connection is not None
        said: str
        value: Any = None
        try:
            self._connection.send(message)
            if self._connection.poll(timeout_s):
                said, value = self._connection.recv()
            else:
                said = NO_ANSWER
        except (EOFError, OSError):
            said = LOST
        if said == DONE:
            return value
        if said in {BAD, RAISED}:
            raise value
        code = self.stop()  # after want of memory too: what it had taken may lie about in pieces
        self._refuse_closed()
        raise self._explain(said, code, timeout_s)

    def _explain(self, said: str, code: int | None, timeout_s: float) -> BadSampleError:
        large = "in params.yaml if it is only large"
        if said == NO_ANSWER:
            return BadSampleError(
                "decoder_timeout",
                f"decoding took longer than {timeout_s:g} s; mend the file, or raise "
                f"`compute.decode_s` {large}",
            )
        if said == NO_MEMORY:
            return BadSampleError(
                "decoder_out_of_memory",
                f"decoding needs more than {self._memory_mb} MB; mend the file, or raise "
                f"`compute.decode_megabytes` {large}",
            )
        how = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        return BadSampleError(
            "decoder_crashed",
            f"the process that decoded it died ({how}); mend the file, or raise "
            f"`compute.decode_megabytes` from {self._memory_mb} {large}",
        )

    def stop(self) -> int | None:
        """End the process, if there is one; give its exit code, or minus the signal it died of."""
        if self._process is None or self._connection is None:
            return None
        self._process.kill()
        code = self._process.wait()
        self._connection.close()
        self._process = self._connection = self._loaded = None
        return code

    def close(self) -> None:
        """End the process, so that whoever waits for it goes on, and start no other."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()
