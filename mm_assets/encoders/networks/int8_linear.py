"""Linear layers whose products are computed in 8-bit integers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

LARGEST = 127  # of a signed 8-bit integer, the same on both sides of zero
# Their forward reads its layers' weights without calling them.
UNTOUCHED = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


class Int8Linear(nn.Module):
    """A linear layer with one scale per output, and one per input vector, taken as it comes.

    Torch's own dynamic quantization takes one scale for a whole batch, so that a row's vector would
    depend on the rows beside it, and one large number would blur all others.

    Source:
        Dettmers et al. 2022, https://arxiv.org/abs/2208.07339, section 3.1 (vector-wise scales).
    """

    scale: Tensor
    weight8: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()  # (output, input)
        scale = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
        self.register_buffer("scale", scale)
        self.register_buffer("weight8", (weight / scale[:, None]).round().to(torch.int8).t())
        self.bias = linear.bias

    def forward(self, values: Float[Tensor, "*batch input"]) -> Float[Tensor, "*batch output"]:
        """Compute as `nn.Linear`."""
        flat = values.reshape(-1, values.shape[-1])  # (row, input)
        scale = flat.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / LARGEST
        products = torch._int_mm((flat / scale).round_().to(torch.int8), self.weight8)
        found = products.float().mul_(scale).mul_(self.scale)  # (row, output)
        if self.bias is not None:
            found += self.bias
        return found.reshape(*values.shape[:-1], -1)


def quantize_linears(network: nn.Module) -> int:
    """Replace a network's linear layers in place; returns how many there were."""
    count = 0
    for name, child in network.named_children():
        if type(child) is nn.Linear:
            setattr(network, name, Int8Linear(child))
            count += 1
        elif not isinstance(child, UNTOUCHED):
            count += quantize_linears(child)
    return count
