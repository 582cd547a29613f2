import numpy as np
import torch

from mm_assets.fusion.gated import Gated
from mm_assets.fusion.options import Options


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def compute_unit(weights, rows, presence):
    """Figure 2a of Arevalo et al. 2017, row by row and in float64, absent vectors replaced."""
    modalities, dim = rows.shape[1:]
    fused = np.zeros((len(rows), dim))
    for row, (vectors, present) in enumerate(zip(rows, presence, strict=True)):
        filled = [vectors[i] if present[i] else weights["absent"][i] for i in range(modalities)]
        gates = sigmoid(weights["gate.weight"] @ np.concatenate(filled) + weights["gate.bias"])
        for i in range(modalities):
            if present[i]:
                content = np.tanh(
                    weights[f"content.{i}.weight"] @ filled[i] + weights[f"content.{i}.bias"]
                )
                fused[row] += gates[i * dim : (i + 1) * dim] * content
    return fused


def test_the_output_is_the_papers_formula_computed_with_numpy():
    torch.manual_seed(0)
    unit = Gated(3, 4, Options())
    torch.nn.init.normal_(unit.absent)
    rows = torch.randn(5, 3, 4)
    presence = torch.tensor(
        [[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.bool
    )
    weights = {name: p.detach().double().numpy() for name, p in unit.named_parameters()}

    expected = compute_unit(weights, rows.double().numpy(), presence.numpy())

    np.testing.assert_allclose(unit(rows, presence).detach().numpy(), expected, atol=1e-6)


def test_evidence_adds_up_when_the_gates_are_open():
    torch.manual_seed(0)
    unit = Gated(2, 3, Options())
    torch.nn.init.zeros_(unit.gate.weight)
    torch.nn.init.constant_(unit.gate.bias, 50.0)  # sigmoid(50) is 1 in float32
    rows, masks = torch.randn(1, 2, 3).expand(3, -1, -1), [[1, 1], [1, 0], [0, 1]]

    both, first, second = unit(rows, torch.tensor(masks, dtype=torch.bool))

    torch.testing.assert_close(both, first + second)
