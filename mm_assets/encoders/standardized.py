"""Vectors computed elsewhere, centred and scaled by the training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mm_assets.encoders import base

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class StandardizedOptions(base.Options):
    """None: a vector's length is the modality's `options.dim`."""


class Standardized(base.Encoder):
    """Each number to mean 0 and standard deviation 1 over the training rows."""

    name: ClassVar[str] = "standardized"
    kind: ClassVar[str] = "features"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    fitted: ClassVar[bool] = True
    input_shape: ClassVar[str] = "float32 (batch, dim)"
    output_shape: ClassVar[str] = "float32 (batch, dim)"
    size: ClassVar[str] = "2 numbers a feature"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = "z-scores"
    options_model: ClassVar[type[base.Options]] = StandardizedOptions
    options: StandardizedOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Features.collate` needs: nothing."""
        return {}

    def weights_digest(self) -> str:
        """Give an empty text: there are no weights."""
        return ""

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector, which the state knows; see `network`."""
        return len(self.require_state(state)["mean"])

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network.

        Args:
            state: ``mean`` and ``scale``, float32 (dim,), as
                `mm_assets.training.encoder_fitting.fit_encoder` gives them.
        """
        import torch

        from mm_assets.encoders.networks.standardize import Standardize

        fitted = self.require_state(state)
        return Standardize(
            torch.from_numpy(fitted["mean"]), torch.from_numpy(fitted["scale"])
        ).eval()


ENCODER = Standardized
