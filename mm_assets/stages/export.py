"""The export stage: the trained model as one ONNX file that answers as PyTorch does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_assets.contracts.config import Split
from mm_assets.contracts.errors import ExportError, StageError
from mm_assets.contracts.report import StageReport, SuiteResult, Table
from mm_assets.contracts.subsets import list_subsets, name_subset
from mm_assets.data.atomic import atomic_folder, write_json
from mm_assets.data.cells import name_broken_cell
from mm_assets.data.disk import require_space
from mm_assets.data.progress import announce
from mm_assets.data.table import COPY, GROUP, ID, read_augmented
from mm_assets.data.vectors import Embeddings
from mm_assets.export.parity import BATCH_SIZES, Difference, compare, largest_gap, round_up
from mm_assets.modalities.base import Arrays
from mm_assets.serving.predictor import (
    DISABLED_FILE,
    MODEL_FILE,
    SIGNATURE_FILE,
    SIGNATURE_VERSION,
    Predictor,
    collate_rows,
)
from mm_assets.stages.project import Project

if TYPE_CHECKING:
    import pandas as pd

    from mm_assets.export.onnx_model import EndToEndModel
    from mm_assets.training.model import FusionModel


def export(project: Project) -> StageReport:
    """Write `artifacts/onnx/` and prove it against PyTorch on validation rows.

    Raises:
        ExportError: The graph cannot be exported, or there are no rows to prove it on.
        DiskError: The disk has too little room for the graph.
    """
    with atomic_folder(project.workspace.onnx) as folder:
        if not project.config.export.enabled:
            (folder / DISABLED_FILE).write_text("`export.enabled` is false in params.yaml\n")
            skipped = SuiteResult(
                name="onnx_matches_pytorch",
                description="Not exported: `export.enabled` is false in params.yaml.",
                results=(),
            )
            return StageReport(stage="export", rows_in=0, rows_out=0, suites=(skipped,))
        return _export(project, folder)


def _export(project: Project, folder: Path) -> StageReport:
    """Export into `folder` and compare.

    Raises:
        ExportError: A modality is present in no row, so its parity cannot be shown.
    """
    import pandas as pd
    import torch

    from mm_assets.export.onnx_model import EndToEndModel, export_onnx
    from mm_assets.stages.trained import encode_rows, find_network, read_model, read_vectors
    from mm_assets.validation.export import check_export

    torch.set_num_threads(project.config.compute.count_threads())
    embeddings = read_vectors(project)
    fusion = read_model(project, embeddings)
    keys = list(project.modalities)
    # A training row's vector of a supervised encoder comes from another fold's network.
    folded = any(encoder.supervised for encoder in project.encoders.values())
    splits: list[Split] = ["validation"] if folded else ["train", "validation"]
    known = read_augmented(project.workspace.augmented, splits=splits, columns=keys)
    rows = {subset: _choose_rows(known, subset) for subset in list_subsets(keys)}
    values = {
        subset: {key: _decode_column(project, key, chosen) for key in subset}
        for subset, chosen in rows.items()
        if len(chosen)
    }
    if absent := [key for key in keys if (key,) not in values]:
        raise ExportError(
            f"export compares on real rows, but no {'' if folded else 'training or '}validation "
            f"row has {absent[0]!r}; "
            "add such rows or set `export.enabled: false` in params.yaml"
        )
    networks = {key: find_network(project, fusion, embeddings, key) for key in keys}
    inputs = {key: project.encoders[key].inputs() for key in keys}

    def take(subset: tuple[str, ...], size: int) -> tuple[Arrays, np.ndarray]:
        """Collate a batch of a subset's rows, which repeat where there are too few."""
        columns = values[subset]
        batch = {
            key: [
                columns[key][i % len(columns[key])] if key in subset else None for i in range(size)
            ]
            for key in keys
        }
        return add_groups(*collate_rows(project.modalities, inputs, batch))

    def add_groups(arrays: Arrays, presence: np.ndarray) -> tuple[Arrays, np.ndarray]:
        """Have three rows at a time belong together, where there is a context."""
        if fusion.config.context is not None:
            arrays["groups"] = np.arange(len(presence)) // 3
        return arrays, presence

    # Traced on a batch that has everything, if need be from different rows.
    alone = {key: (values[key,][key] * 2)[:2] for key in keys}
    arrays, presence = add_groups(*collate_rows(project.modalities, inputs, alone))
    weights_bytes = sum(
        tensor.numel() * tensor.element_size()
        for network in (fusion, *networks.values())
        for tensor in network.state_dict().values()
    )
    require_space(folder, 2 * weights_bytes, what="export: the graph with all its weights")
    names = {key: [n.split(".", 1)[1] for n in arrays if n.startswith(f"{key}.")] for key in keys}
    model = EndToEndModel(networks, names, fusion)
    signature = _write_signature(project, fusion, inputs, names, arrays, folder)
    announce(f"export: tracing {len(keys)} encoders and the fusion")
    export_onnx(model, arrays, presence, folder / MODEL_FILE, signature=signature)

    announce("export: comparing with PyTorch")
    compute = project.config.compute
    predictor = Predictor(folder, threads=compute.threads, device=compute.device)
    units = {name: target.unit for name, target in fusion.targets.items()}
    differences = compare(
        _torch_runner(model, list(fusion.targets)), predictor.run, take, list(values), units=units
    )
    compared = pd.concat(list(rows.values())).drop_duplicates([ID, COPY])
    vectors = encode_rows(project, fusion, embeddings, compared)
    served = {
        name_subset(subset): largest_gap(
            _serve(predictor, project, rows[subset], subset),
            _answer(fusion, vectors, rows[subset], subset),
            units=units,
        )
        for subset in values
    }
    megabytes = (folder / MODEL_FILE).stat().st_size / 1e6
    suite = check_export(
        pd.DataFrame([asdict(d) | {"served": served[d.subset]} for d in differences]),
        megabytes=megabytes,
        tolerance=project.config.export.tolerance,
        largest_megabytes=project.config.gates.export_megabytes,
    )
    return StageReport(
        stage="export",
        rows_in=len(compared),
        rows_out=len(compared),
        metrics={
            "parity_max_difference": round_up(max(d.largest for d in differences)),
            "served_max_difference": round_up(max(served.values())),
            "onnx_megabytes": round(megabytes, 1),
        },
        suites=(suite,),
        tables=(_tabulate(differences, served, [name_subset(subset) for subset in rows]),),
    )


