"""A BERT whose token vectors are averaged into one unit vector per text."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class SentenceBert(nn.Module):
    """BERT, mean pooling over tokens, L2 normalisation.

    Source:
        Reimers & Gurevych 2019, https://arxiv.org/abs/1908.10084, section 3.
    """

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(
        self, ids: Int[Tensor, "batch steps"], mask: Int[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed tokenised texts.

        Args:
            ids: Token ids, int64, padded at the end.
            mask: 1 for a token, 0 for padding; at least one token a row.

        Returns:
            Unit vectors, float32.
        """
        # An additive mask of our own: transformers would branch on the mask's values, which an
        # exported graph cannot.
        bias = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
        bias = bias.masked_fill(mask == 0, torch.finfo(torch.float32).min)
        tokens = self.bert(
            input_ids=ids,
            attention_mask=bias[:, None, None, :],  # (batch, 1, 1, steps)
        ).last_hidden_state  # (batch, steps, dim)
        weight = mask[:, :, None].to(tokens.dtype)
        mean = (tokens * weight).sum(dim=1) / weight.sum(dim=1)
        return F.normalize(mean, dim=1)


def load_sentence_bert(folder: Path) -> SentenceBert:
    """Load BERT from a folder with `config.json` and `model.safetensors`, in evaluation mode."""
    from safetensors.torch import load_file
    from transformers.models.bert import BertConfig
    from transformers.models.bert.modeling_bert import BertModel

    config = BertConfig.from_json_file(folder / "config.json")
    config._attn_implementation = "sdpa"
    bert = BertModel(config, add_pooling_layer=False)
    state = load_file(folder / "model.safetensors")
    names = bert.state_dict().keys()
    # The file also holds the pooler of BERT's pre-training, which sentence vectors do not use.
    bert.load_state_dict({name: state[name] for name in names})
    return SentenceBert(bert).eval()
