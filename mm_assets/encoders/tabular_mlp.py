"""Numbers and categories read by a network that learns a vector for each category."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.learned import LearnedEncoder, LearnedOptions
from mm_assets.encoders.tabular import build_slots

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class TabularMLPOptions(LearnedOptions):
    """As `tabular`, and how the network on it looks."""

    clip: Annotated[float, Field(gt=0)] = 10.0  # in interquartile ranges from the median
    max_categories: Annotated[int, Field(ge=1)] = 64  # the most frequent ones of each column
    hidden: Annotated[int, Field(ge=2)] = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    epochs: Annotated[int, Field(ge=1, le=1000)] = 30


class TabularMLP(LearnedEncoder):
    """A multilayer perceptron over robustly scaled numbers and embedded categories.

    Its first layer holds one learnt vector per known category, per column's "other" and per
    missing value, and adds up those of a row.
    """

    name: ClassVar[str] = "tabular_mlp"
    kind: ClassVar[str] = "tabular"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised", "contrastive")
    input_shape: ClassVar[str] = (
        "float32 (batch, numeric column) and int64 (batch, categorical column)"
    )
    output_shape: ClassVar[str] = "float32 (batch, logits of all targets), or (batch, dim)"
    size: ClassVar[str] = "128 parameters a slot and 25 k by default"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = (
        "Guo & Berkhahn 2016, https://arxiv.org/abs/1604.06737; "
        "Gorishniy et al. 2021, https://arxiv.org/abs/2106.11959"
    )
    options_model: ClassVar[type[base.Options]] = TabularMLPOptions
    options: TabularMLPOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Tabular.collate` needs: nothing."""
        return {}

    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network; `constants` as the state of `Tabular.network`."""
        from torch import nn

        from mm_assets.encoders.networks.chain import Chain

        slots = build_slots(constants, clip=self.options.clip)
        asked = self.options
        return Chain(
            slots,
            nn.Sequential(
                nn.Linear(slots.dim, asked.hidden),
                nn.ReLU(),
                nn.Dropout(asked.dropout),
                nn.Linear(asked.hidden, asked.hidden),
                nn.ReLU(),
                nn.Dropout(asked.dropout),
                nn.Linear(asked.hidden, asked.dim),
            ),
        )


ENCODER = TabularMLP
