"""Reading each row in the light of the other rows of its group, in their order.

A batch holds the rows of several groups, each group's in their order; which rows belong together is
told by a number a row. A row whose number no other has is read alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mm_assets.contracts.config import ContextConfig
from mm_assets.fusion.attention import AttentionStack, encode_places


class Context(nn.Module, ABC):
    """Adds to each row's vector what the other rows of its group say."""

    @abstractmethod
    def forward(
        self, vectors: Float[Tensor, "row dim"], groups: Int[Tensor, " row"]
    ) -> Float[Tensor, "row dim"]:
        """Read each row among those of its group.

        Args:
            vectors: One a row.
            groups: Rows with the same number belong together, in the order in which they come.
        """


class ContextMean(Context):
    """Adds a learned share of the mean of the group's other rows.

    What is read from the sum is so read from a row's own vector and from the others' alike: nothing
    new has to be learned but how far rows of a group agree. It is what a group's random intercept
    is to a linear model.

    Source:
        Goldstein 1986, https://doi.org/10.1093/biomet/73.1.43 (a level of variation by group).
    """

    def __init__(self, dim: int, config: ContextConfig) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))

    def forward(
        self, vectors: Float[Tensor, "row dim"], groups: Int[Tensor, " row"]
    ) -> Float[Tensor, "row dim"]:
        """Compute ``x_i + share * mean_j x_j`` over the other rows ``j`` of the group, if any."""
        same = (groups[:, None] == groups).to(vectors.dtype)  # (row, row)
        others = same.sum(dim=1, keepdim=True) - 1
        return vectors + self.share * (same @ vectors - vectors) / others.clamp(min=1)


class ReadContext(Context):
    """Adds what a network reads in the group: nothing, untrained.

    Args:
        dim: Width of a row's vector.
        found: Width of what is found in the group.
    """

    def __init__(self, dim: int, found: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.add = nn.Linear(found, dim)
        # Rows are read alone at first: what their groups say is learned as a correction.
        nn.init.zeros_(self.add.weight)
        nn.init.zeros_(self.add.bias)

    def forward(
        self, vectors: Float[Tensor, "row dim"], groups: Int[Tensor, " row"]
    ) -> Float[Tensor, "row dim"]:
        """See `Context.forward`."""
        same = groups[:, None] == groups  # (row, row)
        read: Tensor = vectors + self.add(self.look_around(self.norm(vectors), same))
        return read

    @abstractmethod
    def look_around(
        self, vectors: Float[Tensor, "row dim"], same: Bool[Tensor, "row row"]
    ) -> Float[Tensor, "row found"]:
        """Give what each row's group says.

        Args:
            vectors: Normalised.
            same: Whether two rows belong together.
        """


class ContextTransformer(ReadContext):
    """Every row attends to all rows of its group, earlier and later ones.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    def __init__(self, dim: int, config: ContextConfig) -> None:
        super().__init__(dim, dim)
        self.layers = AttentionStack(dim, config.heads, config.layers)

    def look_around(
        self, vectors: Float[Tensor, "row dim"], same: Bool[Tensor, "row row"]
    ) -> Float[Tensor, "row found"]:
        """See `ReadContext.look_around`."""
        placed = vectors + encode_places(find_places(same), vectors.shape[1])
        found: Tensor = self.layers(placed[None], same[None])[0]
        return found


class ContextGRU(ReadContext):
    """A recurrent network passes over each group forwards, another backwards.

    Source:
        Poria et al. 2017, https://aclanthology.org/P17-1081, section 3.3 (bc-LSTM); with the unit of
        Cho et al. 2014, https://arxiv.org/abs/1406.1078.
    """

    def __init__(self, dim: int, config: ContextConfig) -> None:
        super().__init__(dim, 2 * dim)
        self.forwards, self.backwards = (
            nn.GRU(dim, dim, config.layers, batch_first=True) for _ in range(2)
        )

    def look_around(
        self, vectors: Float[Tensor, "row dim"], same: Bool[Tensor, "row row"]
    ) -> Float[Tensor, "row found"]:
        """See `ReadContext.look_around`."""
        first = same.int().argmax(dim=1)  # the row with which a row's group begins
        place = find_places(same)
        last = same.sum(dim=1) - 1 - place  # counted from the group's end
        found = [
            self._pass(network, vectors, first, at)
            for network, at in ((self.forwards, place), (self.backwards, last))
        ]
        return torch.cat(found, dim=1)

    def _pass(
        self,
        network: nn.Module,
        vectors: Float[Tensor, "row dim"],
        first: Int[Tensor, " row"],
        place: Int[Tensor, " row"],
    ) -> Float[Tensor, "row dim"]:
        """Lay groups out as sequences, pass over them, and give each row what is found at it.

        Groups are called by the row with which they begin, so that there are as many sequences as
        rows; most of them are empty.
        """
        rows = vectors.shape[0]
        if torch.compiler.is_exporting():  # sizes must not depend on values
            number, groups, longest = first, rows, rows
        else:
            names, number = torch.unique(first, return_inverse=True)
            groups, longest = len(names), int(place.max()) + 1
        laid = vectors.new_zeros(groups, longest, vectors.shape[1])
        sequences, _ = network(laid.index_put((number, place), vectors))
        found: Tensor = sequences[number, place]
        return found


CONTEXTS: dict[str, Callable[[int, ContextConfig], Context]] = {
    "mean": ContextMean,
    "transformer": ContextTransformer,
    "gru": ContextGRU,
}


def build_context(config: ContextConfig, dim: int) -> Context:
    """Build what `fusion.context` asks for."""
    return CONTEXTS[config.name](dim, config)


def find_places(same: Bool[Tensor, "row row"]) -> Int[Tensor, " row"]:
    """Count the rows of a row's group that come before it."""
    return torch.tril(same, diagonal=-1).sum(dim=1)
