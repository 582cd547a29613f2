"""The processes that share each batch: one, or as many as `torchrun` or `run_together` started."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn

from mm_assets.contracts.errors import MMAssetsError, TrainingError
from mm_assets.data.progress import show_progress

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_first() -> bool:
    """Tell whether this process is the one that writes and reports."""
    return os.environ.get("RANK", "0") == "0"


def run_together(function: Callable[..., Result | None], *arguments: object, count: int) -> Result:
    """Run a function in several processes of this machine, which `Processes` then finds.

    They are started by `torchrun`'s own launcher, each with a GPU of its own where there are some.
    What others than the first write to a terminal is not shown. When one ends with an error the
    others are stopped; when this process dies, all are.

    Args:
        function: Of a module; it is named to the processes, not sent.
        arguments: Can be pickled.
        count: How many processes; with 1 it is called here.

    Returns:
        What it returns in the first process, which must be something.

    Raises:
        TrainingError: A process was killed, or ended with an error, whose message follows.
        KeyboardInterrupt: This process was told to stop.

    Source:
        https://docs.pytorch.org/docs/stable/elastic/run.html.
    """
    if count == 1:
        return cast(Result, function(*arguments))
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="mm-together-") as name:
        folder = Path(name)
        quiet = dict.fromkeys(range(1, count), Std.ALL)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            max_restarts=0,  # the next run goes on from the checkpoint
            shutdown_timeout=5,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            logs_specs=DefaultLogsSpecs(str(folder / "logs"), redirects=quiet),
        )
        logging.disable(logging.ERROR)  # the launcher's own, beside which our message is lost
        try:
            return cast(Result, elastic_launch(config, _call)(folder, function, *arguments)[0])
        except ChildFailedError as error:
            raise TrainingError(_explain(error, folder, count)) from None
        except SignalException:
            raise KeyboardInterrupt from None
        finally:
            logging.disable(logging.NOTSET)


def _call(folder: Path, function: Callable[..., Result], *arguments: object) -> Result:
    """Run in one of the processes; an error raised on purpose leaves its message in the folder."""
    if torch.cuda.is_available():
        torch.cuda.set_device(
            int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count()
        )  # with `compute.device: cpu` there may be fewer
    try:
        return function(*arguments)
    except MMAssetsError as error:
        (folder / f"{os.environ['RANK']}.txt").write_text(str(error), encoding="utf-8")
        sys.exit(1)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _explain(error: ChildFailedError, folder: Path, count: int) -> str:
    """Give the message that a process left, or say how it ended."""
    if told := sorted(folder.glob("*.txt")):
        return told[0].read_text(encoding="utf-8")
    rank, failure = error.get_first_failure()
    which = f"process {rank + 1} of the {count} that share each batch (`compute.processes`)"
    if failure.exitcode < 0:
        return (
            f"{which} was killed by {signal.Signals(-failure.exitcode).name}, and the others were "
            "stopped; run again: training goes on from its last checkpoint. Where the system killed "
            "it for its memory, lower `compute.processes` in params.yaml: each holds all rows"
        )
    return f"{which} ended with exit code {failure.exitcode}:\n{failure.message}"


class Processes:
    """What a training run does in common with its like.

    Accelerate, the standing layer upon PyTorch's own data parallelism, starts their communication:
    gloo between CPUs, NCCL between GPUs. Of a process that is alone it is not asked: it would settle
    the device for good, and one may train on a GPU and then on the CPU.

    Args:
        device: Where this process trains.

    Attributes:
        count: How many there are.
        index: This one's number, from 0.
    """

    def __init__(self, device: torch.device) -> None:
        self.count, self.index = 1, 0
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import Accelerator, DistributedDataParallelKwargs

            # Modalities that are absent in all rows of a batch leave weights without a gradient.
            unused = DistributedDataParallelKwargs(find_unused_parameters=True)
            self._found = Accelerator(cpu=device.type == "cpu", kwargs_handlers=[unused])
            self.count, self.index = self._found.num_processes, self._found.process_index

    def wrap(self, module: nn.Module) -> nn.Module:
        """Make a module whose gradients are the means over processes; its weights are the first's."""
        if self.count == 1:
            return module
        wrapped: nn.Module = self._found.prepare_model(module)
        return wrapped

    def add_up(self, numbers: Tensor) -> Tensor:
        """Add numbers of this process to those of the others, which must do so too."""
        if self.count == 1:
            return numbers
        found: Tensor = self._found.reduce(numbers, reduction="sum")
        return found

    def show_progress(self, items: Iterable[Item], *, title: str, unit: str) -> Iterator[Item]:
        """Iterate, while the first process shows how far it got."""
        return iter(items) if self.index else show_progress(items, title=title, unit=unit)
