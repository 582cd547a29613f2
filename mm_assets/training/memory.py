"""What an unfinished training run has reached, kept outside the outs, which DVC deletes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mm_assets.data.atomic import atomic_file
from mm_assets.fusion.steps import Steps
from mm_assets.training.examples import Examples

MEMORY_VERSION = 1
EVERY_S = 5.0  # between two writes; an interruption costs the epochs since the last
KEPT = 3  # files of runs that did not end

State = dict[str, Any]


class RunMemory:
    """One run's checkpoint: found again by a run on the same rows with the same parameters.

    Args:
        folder: Where checkpoints lie, one file a run.
        digest: Of all that decides what the run comes to.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.file = folder / f"{digest}.pt"
        self._written_s = time.monotonic()

    def read(self) -> State | None:
        """Give what `write` kept, if this very run was interrupted before."""
        if not self.file.exists():
            return None
        state: State = torch.load(self.file, weights_only=True)
        return state

    def is_due(self) -> bool:
        """Tell whether the last write is long enough ago."""
        return time.monotonic() - self._written_s >= EVERY_S

    def write(self, state: State) -> None:
        """Keep a state: tensors and plain values. Files of the oldest other runs are deleted."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.file) as temporary:
            torch.save(state, temporary)
        self._written_s = time.monotonic()
        known = sorted(self.file.parent.glob("*.pt"), key=lambda file: file.stat().st_mtime_ns)
        for old in known[:-KEPT]:
            old.unlink(missing_ok=True)

    def keep_best(self, weights: Mapping[str, Tensor]) -> Path:
        """Keep the best weights of a run that cannot go on, beside what it would go on from."""
        from safetensors.torch import save_file

        with atomic_file(self.file.with_suffix(".best.safetensors")) as temporary:
            save_file({name: held.contiguous().cpu() for name, held in weights.items()}, temporary)
        return self.file.with_suffix(".best.safetensors")

    def forget(self) -> None:
        """Delete what was kept: the run has ended."""
        self.file.unlink(missing_ok=True)


def digest_run(parts: Mapping[str, Any], *examples: Examples) -> str:
    """Digest rows and parameters.

    Args:
        parts: JSON values.
        examples: Every number of theirs counts; of media, their vectors.
    """
    found = hashlib.sha256(
        json.dumps({"version": MEMORY_VERSION, **parts}, sort_keys=True).encode()
    )
    for rows in examples:
        tensors: list[Tensor] = [rows.presence, *rows.labels.values()]
        if rows.groups is not None:
            tensors.append(rows.groups)
        for vectors in rows.vectors.values():
            tensors += [vectors.values, vectors.there] if isinstance(vectors, Steps) else [vectors]
        for tensor in tensors:
            found.update(str(tuple(tensor.shape)).encode())
            found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()
