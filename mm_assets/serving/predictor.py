"""The exported model behind one class: raw inputs in, answers out.

Needs ONNX Runtime, the decoders of `mm_assets.modalities` and the kinds of `mm_assets.targets`, but
no torch.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mm_assets.contracts.config import Device
from mm_assets.contracts.errors import BadSampleError, ServingError
from mm_assets.modalities.base import Arrays, Modality, load_modality
from mm_assets.targets.base import Target, find_target

SIGNATURE_VERSION = 3
MODEL_FILE, SIGNATURE_FILE, DISABLED_FILE = "model.onnx", "signature.json", "DISABLED"

Row = Mapping[str, object]
Answer = dict[str, Any]  # by target, as its kind's `as_json` gives it


def read_signature(folder: Path) -> dict[str, Any]:
    """Read what the exported model takes and gives.

    Args:
        folder: The export stage's out, or a copy of it.

    Returns:
        `signature.json`: modalities (name, kind, options, inputs, array names), in the order of
        the presence mask; targets (name, kind, and the kind's state: classes, thresholds, mean and
        scale); and whether there is a `context`, so that rows are answered in each other's light.

    Raises:
        ServingError: There is none, or it is of another release.
    """
    path = folder / SIGNATURE_FILE
    if (folder / DISABLED_FILE).is_file():
        raise ServingError(
            f"no exported model in {folder}: `export.enabled` is false in params.yaml; set it to "
            "true and run `dvc repro export`"
        )
    if not path.is_file() or not (folder / MODEL_FILE).is_file():
        raise ServingError(
            f"no exported model in {folder}: it needs {MODEL_FILE} and {SIGNATURE_FILE}; make them "
            "with `dvc repro export`, or name another folder with --model"
        )
    signature: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if signature.get("schema_version") != SIGNATURE_VERSION:
        raise ServingError(
            f"{path} has schema version {signature.get('schema_version')}, this release reads "
            f"{SIGNATURE_VERSION}; export the model again with `dvc repro -f export`"
        )
    return signature


class Predictor:
    """One loaded model; safe to share between threads.

    Args:
        folder: The export stage's out, or a copy of it.
        threads: For ONNX Runtime; all cores where null.
        device: ``auto`` takes a GPU where there is a driver and the GPU build.
    """

    def __init__(
        self, folder: Path, *, threads: int | None = None, device: Device = "auto"
    ) -> None:
        import onnxruntime as ort

        folder = folder.resolve()  # registry/champion is a link that may be swapped while we read
        self.signature = read_signature(folder)
        self.modalities: dict[str, Modality[Any]] = {}
        self.inputs: dict[str, dict[str, Any]] = {}
        for entry in self.signature["modalities"]:
            key = entry["name"]
            self.modalities[key] = load_modality(
                entry["kind"], entry["options"], {}, where=f"modalities.{key}"
            )
            # The tokenizer travels beside the model; everything else is a plain value.
            self.inputs[key] = {
                name: str(folder / value) if name in entry["files"] else value
                for name, value in entry["inputs"].items()
            }
        self.targets: dict[str, Target] = {
            entry["name"]: find_target(entry["kind"]).from_state(entry)
            for entry in self.signature["targets"]
        }
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            str(folder / MODEL_FILE), options, providers=list_providers(device)
        )

    def predict(
        self,
        rows: Sequence[Row],
        *,
        folder: Path | None = None,
        groups: Sequence[object] | None = None,
    ) -> list[Answer]:
        """Answer each row.

        Args:
            rows: Cells by modality, as in the sample table; a modality that is absent or null is
                missing. A file's cell is a path: inside `folder` where one is given, else any.
            folder: The data folder.
            groups: Of each row what it belongs to (its video, its dialogue), rows of a group in
                their order: a model with a context reads them in each other's light, any other
                takes no notice. By default each row is read alone.

        Returns:
            Per row, per target: the calibrated probability of each class; of a label set, the
            labels answered and each one's probability; of a number, its value.

        Raises:
            ServingError: As `compute`.
            BadSampleError: A cell cannot be decoded.
        """
        return self.explain(self.compute(rows, folder=folder, groups=groups))

    def explain(self, outputs: Arrays) -> list[Answer]:
        """Put what `compute` gave into words, as `predict` does."""
        return [
            {name: self.targets[name].as_json(one) for name, one in zip(outputs, row, strict=True)}
            for row in zip(*outputs.values(), strict=True)
        ]

    def compute(
        self,
        rows: Sequence[Row],
        *,
        folder: Path | None = None,
        groups: Sequence[object] | None = None,
    ) -> Arrays:
        """Run the graph on raw cells.

        Args:
            rows: As of `predict`.
            folder: The data folder.
            groups: As of `predict`.

        Returns:
            Per target, float32 (row, column) as `run`.

        Raises:
            ServingError: No row, a row without any modality, an unknown modality, or not one group
                a row.
            BadSampleError: A cell cannot be decoded.
        """
        if not rows:
            raise ServingError("predict needs at least one row, got none")
        for number, row in enumerate(rows):
            if unknown := sorted(row.keys() - self.modalities.keys()):
                raise ServingError(
                    f"row {number} has {', '.join(unknown)}, but this model reads "
                    f"{', '.join(self.modalities)}"
                )
            if all(row.get(key) is None for key in self.modalities):
                raise ServingError(
                    f"row {number} has no modality; give at least one of {', '.join(self.modalities)}"
                )
        values = {
            key: [self._decode(key, row.get(key), folder) for row in rows]
            for key in self.modalities
        }
        if groups is not None and len(groups) != len(rows):
            raise ServingError(
                f"predict needs one group a row, got {len(groups)} groups for {len(rows)} rows"
            )
        arrays, presence = collate_rows(self.modalities, self.inputs, values)
        if self.signature["context"]:
            arrays["groups"] = number_groups(groups or range(len(rows)))
        return self.run(arrays, presence)

    def run(self, arrays: Arrays, presence: np.ndarray) -> Arrays:
        """Run the graph on collated arrays.

        Args:
            arrays: By graph input, as `collate_rows` makes them, and `groups` for a model with a
                context.
            presence: bool (batch, modality), in the signature's order.

        Returns:
            Per target, float32 (batch, column): probabilities of its classes, or one value.
        """
        names = list(self.targets)
        values = self.session.run(names, {**arrays, "presence": presence})
        return dict(zip(names, values, strict=True))

    def _decode(self, key: str, cell: object, folder: Path | None) -> object:
        """Decode one cell, or give null where it is missing.

        Raises:
            BadSampleError: The cell cannot be decoded; names the modality.
        """
        if cell is None:
            return None
        modality = self.modalities[key]
        base = folder or Path()
        if modality.is_file and folder is None:
            path = Path(str(cell)).resolve()  # a file named by hand may be a link
            base, cell = path.parent, path.name
        try:
            return modality.decode(cell, base)
        except BadSampleError as error:
            raise BadSampleError(error.reason, f"{key}: {error.detail}") from None


def number_groups(groups: Sequence[object]) -> np.ndarray:
    """Number groups for the graph: int64 (batch,), equal for rows of a group."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[name] for name in groups], dtype=np.int64)


