"""The processes that share each batch: one, or as many as `torchrun` started."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from mm_assets.data.progress import show_progress

Item = TypeVar("Item")


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
