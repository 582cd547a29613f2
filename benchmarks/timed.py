"""CPU seconds of decoding and encoding, taken while the embed stage runs."""

import functools
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mm_assets.embedding.cells import Cells
from mm_assets.embedding.preparation import Item, collate_each
from mm_assets.modalities.base import Arrays, Modality

DECODING = "decoding_s"  # sent along with what was decoded


class Times:
    """CPU seconds of each half, added up over processes and threads."""

    def __init__(self) -> None:
        self.decoding = self.encoding = 0.0
        self._lock = threading.Lock()

    def add(self, decoding: float, encoding: float) -> None:
        """Add a batch's."""
        with self._lock:
            self.decoding += decoding
            self.encoding += encoding


def watch(cells: Cells) -> Times:
    """Have a modality's cells measure what they cost; before they are decoded."""
    from torch import Tensor, nn

    times, build = Times(), cells.encoder.network

    class Timed(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, *arrays: Tensor) -> Tensor:
            *arrays, decoding = arrays
            started = time.thread_time()
            vectors = self.network(*arrays)
            times.add(float(decoding.sum()), time.thread_time() - started)
            return vectors

    cells.encoder.network = lambda state: Timed(build(state))
    cells._collate_each = functools.partial(
        collate_timed,
        modality=cells.modality,
        folder=cells.folder,
        inputs=cells.encoder.inputs(),
    )
    return times


def collate_timed(
    items: Sequence[Item], *, modality: Modality[Any], folder: Path, inputs: Mapping[str, Any]
) -> list[Arrays]:
    """Decode, in a process that does nothing else meanwhile, and say what it took."""
    found = []
    for item in items:
        started = time.process_time()
        (arrays,) = collate_each([item], modality=modality, folder=folder, inputs=inputs)
        found.append({**arrays, DECODING: np.array([time.process_time() - started])})
    return found
