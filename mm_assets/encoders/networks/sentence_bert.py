"""A BERT whose token vectors are averaged into one unit vector per text."""

from __future__ import annotations

from pathlib import Path

from mm_assets.encoders.networks.huggingface import PooledTokens, Tokens


def load_sentence_bert(folder: Path) -> PooledTokens:
    """Load BERT, mean pooling and L2 normalisation, in evaluation mode.

    Args:
        folder: Holds `config.json` and `model.safetensors`.

    Source:
        Reimers & Gurevych 2019, https://arxiv.org/abs/1908.10084, section 3.
    """
    return PooledTokens(load_bert(folder), pooling="mean", normalize=True).eval()


def load_bert(folder: Path) -> Tokens:
    """Load BERT, which gives a vector a token, in evaluation mode.

    Args:
        folder: As `load_sentence_bert`.
    """
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
    return Tokens(bert).eval()