def list_providers(device: Device = "auto") -> list[str | tuple[str, dict[str, str]]]:
    """Name ONNX Runtime's providers to use: CUDA before the CPU where a driver is installed.

    The GPU build names CUDA on any machine, and fails loudly to load it where there is no driver.
    TF32 is off: its 10-bit mantissa would answer other than the trained model does.
    """
    import onnxruntime as ort

    found: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if device != "cpu" and "CUDAExecutionProvider" in ort.get_available_providers():
        with suppress(OSError):
            ctypes.CDLL("libcuda.so.1")
            found.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))
    return found


def collate_rows(
    modalities: Mapping[str, Modality[Any]],
    inputs: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Sequence[Any]],
) -> tuple[Arrays, np.ndarray]:
    """Make one batch of graph inputs; a missing value becomes its kind's placeholder.

    Args:
        modalities: The kinds, in the model's order.
        inputs: What each modality's encoder needs.
        values: Decoded values by modality, null where missing; equally many of each.

    Returns:
        Arrays named `MODALITY.ARRAY`, and the presence mask, bool (batch, modality).
    """
    arrays: Arrays = {}
    for key, modality in modalities.items():
        filled = [
            modality.placeholder(inputs[key]) if value is None else value for value in values[key]
        ]
        for name, array in modality.collate(filled, inputs[key]).items():
            arrays[f"{key}.{name}"] = array
    presence = np.array([[value is not None for value in values[key]] for key in modalities]).T
    return arrays, np.ascontiguousarray(presence)
