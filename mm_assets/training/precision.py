"""In which numbers a network computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mm_assets.contracts.config import Precision
from mm_assets.contracts.errors import ConfigError
from mm_assets.encoders.networks.int8_linear import quantize_linears
from mm_assets.encoders.networks.packed_linear import pack_linears


class InBfloat16(nn.Module):
    """A network whose convolutions and matrix products compute in bfloat16; its weights stay."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *arrays: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute; see `Encoder.network`."""
        with torch.autocast(arrays[0].device.type, dtype=torch.bfloat16):
            found: Tensor | tuple[Tensor, Tensor] = self.network(*arrays)
        return found


def place_network(
    network: nn.Module, device: torch.device, *, precision: Precision, where: str
) -> nn.Module:
    """Move a network to where it runs, ready to compute in a precision.

    Args:
        network: In evaluation mode.
        device: Of `choose_device`.
        precision: `float32`; `bf16`, by autocast; or `int8`, by quantizing linear layers, on the CPU.
        where: The encoder's place in `params.yaml`, for messages.

    Raises:
        ConfigError: The device or the network cannot compute so.
    """
    other = f"; set `{where}.precision` in params.yaml to float32"
    if precision == "bf16":
        if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ConfigError(
                f"`{where}.precision: bf16` needs a GPU of compute capability 8.0 or more, got "
                f"{torch.cuda.get_device_name(device)}{other}, or `compute.device: cpu`"
            )
        return InBfloat16(network.to(device))
    if precision == "int8":
        if device.type != "cpu":
            raise ConfigError(
                f"`{where}.precision: int8` is for the CPU, but `compute.device` is {device.type}"
                f"{other} or bf16, or `compute.device: cpu`"
            )
        if not quantize_linears(network):
            raise ConfigError(
                f"`{where}.precision: int8` quantizes linear layers, but this encoder has none that "
                f"can be{other} or bf16"
            )
        return network
    return pack_linears(network.to(device))
