"""What the sample knows about itself: true classes, noisy channels, the best reachable accuracy.

Each modality *shows* a class that was drawn through a symmetric noisy channel: the true one with
the stated reliability, otherwise any of the others alike. What is shown is plain to see, so the
best that any model can do is Bayes' rule on the shown classes, and its accuracy is a finite sum.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

MODALITIES = ("text", "image", "audio")  # in the order of params.yaml


@dataclass(frozen=True)
class KnownTarget:
    """A target whose classes are drawn by us.

    Attributes:
        classes: Names, in the order of params.yaml.
        prior: Probability of each class, summing to 1.
        reliability: Per modality the probability that it shows the true class; a modality that
            is left out says nothing about this target.
    """

    classes: tuple[str, ...]
    prior: tuple[float, ...]
    reliability: Mapping[str, float]

    def draw(self, rng: np.random.Generator) -> tuple[str, dict[str, str]]:
        """Draw a sample's true class, and the class that each modality shows."""
        count = len(self.classes)
        true = int(rng.choice(count, p=self.prior))
        shown = {
            modality: self.classes[rng.choice(count, p=self.channel(modality)[true])]
            for modality in self.reliability
        }
        return self.classes[true], shown

    def channel(self, modality: str) -> Float[np.ndarray, "true shown"]:
        """Tabulate the probability of each shown class given the true one; rows sum to 1."""
        count = len(self.classes)
        keep = self.reliability.get(modality, 1 / count)
        table = np.full((count, count), (1 - keep) / (count - 1))
        np.fill_diagonal(table, keep)
        return table

    def bound(self, modalities: Collection[str]) -> float:
        """Sum over everything that could be shown the weight of the likeliest true class.

        Args:
            modalities: Those that are seen; with none it is the majority class's share.

        Returns:
            The accuracy of Bayes' rule, which no model can exceed but by luck.
        """
        joint = np.array(self.prior)[:, None]  # (true, shown so far)
        for modality in modalities:
            joint = (joint[:, :, None] * self.channel(modality)[:, None, :]).reshape(
                len(self.classes), -1
            )
        return float(joint.max(axis=0).sum())


TARGETS = {
    "sentiment": KnownTarget(
        classes=("negative", "neutral", "positive"),
        prior=(0.4, 0.3, 0.3),
        reliability={"text": 0.82, "image": 0.7, "audio": 0.8},
    ),
    # The voice says nothing of the intent.
    "intent": KnownTarget(
        classes=("delivery", "billing", "defect", "account", "praise"),
        prior=(0.48, 0.14, 0.14, 0.13, 0.11),
        reliability={"text": 0.85, "image": 0.85},
    ),
}


def tabulate_bounds() -> dict[str, dict[str, float]]:
    """Compute the best reachable accuracy per target and non-empty subset of the modalities.

    Returns:
        Such as ``{"sentiment": {"text": 0.8, "text+image": 0.81, ...}, ...}``; 12 digits hold them exactly.
    """
    subsets = [s for size in (1, 2, 3) for s in combinations(MODALITIES, size)]
    return {
        name: {"+".join(subset): round(target.bound(subset), 12) for subset in subsets}
        for name, target in TARGETS.items()
    }
