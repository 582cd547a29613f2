"""Networks that read a history event by event."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mm_assets.encoders.networks.event_counts import log_signed

MASKED_SHARE = 0.15  # of events, whose type is to be guessed
HIGHEST_PERIOD = 1e4  # of the positions' sines, in steps


class EventBody(nn.Module):
    """Type, gap, age and value of each event become a vector; a subclass reads them in order.

    Args:
        bits: Types are hashed into 2^bits rows of one table; two that collide look alike.
        dim: Width of every vector.
        dropout: Of the events' vectors, while it is fitted.
    """

    def __init__(self, *, bits: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.buckets = 2**bits - 1  # beside 0, which is padding
        self.types = nn.Embedding(2**bits, dim, padding_idx=0)
        self.numbers = nn.Linear(4, dim)
        self.mask_vector = nn.Parameter(torch.zeros(dim))
        self.dropout = nn.Dropout(dropout)
        self.guess = nn.Linear(dim, dim)

    @abstractmethod
    def contextualize(
        self, events: Float[Tensor, "batch steps dim"], there: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Let events see each other; what stands where there is none reaches no other step."""

    def forward(
        self, types: Int[Tensor, "batch steps"], numbers: Float[Tensor, "batch steps 4"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed histories, each as the mean over its events; one without events is 0.

        Args:
            types: Hashes, 0 for padding.
            numbers: Gap and age in seconds, value, and whether there is one.
        """
        there = types != 0
        seen = self.contextualize(self.embed(self.place(types), numbers), there)
        weight = there[:, :, None].to(seen.dtype)
        return (seen * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)

    def place(self, types: Int[Tensor, "batch steps"]) -> Int[Tensor, "batch steps"]:
        """Give each type's row of the table."""
        return torch.where(types == 0, 0, torch.remainder(types, self.buckets) + 1)

    def embed(
        self, rows: Int[Tensor, "batch steps"], numbers: Float[Tensor, "batch steps 4"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Add up what an event's type and its numbers say."""
        found: Tensor = self.dropout(self.types(rows) + self.numbers(log_signed(numbers)))
        return found

    def self_supervised_loss(
        self, types: Int[Tensor, "batch steps"], numbers: Float[Tensor, "batch steps 4"]
    ) -> Float[Tensor, ""]:
        """Guess the types of masked events among those in the batch, in nats; 0 without events.

        Source:
            Devlin et al. 2019, https://arxiv.org/abs/1810.04805 (masked language model).
        """
        there, rows = types != 0, self.place(types)
        hidden = there & (torch.rand(types.shape, device=types.device) < MASKED_SHARE)
        events = self.embed(rows, numbers)
        blind = self.mask_vector + self.numbers(log_signed(numbers))
        seen = self.contextualize(torch.where(hidden[:, :, None], blind, events), there)
        candidates, wanted = torch.unique(rows[there], return_inverse=True)
        logits = self.guess(seen[hidden]) @ self.types(candidates).T  # (hidden, candidate)
        chosen = wanted[hidden[there]]
        loss = nn.functional.cross_entropy(logits, chosen, reduction="sum")
        return loss / max(len(chosen), 1)


class EventGRU(EventBody):
    """A gated recurrent unit from the oldest event to the newest.

    Source:
        Cho et al. 2014, https://arxiv.org/abs/1406.1078.
    """

    def __init__(self, *, bits: int, dim: int, dropout: float) -> None:
        super().__init__(bits=bits, dim=dim, dropout=dropout)
        self.recurrent = nn.GRU(dim, dim, batch_first=True)

    def contextualize(
        self, events: Float[Tensor, "batch steps dim"], there: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Run over time; padding comes last, so no event sees it."""
        seen: Tensor = self.recurrent(events)[0]
        return seen


class AttentionLayer(nn.Module):
    """One layer of a transformer, with normalisation first."""

    def __init__(self, *, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.middle = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attend, self.join = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch steps dim"], allowed: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Let every step see those that are allowed, at least one of each row."""
        batch, steps, dim = x.shape
        qkv = self.attend(self.before(x)).reshape(batch, steps, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (batch, head, steps, dim / head)
        found = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=allowed[:, None, None, :]
        )
        x = x + self.dropout(self.join(found.transpose(1, 2).reshape(batch, steps, dim)))
        wide = nn.functional.gelu(self.widen(self.middle(x)))
        widened: Tensor = x + self.dropout(self.narrow(wide))
        return widened


class EventTransformer(EventBody):
    """Self-attention among all events; their order is told by sines and by the numbers.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, with normalisation first.
    """

    def __init__(self, *, bits: int, dim: int, dropout: float, layers: int, heads: int) -> None:
        super().__init__(bits=bits, dim=dim, dropout=dropout)
        self.layers = nn.ModuleList(
            AttentionLayer(dim=dim, heads=heads, dropout=dropout) for _ in range(layers)
        )
        self.after = nn.LayerNorm(dim)

    def contextualize(
        self, events: Float[Tensor, "batch steps dim"], there: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Attend to events alone; a row without any attends to its padding, which is not used."""
        x = events + _sines(events)
        allowed = there | ~there.any(dim=1, keepdim=True)
        for layer in self.layers:
            x = layer(x, allowed)
        seen: Tensor = self.after(x)
        return seen


def _sines(events: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "steps dim"]:
    """Give positions as sines and cosines of falling frequency."""
    steps, dim = events.shape[1:]
    rates = HIGHEST_PERIOD ** (-torch.arange(0, dim, 2, device=events.device) / dim)
    angles = torch.arange(steps, device=events.device)[:, None] * rates
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1).to(events.dtype)
