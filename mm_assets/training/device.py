"""Where networks run."""

from __future__ import annotations

import torch

from mm_assets.contracts.config import Device


def choose_device(name: Device) -> torch.device:
    """Turn `compute.device` into a device; `auto` takes a GPU where there is one.

    TF32 is switched off: vectors are stored as float32 and shared between machines, and its 10-bit
    mantissa would make a GPU's differ from a CPU's by 1e-3.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
