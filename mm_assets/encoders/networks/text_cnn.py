"""A convolutional network over words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mm_assets.encoders.networks.words import Words


class TextCNN(nn.Module):
    """Phrases of several lengths, each found where it is clearest.

    Args:
        words: Vectors of words.
        widths: Lengths of phrases, in words.
        dropout: Of what was found, while it is fitted.

    Source:
        Kim 2014, https://arxiv.org/abs/1408.5882 (CNN-rand), with a layer that narrows.
    """

    def __init__(self, words: Words, *, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.words = words
        self.widths = widths
        self.phrases = nn.ModuleList(nn.Conv1d(words.dim, words.dim, width) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(words.dim * len(widths), words.dim)

    def forward(
        self, ids: Int[Tensor, "batch steps"], mask: Int[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed texts.

        Args:
            ids: Hashes of words, 0 for padding.
            mask: 1 for a word, 0 for padding.
        """
        vectors = self.words(ids).transpose(1, 2)  # (batch, dim, steps)
        there = mask[:, None].to(vectors.dtype)
        found = []
        for width, phrase in zip(self.widths, self.phrases, strict=True):
            # One phrase begins at each word; what follows the last word is 0 in any batch.
            clear = F.relu(phrase(F.pad(vectors, (0, width - 1))))
            found.append((clear * there).amax(dim=2))
        narrowed: Tensor = self.narrow(self.dropout(torch.cat(found, dim=1)))
        return narrowed
