"""A recurrent network over words."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mm_assets.encoders.networks.words import KNOWN, MASKED, Words

MASKED_SHARE = 0.15  # of words, that are to be guessed
CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


class TextGRU(nn.Module):
    """Words are read in both directions, and what is known at each is weighed by attention.

    Args:
        words: Vectors of words; half of their width is a direction's.
        cell: ``gru`` or ``lstm``.
        dropout: Of words and of what is known at them, while it is fitted.

    Source:
        Yang et al. 2016, https://aclanthology.org/N16-1174/ (its encoder of a sentence).
    """

    def __init__(self, words: Words, *, cell: str, dropout: float) -> None:
        super().__init__()
        self.words = words
        self.onward = CELLS[cell](words.dim, words.dim // 2, batch_first=True)
        self.back = CELLS[cell](words.dim, words.dim // 2, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.key = nn.Linear(words.dim, words.dim)
        self.score = nn.Linear(words.dim, 1, bias=False)
        self.guess = nn.Linear(words.dim, words.dim)

    def forward(
        self, ids: Int[Tensor, "batch steps"], mask: Int[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed texts, each as the weighted mean over its words; one without words is 0.

        Args:
            ids: Hashes of words, 0 for padding.
            mask: 1 for a word, 0 for padding, which comes last.
        """
        steps, there = self.sequence(ids, mask)
        scores = self.score(torch.tanh(self.key(steps)))[:, :, 0]  # (batch, steps)
        scores = scores.masked_fill(~there, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=1) * there  # a text without words weighs its padding alike
        pooled: Tensor = (weights[:, None] @ steps)[:, 0]
        return pooled

    def sequence(
        self, ids: Int[Tensor, "batch steps"], mask: Int[Tensor, "batch steps"]
    ) -> tuple[Float[Tensor, "batch steps dim"], Bool[Tensor, "batch steps"]]:
        """Give what is known at each word, and which steps are words."""
        return self.dropout(self.read(self.words(ids), mask)), mask > 0

    def read(
        self, vectors: Float[Tensor, "batch steps dim"], mask: Int[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Read onward, and backward from each text's own last word, so that no padding is read."""
        vectors = self.dropout(vectors)
        places = torch.arange(mask.shape[1], device=mask.device)
        mirrored = (mask.sum(dim=1, keepdim=True) - 1 - places).clamp(min=0)  # (batch, steps)
        onward = self.onward(vectors)[0]
        back = _pick(self.back(_pick(vectors, mirrored))[0], mirrored)
        return torch.cat([onward, back], dim=2)

    def self_supervised_loss(
        self, ids: Int[Tensor, "batch steps"], mask: Int[Tensor, "batch steps"]
    ) -> Float[Tensor, ""]:
        """Guess masked words among all known ones, in nats; 0 where none is masked.

        Source:
            Devlin et al. 2019, https://arxiv.org/abs/1810.04805 (masked language model).
        """
        rows = self.words.find(ids)
        hidden = (rows >= KNOWN) & (torch.rand(ids.shape, device=ids.device) < MASKED_SHARE)
        vectors = self.words.table(torch.where(hidden, MASKED, rows))
        known = self.guess(self.read(vectors, mask)[hidden])  # (hidden, dim)
        logits = known @ self.words.table.weight[KNOWN:].T
        loss = F.cross_entropy(logits, rows[hidden].long() - KNOWN, reduction="sum")
        return loss / max(len(known), 1)


def _pick(
    vectors: Float[Tensor, "batch steps dim"], places: Int[Tensor, "batch steps"]
) -> Float[Tensor, "batch steps dim"]:
    """Give each text's steps in another order."""
    texts = torch.arange(places.shape[0], device=places.device)
    return vectors[texts[:, None], places]
