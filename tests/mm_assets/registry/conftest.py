"""A pipeline's artifacts written here by hand, so that every model's figures are known.

A cell holds what two imaginary experts say of the row, +1 for glad and -1 for sad: `sharp` is right
in 90 of 100 rows, `dull` in 70. A model listens to one of them in each modality.
"""

import hashlib
import json

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from ruamel.yaml import YAML

from mm_assets.contracts.report import StageReport
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import write_json
from mm_assets.serving.predictor import SIGNATURE_VERSION, Predictor

SHARP, DULL = 0, 1
TEST_ROWS = 200
EVEN = np.log(9) / 2  # logits of -EVEN and EVEN say 90 %
CLASSES = ["sad", "glad"]


class Pipeline:
    """A project whose stages seem to have run; `export` puts another model in `artifacts/`."""

    def __init__(self, root):
        self.root = root
        self.workspace = Workspace(root)
        self.params = {
            "version": 2,
            "modalities": {
                key: {
                    "kind": "features",
                    "column": key,
                    "options": {"dim": 2},
                    "encoder": {"name": "standardized"},
                }
                for key in ("left", "right")
            },
            "targets": {"mood": {"kind": "multiclass", "column": "mood", "classes": CLASSES}},
            "evaluation": {"bootstrap": 200},
            # So small a model takes 30 microseconds, and the machine may be busy.
            "promotion": {"slower_by": 4.0},
            "compute": {"device": "cpu", "threads": 1},
        }
        splits = ["train"] * 60 + ["validation"] * 20 + ["test"] * TEST_ROWS
        count = len(splits)
        mood = np.resize(CLASSES, count)
        self.rows = pd.DataFrame(
            {
                "id": [f"s{n}" for n in range(count)],
                "copy": 0,
                "split": splits,
                "group": [f"g{n // 2}" for n in range(count)],
                "render": None,
                "left": self._write_cells(mood, shift=0),
                "right": self._write_cells(mood, shift=37),
                "mood": mood,
            }
        )
        (root / "data").mkdir()
        self.write()

    @staticmethod
    def _write_cells(mood, *, shift):
        """Sharp errs in every tenth row, dull in three of ten; never twice the same cell."""
        truth = np.where(mood == "glad", 1.0, -1.0)
        turn = (np.arange(len(mood)) // 2 + shift) % 10
        noise = 1e-6 * np.arange(len(mood))
        sharp, dull = truth * np.where(turn == 0, -1, 1), truth * np.where(turn < 3, -1, 1)
        return [json.dumps(pair) for pair in np.stack([sharp + noise, dull + noise], 1).tolist()]

    def write(self):
        """Write parameters, rows and what was taken of their contents."""
        YAML().dump(self.params, self.root / "params.yaml")
        for folder in (self.workspace.augmented, self.workspace.validated):
            folder.mkdir(parents=True, exist_ok=True)
        self.rows.to_parquet(self.workspace.augmented / "samples.parquet")
        pd.DataFrame(
            [
                {"id": id_, "modality": key, "content": hashlib.sha256(cell.encode()).hexdigest()}
                for key in ("left", "right")
                for id_, cell in zip(self.rows["id"], self.rows[key], strict=True)
                if isinstance(cell, str)
            ]
        ).to_parquet(self.workspace.validated / "probes.parquet")

    def export(self, left=SHARP, right=SHARP, *, sure=1.0, off=0.0, classes=CLASSES, more=None):
        """Put a model in `artifacts/`, with its evidence.

        Args:
            left: Which expert it listens to there; null for none.
            right: The same; where the two disagree the right one counts.
            sure: What the logits are multiplied by.
            off: How far its exported answers lie from the evaluated ones.
            classes: Which it answers.
            more: A further modality, which no row has and which says nothing.
        """
        weights = {}
        for key, expert, weight in (("left", left, 0.5), ("right", right, 1.0)):
            weights[key] = np.zeros((2, 2), np.float32)
            if expert is not None:
                weights[key][expert] = np.array([-1, 1]) * EVEN * sure * weight
        if more:
            weights[more] = np.zeros((2, 2), np.float32)
        folder = self.workspace.onnx
        folder.mkdir(parents=True, exist_ok=True)
        write_model(folder, weights, classes=classes)
        predictor = Predictor(folder, threads=1, device="cpu")
        test = self.rows[self.rows["split"] == "test"]
        cells = [
            {key: cell for key, cell in row.items() if isinstance(cell, str)}
            for row in test[["left", "right"]].to_dict("records")
        ]
        answers = predictor.compute(cells)["mood"] + off
        self.workspace.evaluation.mkdir(exist_ok=True)
        pd.DataFrame(
            {"id": test["id"], "target": "mood", "probabilities": list(answers)}
        ).to_parquet(self.workspace.evaluation / "predictions.parquet")
        write_json(self.workspace.evaluation / "metrics.json", {})
        self.workspace.card.mkdir(exist_ok=True)
        (self.workspace.card / "model_card.html").write_text(f"<p>{left} {right}</p>")
        self.report("evaluate", mood_accuracy=0.5)
        self.report("export", parity_max_difference=1e-6, served_max_difference=2e-6)
        self.report("card")

    def report(self, stage, *, suites=(), **metrics):
        report = StageReport(stage=stage, rows_in=1, rows_out=1, metrics=metrics, suites=suites)
        write_json(self.workspace.report(stage), report.model_dump(mode="json"))


def write_model(folder, weights, *, classes):
    """Write softmax(left . V + right . W), what is absent selected out."""
    zero = numpy_helper.from_array(np.float32(0), "zero")
    nodes, constants = [], [zero]
    for at, (key, matrix) in enumerate(weights.items()):
        nodes += [
            helper.make_node("MatMul", [f"{key}.vector", f"{key}_w"], [f"{key}_logits"]),
            helper.make_node("Gather", ["presence", f"{key}_at"], [f"{key}_there"], axis=1),
            helper.make_node("Where", [f"{key}_there", f"{key}_logits", "zero"], [f"{key}_said"]),
        ]
        constants.append(numpy_helper.from_array(matrix, f"{key}_w"))
        constants.append(numpy_helper.from_array(np.array([at], np.int64), f"{key}_at"))
    nodes.append(helper.make_node("Sum", [f"{key}_said" for key in weights], ["logits"]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["mood"], axis=1))
    vectors = [
        helper.make_tensor_value_info(f"{key}.vector", TensorProto.FLOAT, ["n", 2])
        for key in weights
    ]
    mask = helper.make_tensor_value_info("presence", TensorProto.BOOL, ["n", len(weights)])
    answer = helper.make_tensor_value_info("mood", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "experts", [*vectors, mask], [answer], constants)
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), folder / "model.onnx")
    features = {"kind": "features", "options": {"dim": 2}, "inputs": {"dim": 2}}
    signature = {
        "schema_version": SIGNATURE_VERSION,
        "context": False,
        "modalities": [
            {"name": key, **features, "files": [], "arrays": ["vector"]} for key in weights
        ],
        "targets": [{"name": "mood", "kind": "multiclass", "classes": classes}],
    }
    (folder / "signature.json").write_text(json.dumps(signature))


@pytest.fixture
def pipeline(tmp_path):
    return Pipeline(tmp_path)
