import pytest
import torch
from torch import nn

from mm_assets.contracts.errors import ConfigError
from mm_assets.training.precision import place_network

CPU = torch.device("cpu")


def build(width=64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, width), nn.GELU(), nn.Linear(width, 8)).eval()


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-6), ("bf16", 0.02), ("int8", 0.02)]
)
def test_a_precision_changes_vectors_by_no_more_than_its_rounding(precision, tolerance):
    rows = torch.randn(16, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = build()(rows)
        got = place_network(build(), CPU, precision=precision, where="x")(rows).float()
    assert (got - wanted).norm() / wanted.norm() < tolerance
    assert (precision == "float32") or not torch.equal(got, wanted)


def test_in_bfloat16_the_products_have_8_bits():
    network = place_network(build(), CPU, precision="bf16", where="x")
    assert network(torch.randn(2, 32)).dtype == torch.bfloat16


def test_int8_needs_a_linear_layer():
    with pytest.raises(
        ConfigError, match=r"`m\.encoder\.precision: int8` quantizes linear .* none"
    ):
        place_network(nn.Sequential(nn.GELU()), CPU, precision="int8", where="m.encoder")


def test_int8_is_for_the_cpu():
    with pytest.raises(ConfigError, match=r"is for the CPU, but `compute\.device` is cuda; set `m"):
        place_network(build(), torch.device("cuda"), precision="int8", where="m.encoder")
