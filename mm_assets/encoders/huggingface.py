"""Any text encoder of the Hugging Face hub, by name or folder: BERT, RoBERTa, XLM-R, ..."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from mm_assets.contracts.errors import WeightsError
from mm_assets.data.atomic import atomic_folder
from mm_assets.data.progress import announce
from mm_assets.encoders import base
from mm_assets.encoders.weights import digest_file

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (  # what tokenizers are written in, newest form first
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)
# Whole names from the repository's top: weights of other frameworks and pickles stay there.
FETCHED = (CONFIG, WEIGHTS, INDEX, "model-*.safetensors", "README.md", *TOKENIZER_FILES)


class HuggingFaceOptions(base.Options):
    """Which model, how tokens become one vector, and how much of a text is read."""

    model: str  # a name on the hub, or a folder with its files
    revision: str = "main"  # of a name; a commit's hash makes sure that it is the same anywhere
    pooling: Literal["mean", "cls", "max"] = "mean"  # over all tokens, special ones too
    max_tokens: Annotated[int, Field(ge=3, le=8192)] = 128  # two of them are mostly special
    normalize: bool = False  # to length 1, as models for sentence similarity want it


class HuggingFace(base.Encoder):
    """A pre-trained transformer over tokens, from safetensors alone: no file's code ever runs.

    A name is fetched once into the folder of weights. As a sequence, every token is a step,
    special ones too.
    """

    name: ClassVar[str] = "huggingface"
    kind: ClassVar[str] = "text"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = True
    sequential: ClassVar[bool] = True
    input_shape: ClassVar[str] = "int64 ids and mask (batch, steps)"
    output_shape: ClassVar[str] = "float32 (batch, dim), or (batch, steps, dim); dim of the model"
    size: ClassVar[str] = "of the model: 110 M parameters, 440 MB (BERT base)"
    licence: ClassVar[str] = "of the model; see its page"
    source: ClassVar[str] = (
        "https://huggingface.co/models; Devlin et al. 2019, https://arxiv.org/abs/1810.04805"
    )
    options_model: ClassVar[type[base.Options]] = HuggingFaceOptions
    options: HuggingFaceOptions

    @property
    def stated_licence(self) -> str:
        """The licence that the model's own page names, if it does."""
        found = _read_licence(self.folder / "README.md")
        return f"{found} ({self.options.model})" if found else self.licence

    @property
    def folder(self) -> Path:
        """Where the model's files are, or will be."""
        given: HuggingFaceOptions = self.options
        if Path(given.model).is_dir():
            return Path(given.model)
        return self._cache / f"{given.model}@{given.revision}".replace("/", "--")

    @property
    def _cache(self) -> Path:
        return self.weights / self.name

    def inputs(self) -> dict[str, Any]:
        """Say what `Text.collate` needs: the tokenizer's file and the cut."""
        return {"tokenizer": str(self._find_tokenizer()), "max_tokens": self.options.max_tokens}

    def weights_digest(self) -> str:
        """Give the SHA-256 of weights, configuration and tokenizer; see `Encoder.weights_digest`."""
        folder = self.find_files()
        paths = [folder / CONFIG, *_list_weights(folder), self._find_tokenizer()]
        return hashlib.sha256("\n".join(map(digest_file, paths)).encode()).hexdigest()

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector."""
        from mm_assets.encoders.networks.huggingface import read_config

        return int(read_config(self.find_files()).hidden_size)

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.network`."""
        from mm_assets.encoders.networks.huggingface import PooledTokens

        return PooledTokens(
            self.sequence_network(), pooling=self.options.pooling, normalize=self.options.normalize
        ).eval()

    def sequence_network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.sequence_network`.

        Raises:
            WeightsError: The files are not those of an encoder.
            ConfigError: `max_tokens` is more than the model can read.
        """
        from mm_assets.encoders.networks.huggingface import load_tokens

        return load_tokens(self.find_files(), max_tokens=self.options.max_tokens)

    def find_files(self) -> Path:
        """Give the folder with the model's files; a name is fetched once.

        Raises:
            WeightsError: There is no such folder, it cannot be fetched, or a file is lacking.
        """
        folder = self.folder
        if not folder.is_dir():
            self._fetch(folder)
        if not (folder / CONFIG).is_file():
            raise WeightsError(f"huggingface needs {folder / CONFIG}, which is absent")
        if not _list_weights(folder):
            raise WeightsError(
                f"huggingface needs {folder / WEIGHTS}, which is absent; weights that were pickled "
                f"({', '.join(sorted(p.name for p in folder.glob('*.bin'))) or 'pytorch_model.bin'}"
                ") can run code and are never loaded: where you trust them, convert them with "
                "`AutoModel.from_pretrained(FOLDER).save_pretrained(OTHER)` of transformers, or "
                "name a `revision` that has safetensors"
            )
        return folder

    def _fetch(self, folder: Path) -> None:
        """Let the hub's own client fetch a model; its settings (HF_HUB_OFFLINE, ...) apply.

        Raises:
            WeightsError: It could not.
        """
        import httpx
        from huggingface_hub import snapshot_download

        model, revision = self.options.model, self.options.revision
        if not HUB_NAME.fullmatch(model):
            raise WeightsError(
                f"huggingface needs the folder {model}, which is absent; correct `model` in "
                "params.yaml, or give a name on the hub such as `bert-base-chinese`"
            )
        announce(f"fetching {model} ({revision}) from the Hugging Face hub")
        try:
            with atomic_folder(folder) as inside:
                snapshot_download(
                    model, revision=revision, local_dir=inside, allow_patterns=list(FETCHED)
                )
        except (OSError, ValueError, httpx.HTTPError) as error:
            raise WeightsError(
                f"huggingface could not fetch {model} ({revision}): {str(error)[:300]}; run once "
                "where there is a network, without HF_HUB_OFFLINE, or give a folder with its files "
                "as `model` in params.yaml"
            ) from None

    def _find_tokenizer(self) -> Path:
        """Give the tokenizer as one file that says all, with its padding; made once.

        Raises:
            WeightsError: There is no tokenizer, or none that can be written so.
        """
        folder = self.find_files()
        sources = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
        if not sources:
            raise WeightsError(
                f"huggingface needs a tokenizer in {folder}: one of {', '.join(TOKENIZER_FILES)}"
            )
        named = "\n".join(
            f"{path.name} {digest_file(path)}" for path in [folder / CONFIG, *sources]
        )
        made = self._cache / "tokenizers" / hashlib.sha256(named.encode()).hexdigest()
        if not (made / TOKENIZER).is_file():
            from mm_assets.encoders.networks.huggingface import write_tokenizer

            with atomic_folder(made) as inside:
                write_tokenizer(folder, inside / TOKENIZER)
        return made / TOKENIZER


def _list_weights(folder: Path) -> list[Path]:
    """List the files of weights, one or the parts that an index names; none where one lacks."""
    if (folder / INDEX).is_file():
        names = set(json.loads((folder / INDEX).read_text())["weight_map"].values())
    else:
        names = {WEIGHTS}
    paths = [folder / name for name in sorted(names)]
    return paths if all(path.is_file() for path in paths) else []


def _read_licence(card: Path) -> str:
    """Read the licence that a model card's head names, if it does."""
    if not card.is_file():
        return ""
    found = re.match(r"---\s*\n(?:.*\n)*?licen[sc]e:\s*(\S+)", card.read_text(errors="replace"))
    return found[1] if found else ""


ENCODER = HuggingFace
