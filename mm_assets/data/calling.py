"""Calling a function in a process of its own, which uses another core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Generic, ParamSpec, TypeVar, cast

from mm_assets.contracts.errors import MMAssetsError, StageError
from mm_assets.data.child import start_child

Given = ParamSpec("Given")
Result = TypeVar("Result")


class CallBeside(Generic[Result]):
    """A call that runs while this process goes on; a context manager, with whose block it ends.

    Args:
        function: Of a module's top level.
        args: Can be pickled, as can the result.
    """

    def __init__(
        self, function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs
    ) -> None:
        self._name = function.__name__
        self._call = bytes(ForkingPickler.dumps((function, args, kwargs)))

    def __enter__(self) -> CallBeside[Result]:
        self._process = start_child(
            "from mm_assets.data.calling import serve; serve()",
            # Bars of two processes would overwrite each other on a terminal.
            environment={"TQDM_DISABLE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None, "it was asked for"
        self._process.stdin.write(self._call)
        self._process.stdin.close()
        self._process.stdin = None  # else `communicate` would flush it
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.kill()
        with self._process:  # which waits for its end, and closes the pipe
            pass

    def result(self) -> Result:
        """Wait for what the function returns.

        Raises:
            MMAssetsError: As the function.
            StageError: It raised another error, or the process was killed; what it said is on
                standard error.
        """
        answer, _ = self._process.communicate()
        if self._process.returncode:
            raise StageError(
                f"{self._name} ended with {self._process.returncode} in a process of its own; what "
                "it wrote to standard error says why, and a process that is killed without a word "
                "lacked memory"
            )
        found = ForkingPickler.loads(answer)
        if isinstance(found, MMAssetsError):
            raise found
        return cast(Result, found)


def serve() -> None:
    """Run the call that comes on standard input, and write what it gives."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else gets between the bytes
    function, args, kwargs = ForkingPickler.loads(sys.stdin.buffer.read())
    try:
        found = function(*args, **kwargs)
    except MMAssetsError as error:
        found = error
    with os.fdopen(answers, "wb") as file:
        file.write(bytes(ForkingPickler.dumps(found)))
