"""Encoders of transformers, from local files that hold no code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mm_assets.contracts.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


class Tokens(nn.Module):
    """A transformer that gives one vector a token."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, ids: Int[Tensor, "batch steps"], mask: Int[Tensor, "batch steps"]
    ) -> tuple[Float[Tensor, "batch steps dim"], Bool[Tensor, "batch steps"]]:
        """Encode tokenised texts.

        Args:
            ids: Token ids, int64, padded at the end.
            mask: 1 for a token, 0 for padding; at least one token a row.

        Returns:
            Vectors, float32, and the mask.
        """
        return self.model(input_ids=ids, attention_mask=mask).last_hidden_state, mask.bool()


class PooledTokens(nn.Module):
    """One vector a text: the mean or largest of its tokens', or its first token's."""

    def __init__(
        self, tokens: nn.Module, *, pooling: Literal["mean", "cls", "max"], normalize: bool
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.pooling = pooling
        self.normalize = normalize

    def forward(
        self, ids: Int[Tensor, "batch steps"], mask: Int[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch dim"]:
        """Encode tokenised texts; see `Tokens.forward`."""
        tokens, present = self.tokens(ids, mask)
        weight = present[:, :, None]  # (batch, steps, 1)
        if self.pooling == "mean":
            vectors = (tokens * weight).sum(dim=1) / weight.sum(dim=1)
        elif self.pooling == "max":
            vectors = tokens.masked_fill(~weight, -torch.inf).amax(dim=1)
        else:
            vectors = tokens[:, 0]
        return F.normalize(vectors, dim=1) if self.normalize else vectors


def read_config(folder: Path) -> PreTrainedConfig:
    """Read a model's configuration.

    Raises:
        WeightsError: It is none that transformers knows, or not that of an encoder.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, **LOCAL)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"huggingface needs the configuration of a model that transformers itself knows in "
            f"{folder}; a model's own code never runs: {str(error)[:300]}"
        ) from None
    if config.is_encoder_decoder or not hasattr(config, "hidden_size"):
        raise WeightsError(
            f"huggingface needs an encoder such as BERT or RoBERTa, got {config.model_type} in "
            f"{folder}, which is something else; choose another `model` in params.yaml"
        )
    return config


def load_tokens(folder: Path, *, max_tokens: int) -> Tokens:
    """Load a model in evaluation mode, float32.

    Raises:
        WeightsError: The files are damaged, or not those of the configuration's model.
        ConfigError: The model has fewer positions than `max_tokens`.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()  # heads of pre-training that are left out are no news
    logging.disable_progress_bar()
    config = read_config(folder)
    try:
        model, loading = AutoModel.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **LOCAL,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"huggingface could not load {config.model_type} from {folder}: {str(error)[:300]}"
        ) from None
    # A pooler is made anew where there is none, and not used here.
    missing = [key for key in loading["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        raise WeightsError(
            f"huggingface needs weights of {config.model_type} in {folder}, but they lack "
            f"{len(missing)} arrays, such as {sorted(missing)[0]}"
        )
    tokens = Tokens(model).eval().requires_grad_(False)
    # Positions are counted in as many ways as there are models; one text tells.
    filler = 0 if config.pad_token_id else 1
    ids = torch.full((1, max_tokens), filler)
    try:
        with torch.inference_mode():
            tokens(ids, torch.ones_like(ids))
    except (IndexError, RuntimeError) as error:
        raise ConfigError(
            f"params.yaml: encoder huggingface cannot read `max_tokens: {max_tokens}` tokens with "
            f"{folder}: {str(error)[:200]}; its config.json says max_position_embeddings: "
            f"{getattr(config, 'max_position_embeddings', None)}, of which some models keep two back"
        ) from None
    return tokens


def write_tokenizer(folder: Path, path: Path) -> None:
    """Write a model's tokenizer, in whatever form it comes, as one file with its padding.

    Raises:
        WeightsError: It cannot be read, or is none that the library tokenizers can express.
    """
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(folder, use_fast=True, **LOCAL)
        tokenizer = loaded.backend_tokenizer
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        raise WeightsError(
            f"huggingface could not make a {path.name} of the tokenizer in {folder}: "
            f"{str(error)[:300]}; put a {path.name} there that `save_pretrained` of "
            "`PreTrainedTokenizerFast` wrote"
        ) from None
    padding = loaded.pad_token_id
    if padding is None:  # the mask hides it, whatever it is
        padding = 0
    tokenizer.no_truncation()
    tokenizer.enable_padding(pad_id=padding, pad_token=tokenizer.id_to_token(padding) or "[PAD]")
    tokenizer.save(str(path))
