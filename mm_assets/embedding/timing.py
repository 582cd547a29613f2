"""What one more modality costs: milliseconds a row, and megabytes of weights."""

from __future__ import annotations

import statistics
import time
from itertools import chain
from typing import TYPE_CHECKING

from mm_assets.contracts.errors import DataContractError

if TYPE_CHECKING:
    from torch import nn

    from mm_assets.embedding.cells import Cells, Rows


def time_encoder(cells: Cells, network: nn.Module, rows: Rows) -> dict[str, float]:
    """Time rows one by one, as a service would meet them: decoding and network, on the CPU, here.

    It differs from run to run, so it belongs into a log and into no stage's out.

    Args:
        cells: Of one modality.
        network: Its encoder's, in evaluation mode on the CPU.
        rows: The numbers of those that are timed, at least one; the first is met twice, since what
            comes first waits for memory and caches.

    Returns:
        The median of `decode_ms`, `network_ms` and their sum, `row_ms`, over the rows.

    Raises:
        DataContractError: There is no row.
        StageError: A cell that was valid cannot be decoded now.
    """
    if not len(rows):
        raise DataContractError(
            f"timing encoder {cells.encoder.name} needs at least 1 row with modality "
            f"{cells.name!r}, got 0"
        )
    import torch

    laps: list[tuple[float, float]] = []
    with torch.inference_mode():
        for row in [rows[:1], *(rows[at : at + 1] for at in range(len(rows)))]:
            started = time.perf_counter()
            arrays = cells.collate(row)
            decoded = time.perf_counter()
            network(*map(torch.from_numpy, arrays.values()))
            laps.append((decoded - started, time.perf_counter() - decoded))
    decoding, computing = zip(*laps[1:], strict=True)
    return {
        "decode_ms": 1000 * statistics.median(decoding),
        "network_ms": 1000 * statistics.median(computing),
        "row_ms": 1000 * statistics.median(map(sum, laps[1:])),
    }


def weigh_network(network: nn.Module) -> float:
    """Give the megabytes (10^6 bytes) of a network's weights and of what else it keeps."""
    tensors = chain(network.parameters(), network.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
