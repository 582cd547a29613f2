import torch
from torch import nn

from mm_assets.encoders.networks.int8_linear import Int8Linear, quantize_linears


def test_whole_numbers_up_to_127_are_multiplied_exactly():
    """With 127 in each row both scales are 1, so that nothing is rounded."""
    generator = torch.Generator().manual_seed(0)
    dense = nn.Linear(24, 16)
    rows = torch.randint(-127, 128, (5, 24), generator=generator).float()
    dense.weight.data = torch.randint(-127, 128, (16, 24), generator=generator).float()
    rows[:, 0] = dense.weight.data[:, 1] = 127
    with torch.inference_mode():
        torch.testing.assert_close(Int8Linear(dense)(rows), dense(rows), rtol=1e-5, atol=1e-3)


def test_a_row_does_not_depend_on_the_rows_beside_it():
    torch.manual_seed(0)
    layer = Int8Linear(nn.Linear(32, 16))
    rows = torch.randn(20, 32)
    rows[7] *= 1e6
    with torch.inference_mode():
        together = layer(rows[None])[0]
        alone = torch.cat([layer(row[None]) for row in rows])
    torch.testing.assert_close(together, alone, rtol=0, atol=0)


def test_zeros_give_the_bias():
    dense = nn.Linear(8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(Int8Linear(dense)(torch.zeros(3, 8)), dense.bias.expand(3, 8))


def test_layers_whose_weights_others_read_stay():
    network = nn.Sequential(
        nn.Linear(8, 8),
        nn.TransformerEncoderLayer(8, 2, batch_first=True),
        nn.Linear(8, 8, bias=False),
    ).eval()
    assert quantize_linears(network) == 2
    with torch.inference_mode():
        assert network(torch.randn(2, 3, 8)).isfinite().all()
