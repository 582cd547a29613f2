"""The models that the one model is compared with, as the baselines stage leaves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mm_assets.contracts.subsets import list_specialists, name_subset
from mm_assets.training.linear import LinearModel, load_linear
from mm_assets.training.model import FusionModel, load_model

SPECIALISTS_FOLDER, LINEAR_FOLDER = "specialists", "linear"


@dataclass(frozen=True)
class Baselines:
    """Trained on the same rows as the one model.

    Attributes:
        specialists: By subset, as `name_subset` calls it, small ones first: a model of these
            modalities alone. Empty for a single modality.
        linear: On all modalities.
    """

    specialists: Mapping[str, FusionModel]
    linear: LinearModel


def read_baselines(
    folder: Path,
    modalities: Sequence[str],
    build_network: Callable[[str], nn.Module] | None = None,
) -> Baselines:
    """Read the baselines stage's out.

    Args:
        folder: The out.
        modalities: Of the one model, in their order.
        build_network: As `load_model`.

    Raises:
        StageError: It is absent, damaged or of another release.
    """
    places = {
        name_subset(subset): folder / SPECIALISTS_FOLDER / name_subset(subset)
        for subset in list_specialists(modalities)
    }
    # One that no validation row could stop was not trained.
    specialists = {
        name: load_model(place, build_network) for name, place in places.items() if place.exists()
    }
    return Baselines(specialists, load_linear(folder / LINEAR_FOLDER))
