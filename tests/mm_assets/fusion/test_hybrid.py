import numpy as np
import torch
from scipy.special import softmax

from mm_assets.fusion.hybrid import Hybrid
from mm_assets.fusion.options import Options


def test_parts_are_each_modality_and_the_gated_unit_and_the_router_weighs_them():
    torch.manual_seed(0)
    fusion, rows = Hybrid(2, 4, Options()), torch.randn(3, 2, 4)
    torch.nn.init.normal_(fusion.absent)
    presence = torch.tensor([[1, 1], [1, 0], [0, 1]], dtype=torch.bool)
    vectors, log_weights = fusion(rows, presence)

    assert vectors.shape == (3, fusion.parts, 4)
    torch.testing.assert_close(vectors[:, 2], fusion.early(rows, presence))
    weight, bias = (p.detach().numpy() for p in fusion.router.parameters())
    absent = fusion.absent.detach().numpy()
    for row, present in enumerate(presence.numpy()):
        filled = np.where(present[:, None], rows[row].numpy(), absent)
        speaks = np.append(present, True)
        expected = np.zeros(3)
        expected[speaks] = softmax((weight @ filled.ravel() + bias)[speaks])
        found = log_weights[row].exp().detach().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)
        for index in np.flatnonzero(present):
            said = torch.tanh(fusion.content[index](rows[row, index]))
            torch.testing.assert_close(vectors[row, index], said)
