import numpy as np
import pytest
import torch
from torch import nn

from mm_assets.encoders.networks.packed_linear import PackedLinear, pack_linears


@pytest.mark.parametrize("shape", [(7,), (1, 7), (5, 7), (2, 3, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_gives_what_numpy_gives(shape, bias):
    torch.manual_seed(0)
    dense = nn.Linear(7, 4, bias=bias)
    x = torch.randn(shape)
    expected = x.double().numpy() @ dense.weight.detach().double().numpy().T
    if bias:
        expected = expected + dense.bias.detach().double().numpy()
    with torch.inference_mode():
        given = pack_linears(nn.Sequential(dense))(x)
    np.testing.assert_allclose(given.numpy(), expected, atol=1e-6)


def test_a_whole_transformer_gives_the_same():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    x = torch.randn(3, 5, 16)
    padding = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 1, 1, 1, 1]]).bool()
    with torch.inference_mode():
        expected = layer(x, src_key_padding_mask=padding)
        packed = pack_linears(layer)
        assert isinstance(packed.linear1, PackedLinear)
        given = packed(x, src_key_padding_mask=padding)
    torch.testing.assert_close(given[~padding], expected[~padding], atol=1e-5, rtol=0)


def test_what_packing_cannot_serve_goes_the_usual_way():
    torch.manual_seed(0)
    layer = pack_linears(nn.Sequential(nn.Linear(7, 4)))[0]
    x = torch.randn(2, 7, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(dim=0).expand(2, 7))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


def test_only_plain_float32_layers_are_packed():
    doubled = pack_linears(nn.Sequential(nn.Linear(2, 2).double()))
    assert type(doubled[0]) is nn.Linear
    attention = pack_linears(nn.MultiheadAttention(4, 2))
    assert not isinstance(attention.out_proj, PackedLinear)
