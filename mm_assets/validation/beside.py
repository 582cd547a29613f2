"""Checking in a process that gets ready while the stage computes.

To import Great Expectations takes seconds, and one process imports on one core only.
"""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import ParamSpec, cast

from mm_assets.contracts.errors import StageError
from mm_assets.contracts.report import SuiteResult
from mm_assets.data.child import start_child

Given = ParamSpec("Given")


class CheckBeside:
    """A process that will run one check; a context manager, with whose block it ends."""

    def __enter__(self) -> CheckBeside:
        self._process = start_child(
            "from mm_assets.validation.beside import serve; serve()",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(
        self, check: Callable[Given, SuiteResult], *args: Given.args, **kwargs: Given.kwargs
    ) -> SuiteResult:
        """Run a check of this package there.

        Args:
            check: A module-level function.
            args: Can be pickled.
            kwargs: Can be pickled.

        Raises:
            StageError: The check raised, or the process was killed; what it said is on standard
                error.
        """
        answer, _ = self._process.communicate(bytes(ForkingPickler.dumps((check, args, kwargs))))
        code = self._process.returncode
        if code:
            raise StageError(
                f"{check.__name__} ended with {code} in a process of its own; what it wrote to "
                "standard error says why"
            )
        return cast(SuiteResult, ForkingPickler.loads(answer))


def serve() -> None:
    """Import what checks need, wait for one on standard input, and write its results."""
    gc.disable()  # a fifth of the time goes into looking for cycles, and this ends soon anyway
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else gets between the bytes
    importlib.import_module("great_expectations.expectations")
    asked = sys.stdin.buffer.read()
    if asked:  # else the stage came to no check
        check, args, kwargs = ForkingPickler.loads(asked)
        with os.fdopen(answers, "wb") as file:
            file.write(bytes(ForkingPickler.dumps(check(*args, **kwargs))))
    os._exit(0)  # to tidy up after Great Expectations takes most of a second
