"""Which subsets of modalities are looked at, and how they are called."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

ALL_UP_TO = 5  # modalities; 31 subsets
SPECIALISTS_UP_TO = 3  # modalities; 6 models to train beside the one


def list_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """List the subsets that are reported, small ones first, each in the order of `modalities`.

    Every non-empty one up to five modalities; beyond that each alone, all but one, and all.
    """
    count = len(modalities)
    sizes = range(1, count + 1) if count <= ALL_UP_TO else (1, count - 1, count)
    return [chosen for size in sizes for chosen in itertools.combinations(modalities, size)]


def list_specialists(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """List the subsets for which a model of their own is trained, to compare the one model with.

    Every subset but the whole up to three modalities; beyond that each modality alone. One modality
    has none.
    """
    largest = len(modalities) - 1 if len(modalities) <= SPECIALISTS_UP_TO else 1
    return [subset for subset in list_subsets(modalities) if len(subset) <= largest]


def name_subset(modalities: Sequence[str]) -> str:
    """Call a subset as reports, metrics and the data's card do: ``text+image``."""
    return "+".join(modalities)