def _tabulate(differences: list[Difference], served: dict[str, float], subsets: list[str]) -> Table:
    """Show every subset's differences; nulls where no row has all of its modalities."""
    found = {(d.subset, d.batch): round_up(d.largest) for d in differences}
    return Table(
        title="Largest difference in probability (of numbers: in their standard deviation) between "
        "ONNX Runtime and PyTorch",
        columns=(
            "modalities",
            *(f"batch of {size}" for size in BATCH_SIZES),
            "raw input against stored vectors",
        ),
        rows=tuple(
            (
                subset,
                *(found.get((subset, size)) for size in BATCH_SIZES),
                round_up(served[subset]) if subset in served else None,
            )
            for subset in subsets
        ),
    )


def _choose_rows(rows: pd.DataFrame, subset: tuple[str, ...]) -> pd.DataFrame:
    """Take at most the largest batch of rows that have a subset, validation before train."""
    rows = rows[(rows[COPY] == 0) & rows[list(subset)].notna().all(axis=1)]
    return rows.sort_values("split", ascending=False, kind="stable").head(max(BATCH_SIZES))


def _decode_column(project: Project, key: str, rows: pd.DataFrame) -> list[Any]:
    """Decode one modality of the chosen rows.

    Raises:
        StageError: A cell that was valid cannot be decoded now; names sample and file.
    """
    modality, values = project.modalities[key], []
    for sample, cell in zip(rows[ID], rows[key], strict=True):
        with name_broken_cell(f"export: {key} of", sample, cell):
            values.append(modality.decode(cell, project.workspace.data))
    return values


