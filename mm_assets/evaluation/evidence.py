"""The files in which `evaluate` leaves what it found, by target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_assets.contracts.config import Config
from mm_assets.contracts.errors import StageError
from mm_assets.data.atomic import write_json

EVIDENCE_VERSION = 2
AGAIN = "run its stage: `dvc repro evaluate`"


def read_evidence(folder: Path, config: Config) -> dict[str, Any]:
    """Read `evidence.json` into the order of `params.yaml`, small subsets of modalities first.

    Args:
        folder: The evaluate stage's out.
        config: Names the targets and modalities.

    Returns:
        Evidence by target, as `mm_assets.stages.evaluate.measure_evidence` made it.

    Raises:
        StageError: The evaluate stage has not run, or ran with other targets or another release.
    """
    path = folder / "evidence.json"
    stored = read_by_target(path)
    order = _Order(list(config.modalities))
    try:
        return {name: order.sort(stored[name]) for name in config.targets}
    except KeyError as error:
        raise StageError(f"{path} lacks {error}, which params.yaml needs; {AGAIN}") from None


class _Order:
    """Brings what is told by modality or by subset into the order of the modalities."""

    def __init__(self, modalities: list[str]) -> None:
        self._places = {name: place for place, name in enumerate(modalities)}

    def sort(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Sort mappings of which a key names a modality, however deep they lie."""
        inner = {
            key: self.sort(one) if isinstance(one, dict) else one for key, one in found.items()
        }
        named = any(key in self._places for key in inner)
        return dict(sorted(inner.items(), key=lambda item: self._rank(item[0]))) if named else inner

    def _rank(self, subset: str) -> tuple[int, list[int]]:
        """Rank small subsets first; what is none, such as all together, comes after the singles."""
        keys = subset.split("+")
        return len(keys), [self._places.get(key, len(self._places)) for key in keys]


def write_by_target(path: Path, found: Mapping[str, Any]) -> None:
    """Write JSON values by target, under the version of their schema."""
    write_json(path, {"schema_version": EVIDENCE_VERSION, "targets": dict(found)})


def read_by_target(path: Path) -> dict[str, Any]:
    """Read what `write_by_target` wrote.

    Raises:
        StageError: The file is absent, or of another schema version.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{path} not found; {AGAIN}") from None
    if stored.get("schema_version") != EVIDENCE_VERSION:
        raise StageError(
            f"{path} has schema version {stored.get('schema_version')}, this release reads "
            f"{EVIDENCE_VERSION}; {AGAIN}"
        )
    return dict(stored["targets"])
