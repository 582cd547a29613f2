"""Sequences of vectors computed elsewhere, centred and scaled by the training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class StandardizedStepsOptions(base.Options):
    """How much of a sequence is read."""

    max_steps: Annotated[int, Field(ge=1, le=10_000)] = 512


class StandardizedSteps(base.Encoder):
    """Each number standardised over the steps of all training rows.

    As one vector: mean and standard deviation over a row's own steps. As a sequence: the steps.
    """

    name: ClassVar[str] = "standardized_steps"
    kind: ClassVar[str] = "features"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    fitted: ClassVar[bool] = True
    sequential: ClassVar[bool] = True
    input_shape: ClassVar[str] = "float32 (batch, steps, dim) and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, 2 dim), or (batch, steps, dim)"
    size: ClassVar[str] = "2 numbers a feature"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = "z-scores, and their statistics over time"
    options_model: ClassVar[type[base.Options]] = StandardizedStepsOptions
    options: StandardizedStepsOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Features.collate` needs: the cut."""
        return {"max_steps": self.options.max_steps}

    def weights_digest(self) -> str:
        """Give an empty text: there are no weights."""
        return ""

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of the one vector."""
        return 2 * len(self.require_state(state)["mean"])

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; `state` as that of `Standardized.network`."""
        return self._build(state, pooled=True)

    def sequence_network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network that gives the steps; see `Encoder.sequence_network`."""
        return self._build(state, pooled=False)

    def _build(self, state: dict[str, np.ndarray] | None, *, pooled: bool) -> nn.Module:
        import torch

        from mm_assets.encoders.networks.standardize import StandardizeSteps

        fitted = self.require_state(state)
        mean, scale = (torch.from_numpy(fitted[name]) for name in ("mean", "scale"))
        return StandardizeSteps(mean, scale, pooled=pooled).eval()


ENCODER = StandardizedSteps
