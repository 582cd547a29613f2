"""Texts by the words they are made of: TF-IDF of words and word pairs, and latent semantics."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.encoders import base
from mm_assets.encoders.hashed_ngrams import LatentSemantics, LongestNgram, NgramsOptions


class TfidfSvdOptions(NgramsOptions):
    """Runs of words: single ones and pairs, such as ``not good``."""

    longest: LongestNgram = 2
    max_words: Annotated[int, Field(ge=1, le=10_000)] = 500  # of a text that are read


class TfidfSvd(LatentSemantics):
    """Words and their pairs, weighted by TF-IDF and projected by a truncated SVD.

    What is a word, `mm_assets.modalities.text.split_words` tells, for any script. Words are
    hashed, so that there is no list of them; its state is as large as that of `hashed_ngrams`,
    whose network it shares.
    """

    name: ClassVar[str] = "tfidf_svd"
    version: ClassVar[int] = 1
    source: ClassVar[str] = (
        "Spärck Jones 1972, https://doi.org/10.1108/eb026526; "
        "Weinberger et al. 2009, https://arxiv.org/abs/0902.2206; "
        "Deerwester et al. 1990, "
        "https://doi.org/10.1002/(SICI)1097-4571(199009)41:6<391::AID-ASI1>3.0.CO;2-9"
    )
    options_model: ClassVar[type[base.Options]] = TfidfSvdOptions
    options: TfidfSvdOptions

    def inputs(self) -> dict[str, Any]:
        """Say what `Text.collate` needs: which runs, how many buckets, and the cut."""
        return {
            "word_ngrams": [self.options.shortest, self.options.longest],
            "bits": self.options.bits,
            "max_words": self.options.max_words,
        }


ENCODER = TfidfSvd
