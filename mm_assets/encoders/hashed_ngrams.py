"""Texts of any script by the characters they are made of: hashed n-grams and latent semantics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from mm_assets.encoders import base

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

LongestNgram = Annotated[int, Field(ge=1, le=8)]


class NgramsOptions(base.Options):
    """Which runs of characters or words count, and how much is kept of them."""

    shortest: LongestNgram = 1
    longest: LongestNgram
    bits: Annotated[int, Field(ge=8, le=20)] = 16  # 2^bits buckets
    dim: Annotated[int, Field(ge=2, le=1024)] = 128

    @model_validator(mode="after")
    def _are_in_order(self) -> NgramsOptions:
        if self.shortest > self.longest:
            raise ValueError(f"`shortest` {self.shortest} must not exceed `longest` {self.longest}")
        return self


class HashedNgramsOptions(NgramsOptions):
    """Runs of characters.

    1 to 4 of them: a word of Chinese or Japanese has 1 to 4, and 3 or 4 are what is best known to
    carry a stem or an ending where words are spelt.
    """

    longest: LongestNgram = 4
    max_chars: Annotated[int, Field(ge=1, le=20_000)] = 2000  # of a text that are read


class LatentSemantics(base.Encoder):
    """What encoders of hashed runs share: weights by TF-IDF, and a truncated SVD."""

    kind: ClassVar[str] = "text"
    exportable: ClassVar[bool] = True
    fitted: ClassVar[bool] = True
    input_shape: ClassVar[str] = "int64 and float32 (batch, steps)"
    output_shape: ClassVar[str] = "float32 (batch, dim), dim 128 by default"
    size: ClassVar[str] = "up to 34 MB"
    licence: ClassVar[str] = "Apache-2.0 (no weights)"

    def weights_digest(self) -> str:
        """Give an empty text: there are no weights."""
        return ""

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector: `dim`, or less where training rows have less to tell."""
        return int(self.require_state(state)["table"].shape[1])

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network.

        Args:
            state: ``lookup``, int32 (bucket,), and ``table``, float32 (known, dim), as
                `mm_assets.training.encoder_fitting.fit_encoder` gives them.
        """
        import torch

        from mm_assets.encoders.networks.hashed_ngrams import HashedNgrams as Network

        fitted = self.require_state(state)
        return Network(torch.from_numpy(fitted["lookup"]), torch.from_numpy(fitted["table"])).eval()


class HashedNgrams(LatentSemantics):
    """Character n-grams, hashed, weighted by TF-IDF and projected by a truncated SVD.

    Knows no language and no word list, so it works for any script, at what the training rows
    teach; a pretrained encoder of the right language knows more. Its state holds one row of `dim`
    float32 per bucket that the training rows fill: about 6 MB for a thousand short messages, and
    at most 4 * dim * 2^bits bytes, 34 MB by default.
    """

    name: ClassVar[str] = "hashed_ngrams"
    version: ClassVar[int] = 1
    source: ClassVar[str] = (
        "Weinberger et al. 2009, https://arxiv.org/abs/0902.2206; "
        "Bojanowski et al. 2017, https://arxiv.org/abs/1607.04606; "
        "Deerwester et al. 1990, "
        "https://doi.org/10.1002/(SICI)1097-4571(199009)41:6<391::AID-ASI1>3.0.CO;2-9"
    )
    options_model: ClassVar[type[base.Options]] = HashedNgramsOptions
    options: HashedNgramsOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Text.collate` needs: which n-grams, how many buckets, and the cut."""
        return {
            "ngrams": [self.options.shortest, self.options.longest],
            "bits": self.options.bits,
            "max_chars": self.options.max_chars,
        }


ENCODER = HashedNgrams
