"""Each fusion's options, from `fusion.options`; read before any work, so without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mm_assets.contracts.config import FusionConfig, validate_options
from mm_assets.contracts.errors import ConfigError

TENSOR_CELLS = 300_000  # of a full tensor; each has `dim` weights


class Options(BaseModel):
    """Options of a fusion that has none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def check(self, config: FusionConfig, *, modalities: int) -> None:
        """Refuse what does not fit the other keys.

        Raises:
            ConfigError: Names the key.
        """


class LowRankOptions(Options):
    """How many products are added up.

    With null it is the whole tensor of products, of ``(dim + 1) ^ modalities`` cells.
    """

    rank: Annotated[int, Field(ge=1, le=64)] | None = 4

    def check(self, config: FusionConfig, *, modalities: int) -> None:
        """Refuse a tensor that is too large.

        Raises:
            ConfigError: So it is.
        """
        cells = (config.dim + 1) ** modalities
        if self.rank is None and cells > TENSOR_CELLS:
            raise ConfigError(
                f"params.yaml: `fusion.options.rank: null` makes a tensor of {cells} cells from "
                f"{modalities} modalities of `fusion.dim: {config.dim}`, the limit is "
                f"{TENSOR_CELLS}; give a rank such as 4, or lower `fusion.dim`"
            )


class AttentionOptions(Options):
    """Size of a stack of attention layers."""

    layers: Annotated[int, Field(ge=1, le=12)] = 1
    heads: Annotated[int, Field(ge=1, le=64)] = 4

    def check(self, config: FusionConfig, *, modalities: int) -> None:
        """Refuse heads of unequal width.

        Raises:
            ConfigError: So they would be.
        """
        if config.dim % self.heads:
            raise ConfigError(
                f"params.yaml: `fusion.dim` must be a multiple of `fusion.options.heads`, got "
                f"{config.dim} and {self.heads}"
            )


class LateOptions(Options):
    """How the modalities' answers become one: with equal weights, or with each target's own."""

    weights: Literal["equal", "learned"] = "equal"


OPTIONS: dict[str, type[Options]] = {
    "concat": Options,
    "weighted": Options,
    "gated": Options,
    "low_rank": LowRankOptions,
    "cross_attention": AttentionOptions,
    "transformer": AttentionOptions,
    "late": LateOptions,
    "hybrid": Options,
}


def read_fusion_options(config: FusionConfig, *, modalities: int) -> Options:
    """Validate `fusion.name` and `fusion.options`.

    Args:
        config: The `fusion` section of `params.yaml`.
        modalities: How many there are.

    Raises:
        ConfigError: There is no such fusion, or an option is unknown or does not fit.
    """
    if config.name not in OPTIONS:
        raise ConfigError(
            f"params.yaml: `fusion.name` must be one of {', '.join(OPTIONS)}, got {config.name!r}"
        )
    options = validate_options(OPTIONS[config.name], config.options, where="fusion.options")
    options.check(config, modalities=modalities)
    return options
