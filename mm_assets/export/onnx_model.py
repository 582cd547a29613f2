"""The trained model as one ONNX file, from decoded inputs to every target's answer."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mm_assets.contracts.errors import ExportError
from mm_assets.fusion.steps import Steps
from mm_assets.modalities.base import Arrays

if TYPE_CHECKING:
    import onnx

    from mm_assets.training.model import FusionModel


class EndToEndModel(nn.Module):
    """Encoders and fusion in one graph.

    Args:
        encoders: Each modality's network, in the fusion model's order.
        arrays: The names of each network's arguments.
        fusion: The trained fusion model.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        arrays: Mapping[str, Sequence[str]],
        fusion: FusionModel,
    ) -> None:
        super().__init__()
        self.keys = list(encoders)
        self.arrays = {key: list(names) for key, names in arrays.items()}
        self.encoders = nn.ModuleList(encoders.values())
        self.fusion = fusion
        self.has_context = fusion.config.context is not None
        self.eval()

    @property
    def input_names(self) -> list[str]:
        """Graph inputs, in the order of `forward`'s arguments."""
        names = [f"{k}.{name}" for k in self.keys for name in self.arrays[k]] + ["presence"]
        return names + (["groups"] if self.has_context else [])

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Give each target's answer, (batch, column).

        Args:
            inputs: The collated arrays, the presence mask, bool (batch, modality), and for a model
                with a context the number of each row's group, int64 (batch,).
        """
        *arrays, presence = inputs[:-1] if self.has_context else inputs
        groups = inputs[-1] if self.has_context else None
        remaining = iter(arrays)
        vectors = {}
        for key, encoder in zip(self.keys, self.encoders, strict=True):
            found = encoder(*(next(remaining) for _ in self.arrays[key]))
            vectors[key] = Steps(*found) if isinstance(found, tuple) else found
        return tuple(self.fusion.probabilities(vectors, presence, groups).values())


def export_onnx(
    model: EndToEndModel,
    arrays: Arrays,
    presence: np.ndarray,
    path: Path,
    *,
    signature: dict[str, Any],
) -> None:
    """Write one ONNX file with a dynamic batch, and dynamic steps and samples.

    Args:
        model: The composed model.
        arrays: One real batch of at least two rows, as `collate_rows` makes it; with `groups` for a
            model with a context.
        presence: Its mask, bool (batch, modality).
        path: The file to write.
        signature: Kept in the file's metadata too, so that it can be served from the file alone.

    Raises:
        ExportError: The exporter refused the graph; names the first cause.
    """
    import onnx

    feed = {**arrays, "presence": presence}
    inputs = tuple(torch.from_numpy(feed[name]) for name in model.input_names)
    fixed = {name: set(axes) for name, axes in signature["fixed_axes"].items()}
    shapes = tuple(
        {
            axis: torch.export.Dim.AUTO
            for axis in range(tensor.ndim)
            if axis not in fixed.get(name, set())
        }
        for name, tensor in zip(model.input_names, inputs, strict=True)
    )
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                inputs,
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=model.input_names,
                output_names=[target["name"] for target in signature["targets"]],
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(
            f"the model cannot be exported to ONNX: {error}; set `export.enabled: false` or choose "
            "other encoders in params.yaml"
        ) from error
    if program is None:
        raise ExportError("torch.onnx.export gave no program; its release is not the pinned one")
    proto = program.model_proto
    _drop_traces(proto)
    onnx.helper.set_model_props(
        proto,
        {
            "mm_schema_version": str(signature["schema_version"]),
            "mm_signature": json.dumps(signature, sort_keys=True),
        },
    )
    onnx.checker.check_model(proto)
    onnx.save_model(proto, str(path))


def _drop_traces(proto: onnx.ModelProto) -> None:
    """Remove source traces: they carry this machine's paths, and equal exports must be equal."""
    graphs = [proto.graph, *proto.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        graph.doc_string = ""
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in [
        *proto.graph.input,
        *proto.graph.output,
        *proto.graph.value_info,
        *proto.graph.initializer,
    ]:
        del value.metadata_props[:]
        value.doc_string = ""
