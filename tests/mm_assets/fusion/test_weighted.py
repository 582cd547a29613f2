import numpy as np
import torch
from scipy.special import softmax

from mm_assets.fusion.options import Options
from mm_assets.fusion.weighted import Weighted


def test_the_output_is_the_weighted_sum_of_present_modalities_computed_with_numpy():
    torch.manual_seed(0)
    layer = Weighted(3, 4, Options())
    layer.scores.data = torch.tensor([0.3, -1.0, 2.0])
    rows = torch.randn(3, 3, 4)
    presence = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0]], dtype=torch.bool)

    expected = np.zeros((3, 4))
    for row, present in enumerate(presence.numpy()):
        shares = softmax(np.array([0.3, -1.0, 2.0])[present])
        for share, index in zip(shares, np.flatnonzero(present), strict=True):
            weight, bias = (p.detach().numpy() for p in layer.content[index].parameters())
            expected[row] += share * np.tanh(weight @ rows[row, index].numpy() + bias)

    np.testing.assert_allclose(layer(rows, presence).detach().numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(layer.shares().detach().numpy(), softmax([0.3, -1.0, 2.0]))
