"""The answers that are wrong and most sure of it: mislabelled rows and blind spots show here."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

MOST_ERRORS = 8  # of each target that are shown


def find_confident_errors(surprise: Float[np.ndarray, " row"]) -> Int[np.ndarray, " error"]:
    """Number the wrongly answered rows, the most surprising first and no more than are shown.

    Args:
        surprise: Of `Target.surprise`, 0 where the answer is right.
    """
    worst = np.argsort(-surprise, kind="stable")[:MOST_ERRORS]
    return worst[surprise[worst] > 0]
