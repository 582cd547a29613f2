"""A BERT whose token vectors are averaged into one unit vector per text.

It is written out here, since to import the `transformers` one takes longer than to encode some
hundreds of texts; `huggingface` is the encoder for all others.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mm_assets.encoders.networks.huggingface import PooledTokens

# Our names of what the file calls otherwise; also there, and not used, is the pooler of BERT's
# pre-training.
NAMES = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "types",
    "embeddings.LayerNorm": "norm",
    "encoder.layer": "layers",
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "mixed",
    "attention.output.LayerNorm": "mixed_norm",
    "intermediate.dense": "inner",
    "output.dense": "outer",
    "output.LayerNorm": "outer_norm",
}


class BertLayer(nn.Module):
    """Self-attention, then two linear layers, each added to what came and normalised."""

    def __init__(self, dim: int, heads: int, inner: int, *, eps: float, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.mixed, self.mixed_norm = nn.Linear(dim, dim), nn.LayerNorm(dim, eps)
        self.inner, self.outer = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.outer_norm = nn.LayerNorm(dim, eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch steps dim"], seen: Bool[Tensor, "batch 1 1 steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Apply the layer.

        Args:
            x: One vector a token.
            seen: Which tokens may be attended to.
        """
        query, key, value = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        dropout = self.dropout.p if self.training else 0.0
        heads = F.scaled_dot_product_attention(query, key, value, seen, dropout)
        mixed = self.mixed(heads.transpose(1, 2).flatten(2))
        x = self.mixed_norm(x + self.dropout(mixed))
        return cast(Tensor, self.outer_norm(x + self.dropout(self.outer(F.gelu(self.inner(x))))))


class Bert(nn.Module):
    """BERT without the heads of its pre-training: one vector a token.

    Source:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805, section 3; sizes as in the
        `config.json` of the model.
    """

    def __init__(
        self,
        *,
        words: int,
        positions: int,
        types: int,
        dim: int,
        inner: int,
        layers: int,
        heads: int,
        eps: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(words, dim)
        self.positions = nn.Embedding(positions, dim)
        self.types = nn.Embedding(types, dim)
        self.norm = nn.LayerNorm(dim, eps)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            BertLayer(dim, heads, inner, eps=eps, dropout=dropout) for _ in range(layers)
        )

    def forward(
        self, ids: Int[Tensor, "batch steps"], mask: Int[Tensor, "batch steps"]
    ) -> tuple[Float[Tensor, "batch steps dim"], Bool[Tensor, "batch steps"]]:
        """Encode tokenised texts; see `Tokens.forward`."""
        x = self.words(ids) + self.positions.weight[: ids.shape[1]] + self.types.weight[0]
        x = self.dropout(self.norm(x))
        seen = mask.bool()
        for layer in self.layers:
            x = layer(x, seen[:, None, None, :])
        return x, seen


def load_sentence_bert(folder: Path) -> PooledTokens:
    """Load BERT, mean pooling and L2 normalisation, in evaluation mode.

    Args:
        folder: Holds `config.json` and `model.safetensors`.

    Source:
        Reimers & Gurevych 2019, https://arxiv.org/abs/1908.10084, section 3.
    """
    return PooledTokens(load_bert(folder), pooling="mean", normalize=True).eval()


def load_bert(folder: Path) -> Bert:
    """Load BERT, which gives a vector a token, in evaluation mode.

    Args:
        folder: As `load_sentence_bert`.
    """
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    bert = Bert(
        words=config["vocab_size"],
        positions=config["max_position_embeddings"],
        types=config["type_vocab_size"],
        dim=config["hidden_size"],
        inner=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        eps=config["layer_norm_eps"],
        dropout=config["hidden_dropout_prob"],
    )
    theirs = re.compile("|".join(map(re.escape, NAMES)))
    found = {
        theirs.sub(lambda match: NAMES[match[0]], name): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    bert.load_state_dict({name: found[name] for name in bert.state_dict()})
    return bert.eval()
