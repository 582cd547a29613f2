"""`data/card.json`: what the data says about itself. Optional; a source writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mm_assets.contracts.errors import SourceError

CARD_VERSION = 1


def read_card(path: Path) -> dict[str, Any]:
    """Read the data's card.

    Args:
        path: Of the file.

    Returns:
        Its keys, all of them optional: `title`, `description`, `source` and `licence` in words,
        `upper_bounds` (best accuracy by target and subset), `broken` (reason by id). Empty where
        there is no card.

    Raises:
        SourceError: It is no JSON object, or of a schema version that this release does not read;
            a card written by hand needs no version.
    """
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SourceError(f"{path} must hold a JSON object ({error}); mend or delete it") from None
    if not isinstance(card, dict):
        raise SourceError(
            f"{path} must hold a JSON object (it holds a {type(card).__name__}); mend or delete it"
        )
    version = card.get("schema_version", CARD_VERSION)
    if version != CARD_VERSION:
        raise SourceError(
            f"{path} has schema version {version}, this release reads {CARD_VERSION}; make the "
            "data anew (`mm use NAME`), or mend or delete the card"
        )
    return card
