"""A small graph written here by hand, so that its answers are known."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

WEIGHTS = {
    "right": np.array([[1.0, -1.0], [0.5, 2.0]], np.float32),
    "left": np.array([[3.0, 0.0]], np.float32),
}


@pytest.fixture(scope="session")
def small_onnx_model(tmp_path_factory):
    """softmax(present(right) . W + present(left) . V), an absent side selected out by Where.

    The order of the two is not that of their names, as a file with sorted keys would have it.
    """
    folder = tmp_path_factory.mktemp("onnx")
    nodes, sums = [], []
    for key in WEIGHTS:
        nodes += [
            helper.make_node("MatMul", [f"{key}.vector", f"{key}_w"], [f"{key}_logits"]),
            helper.make_node("Gather", ["presence", f"{key}_at"], [f"{key}_present"], axis=1),
            helper.make_node(
                "Where", [f"{key}_present", f"{key}_logits", "zero"], [f"{key}_chosen"]
            ),
        ]
        sums.append(f"{key}_chosen")
    nodes += [
        helper.make_node("Add", sums, ["logits"]),
        helper.make_node("Softmax", ["logits"], ["mood"], axis=1),
    ]
    initializers = [onnx.numpy_helper.from_array(np.float32(0), "zero")]
    for at, (key, matrix) in enumerate(WEIGHTS.items()):
        initializers.append(onnx.numpy_helper.from_array(matrix, f"{key}_w"))
        initializers.append(onnx.numpy_helper.from_array(np.array([at], np.int64), f"{key}_at"))
    graph = helper.make_graph(
        nodes,
        "small",
        [
            *(
                helper.make_tensor_value_info(f"{k}.vector", TensorProto.FLOAT, ["n", len(w)])
                for k, w in WEIGHTS.items()
            ),
            helper.make_tensor_value_info("presence", TensorProto.BOOL, ["n", 2]),
        ],
        [helper.make_tensor_value_info("mood", TensorProto.FLOAT, ["n", 2])],
        initializers,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
        folder / "model.onnx",
    )
    signature = {
        "schema_version": 3,
        "context": False,
        "modalities": [
            {
                "name": key,
                "kind": "features",
                "options": {"dim": len(w)},
                "inputs": {"dim": len(w)},
                "files": [],
                "arrays": ["vector"],
            }
            for key, w in WEIGHTS.items()
        ],
        "targets": [{"name": "mood", "kind": "multiclass", "classes": ["sad", "glad"]}],
    }
    (folder / "signature.json").write_text(json.dumps(signature))
    return folder
