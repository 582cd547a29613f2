"""A one-dimensional residual network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder, LearnedOptions

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class SignalCNNOptions(LearnedOptions):
    """How much is seen, and how large the network is."""

    max_s: Annotated[float, Field(gt=0)] = 30.0
    width: Annotated[int, Field(ge=4, le=512)] = 32  # of the first block; doubled by every second
    blocks: Annotated[int, Field(ge=1, le=10)] = 4  # each halves the rate, as the first layer does
    kernel: Annotated[int, Field(ge=3, le=63)] = 7  # samples; an even one gets one more
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    noise: Annotated[float, Field(ge=0, le=1)] = 0.05  # put on training signals, re their deviation


class SignalCNN(LearnedEncoder):
    """Convolutions that halve the rate, with shortcuts, pooled over what is no padding."""

    name: ClassVar[str] = "signal_cnn"
    kind: ClassVar[str] = "signal"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised", "contrastive")
    input_shape: ClassVar[str] = "float32 (batch, channels, time) and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, dim)"
    size: ClassVar[str] = "160 k parameters by default"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = (
        "Hannun et al. 2019, https://doi.org/10.1038/s41591-018-0268-3; "
        "Wang et al. 2017, https://arxiv.org/abs/1611.06455"
    )
    options_model: ClassVar[type[base.Options]] = SignalCNNOptions
    options: SignalCNNOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Signal.collate` needs: the cut."""
        return {"max_s": self.options.max_s}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; see `LearnedEncoder.body`.

        Args:
            constants: ``mean`` and ``scale``, float32 (channel,).
        """
        from mm_assets.encoders.networks.signal_cnn import SignalCNN as Network

        asked = self.options
        return Network(
            constants["mean"],
            constants["scale"],
            dim=asked.dim,
            width=asked.width,
            blocks=asked.blocks,
            kernel=asked.kernel,
            dropout=asked.dropout,
            noise=asked.noise,
        )


ENCODER = SignalCNN
