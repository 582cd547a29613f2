import itertools
import math

import numpy as np
import onnxruntime
import pytest
import torch

from mm_assets.contracts.config import FusionConfig
from mm_assets.fusion.base import build_fusion

FUSIONS = ["concat", "gated"]
SUBSETS = [s for s in itertools.product([False, True], repeat=3) if any(s)]


def build(name, modalities=3, dim=4):
    torch.manual_seed(1)
    fusion = build_fusion(FusionConfig(name=name, dim=dim), modalities=modalities)
    torch.nn.init.normal_(fusion.absent)
    return fusion.eval()


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e30])
def test_what_stands_for_an_absent_modality_reaches_neither_output_nor_gradient(name, subset, junk):
    fusion, presence = build(name), torch.tensor([subset])
    clean = torch.randn(1, 3, 4)
    dirty = torch.where(presence[..., None], clean, junk)

    expected, found = fusion(clean, presence), fusion(dirty, presence)
    found.sum().backward()

    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert all(p.grad is None or p.grad.isfinite().all() for p in fusion.parameters())


@pytest.mark.parametrize("name", FUSIONS)
def test_every_present_modality_reaches_the_output(name):
    fusion = build(name)
    rows = torch.randn(1, 3, 4)
    for index in range(3):
        changed = rows.clone()
        changed[0, index] += 1
        everything = torch.ones(1, 3, dtype=torch.bool)
        assert not torch.equal(fusion(rows, everything), fusion(changed, everything))


@pytest.mark.parametrize("name", FUSIONS)
def test_a_row_does_not_depend_on_the_rows_beside_it(name):
    fusion, rows = build(name), torch.randn(6, 3, 4)
    presence = torch.rand(6, 3) < 0.5
    together = fusion(rows, presence)
    for index in range(6):
        alone = fusion(rows[index : index + 1], presence[index : index + 1])
        torch.testing.assert_close(alone[0], together[index])


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSIONS)
def test_the_exported_graph_answers_alike_for_any_batch(name, tmp_path):
    fusion, rows = build(name), torch.randn(2, 3, 4)
    batch = {0: torch.export.Dim.AUTO}
    program = torch.onnx.export(
        fusion,
        (rows, torch.ones(2, 3, dtype=torch.bool)),
        dynamo=True,
        dynamic_shapes=(batch, batch),
        input_names=["vectors", "presence"],
        verbose=False,
    )
    program.save(tmp_path / "fusion.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "fusion.onnx", providers=["CPUExecutionProvider"]
    )
    for count in (1, 5):
        rows, presence = torch.randn(count, 3, 4), torch.rand(count, 3) < 0.5
        junk = torch.where(presence[..., None], rows, math.nan)
        (found,) = session.run(None, {"vectors": junk.numpy(), "presence": presence.numpy()})
        np.testing.assert_allclose(found, fusion(rows, presence).detach().numpy(), atol=1e-6)
