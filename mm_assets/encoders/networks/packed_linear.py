"""Linear layers with their weights laid out ahead for oneDNN, for networks that only predict."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class PackedLinear(nn.Module):
    """A linear layer, float32 on the CPU, that gives what `nn.Linear` gives but for rounding.

    PyTorch multiplies float32 matrices with MKL, which keeps to AVX2 on processors that are not
    Intel's; oneDNN, which PyTorch ships as well, uses AVX-512 there too. The dense weight stays,
    since other modules may look at it.

    Source:
        https://uxlfoundation.github.io/oneDNN/dev_guide_inference.html
    """

    def __init__(self, dense: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = dense.in_features, dense.out_features
        self.weight, self.bias = dense.weight, dense.bias
        # What `torch.compile` itself calls for such a layer; PyTorch's public form,
        # `torch.utils.mkldnn`, copies every input and output.
        self._packed = torch.ops.mkldnn._reorder_linear_weight(dense.weight.detach())

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch outputs"]:
        """Apply the layer; a gradient, or another precision, goes the usual way.

        Args:
            x: Any float dtype that the dense layer would take.
        """
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or x.dtype != torch.float32:
            return F.linear(x, self.weight, self.bias)
        outputs = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return cast(Tensor, outputs)


def pack_linears(network: nn.Module) -> nn.Module:
    """Pack every linear layer of a network, in place, where that is of use.

    Args:
        network: In evaluation mode, on the device where it will run. It must not be exported
            or moved afterwards.

    Returns:
        The network; as it came where PyTorch was built without oneDNN. Layers on another device or of another
        precision stay as they are, and so do those of `nn.Linear`'s subclasses.
    """
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return network
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and _is_packable(child.weight):
                setattr(module, name, PackedLinear(child))
    return network


def _is_packable(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32