def _torch_runner(
    model: EndToEndModel, targets: list[str]
) -> Callable[[Arrays, np.ndarray], Arrays]:
    """Wrap the composed model as a function on arrays."""
    import torch

    def run(arrays: Arrays, presence: np.ndarray) -> Arrays:
        feed = {**arrays, "presence": presence}
        with torch.inference_mode():
            outputs = model(*(torch.from_numpy(feed[name]) for name in model.input_names))
        return {name: output.numpy() for name, output in zip(targets, outputs, strict=True)}

    return run


def _serve(
    predictor: Predictor, project: Project, rows: pd.DataFrame, subset: tuple[str, ...]
) -> Arrays:
    """Answer raw cells as a user of the exported model would."""
    columns = (rows[key] for key in subset)
    cells = [dict(zip(subset, row, strict=True)) for row in zip(*columns, strict=True)]
    groups = list(rows[GROUP].fillna(rows[ID]))
    return predictor.compute(cells, folder=project.workspace.data, groups=groups)


def _answer(
    fusion: FusionModel,
    embeddings: dict[str, Embeddings],
    rows: pd.DataFrame,
    subset: tuple[str, ...],
) -> Arrays:
    """Answer from the vectors, as `evaluate` does."""
    import torch

    from mm_assets.training.examples import gather_vectors, number_groups

    vectors, _ = gather_vectors(rows, {key: embeddings[key] for key in fusion.modalities})
    shown = torch.tensor([key in subset for key in fusion.modalities])
    with torch.inference_mode():
        found = fusion.probabilities(vectors, shown.expand(len(rows), -1), number_groups(rows))
    return {name: probabilities.numpy() for name, probabilities in found.items()}


def _write_signature(
    project: Project,
    fusion: FusionModel,
    inputs: dict[str, dict[str, Any]],
    names: dict[str, list[str]],
    arrays: Arrays,
    folder: Path,
) -> dict[str, Any]:
    """Write `signature.json`, and copy the files that decoding needs (a tokenizer) beside it.

    Raises:
        StageError: The trained model has other modalities than params.yaml.
    """
    modalities: list[dict[str, Any]] = []
    for key, modality in project.modalities.items():
        values, files = dict(inputs[key]), []
        for name, value in values.items():
            if isinstance(value, Path) or (isinstance(value, str) and Path(value).is_file()):
                files.append(name)
                values[name] = f"{key}.{Path(value).name}"
                shutil.copyfile(value, folder / values[name])
        modalities.append(
            {
                "name": key,
                "kind": modality.kind,
                "options": modality.options.model_dump(mode="json"),
                "inputs": values,
                "files": files,
                "arrays": names[key],
                "encoder": project.config.modalities[key].encoder.name,
            }
        )
    signature = {
        "schema_version": SIGNATURE_VERSION,
        "context": fusion.config.context is not None,
        "modalities": modalities,
        "targets": [
            {"name": name, "kind": target.kind, **target.state()}
            for name, target in fusion.targets.items()
        ],
        # Every axis is dynamic but these: an image's canvas and channels, a vector's length,
        # a row's columns.
        "fixed_axes": {
            f"{key}.{name}": [
                axis
                for axis in range(1, arrays[f"{key}.{name}"].ndim)
                if axis not in modality.varying.get(name, ())
            ]
            for key, modality in project.modalities.items()
            for name in names[key]
        }
        | {"presence": [1]},
    }
    if list(project.modalities) != list(fusion.modalities):
        raise StageError(
            f"the trained model reads {', '.join(fusion.modalities)} but params.yaml has "
            f"{', '.join(project.modalities)}; train it again with `dvc repro`"
        )
    write_json(folder / SIGNATURE_FILE, signature)
    return signature
