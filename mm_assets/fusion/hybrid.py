"""Early and late fusion at once: a router decides row by row whom to believe."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_assets.fusion.base import Parts, VectorFusion, weigh_parts
from mm_assets.fusion.gated import Gated
from mm_assets.fusion.options import Options


class Hybrid(VectorFusion[Options]):
    """A mixture of experts: one for each modality alone, and a gated unit over all of them.

    Source:
        Jacobs et al. 1991, Adaptive mixtures of local experts,
        https://doi.org/10.1162/neco.1991.3.1.79 (the mixture and its router).
    """

    def __init__(self, modalities: int, dim: int, options: Options) -> None:
        super().__init__(modalities, dim, options)
        self.parts = modalities + 1
        self.early = Gated(modalities, dim, options)
        self.content = nn.ModuleList(nn.Linear(dim, dim) for _ in range(modalities))
        self.router = nn.Linear(modalities * dim, modalities + 1)

    def forward(
        self, vectors: Float[Tensor, "batch modality dim"], presence: Bool[Tensor, "batch modality"]
    ) -> Parts:
        """Give ``tanh(W_i x_i + b_i)``, then the gated unit's vector, and the router's shares."""
        filled = self.fill_absent(vectors, presence)
        late = [torch.tanh(layer(filled[:, i])) for i, layer in enumerate(self.content)]
        always = torch.ones_like(presence[:, :1])
        return Parts(
            torch.stack([*late, self.early(vectors, presence)], dim=1),
            weigh_parts(self.router(filled.flatten(1)), torch.cat([presence, always], dim=1)),
        )


FUSION = Hybrid
