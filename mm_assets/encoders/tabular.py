"""Numbers and categories as a vector whose scales and slots the training rows decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from mm_assets.encoders.networks.tabular import Tabular as Network


class TabularOptions(base.Options):
    """How far a number may lie, and how many categories of a column have a slot of their own."""

    clip: Annotated[float, Field(gt=0)] = 10.0  # in interquartile ranges from the median
    max_categories: Annotated[int, Field(ge=1)] = 64  # the most frequent ones of each column


class Tabular(base.Encoder):
    """Numbers from their median in interquartile ranges, categories one-hot.

    A missing number is 0 with an indicator set. Categories that training rows do not have, and
    their rarest, share one slot of the column; a missing one has a slot of its own.
    """

    name: ClassVar[str] = "tabular"
    kind: ClassVar[str] = "tabular"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    fitted: ClassVar[bool] = True
    input_shape: ClassVar[str] = (
        "float32 (batch, numeric column) and int64 (batch, categorical column)"
    )
    output_shape: ClassVar[str] = "float32 (batch, dim)"
    size: ClassVar[str] = "a few numbers a column"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"
    source: ClassVar[str] = "robust scaling and one-hot encoding, as scikit-learn defines them"
    options_model: ClassVar[type[base.Options]] = TabularOptions
    options: TabularOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Tabular.collate` needs: nothing."""
        return {}

    def weights_digest(self) -> str:
        """Give an empty text: there are no weights."""
        return ""

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector, which the state decides; see `network`."""
        return count_slots(self.require_state(state))

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network.

        Args:
            state: ``median`` and ``scale``, float32 (numeric column,); ``categories``, int64
                (category,), the hashes of all columns' categories one after the other, and
                ``categories_per_column``, int64 (categorical column,), how many each has; as
                `mm_assets.training.encoder_fitting.fit_encoder` gives them.
        """
        return build_slots(self.require_state(state), clip=self.options.clip).eval()


def build_slots(state: dict[str, np.ndarray], *, clip: float) -> Network:
    """Build the network from the state that `Tabular.network` describes."""
    import torch

    from mm_assets.encoders.networks import tabular

    fitted = {name: torch.from_numpy(array) for name, array in state.items()}
    parts: list[nn.Module] = []
    if len(fitted["median"]):
        parts.append(tabular.RobustScale(fitted["median"], fitted["scale"], clip=clip))
    if len(fitted["categories_per_column"]):
        sizes = fitted["categories_per_column"].tolist()
        parts.append(tabular.OneHot(torch.split(fitted["categories"], sizes)))
    return tabular.Tabular(parts, dim=count_slots(state))


def count_slots(state: dict[str, np.ndarray]) -> int:
    """Count the numbers of a vector: two a numeric column; a category's, "other" and missing."""
    return (
        2 * len(state["median"])
        + len(state["categories"])
        + 2 * len(state["categories_per_column"])
    )


ENCODER = Tabular
