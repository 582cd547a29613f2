import numpy as np
import torch

from mm_assets.fusion.concat import Concat
from mm_assets.fusion.options import Options


def test_the_output_is_one_hidden_layer_computed_with_numpy():
    torch.manual_seed(0)
    layer = Concat(2, 3, Options())
    torch.nn.init.normal_(layer.absent)
    rows = torch.randn(2, 2, 3)
    presence = torch.tensor([[True, True], [False, True]])
    weight, bias = layer.mix.weight.detach().numpy(), layer.mix.bias.detach().numpy()
    absent = layer.absent.detach().numpy()
    side_by_side = np.stack(
        [
            np.concatenate([rows[0, 0], rows[0, 1]]),
            np.concatenate([absent[0], rows[1, 1]]),
        ]
    )

    expected = np.maximum(side_by_side @ weight.T + bias, 0)

    np.testing.assert_allclose(layer(rows, presence).detach().numpy(), expected, atol=1e-6)
