"""Older `params.yaml` files, rewritten to the schema that this release reads.

One function per step of the version; a file of version 1 goes through all of them in turn. Other
files that outlive a run (reports, models, stores) are made again by their stage instead.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from mm_assets.contracts.config import SCHEMA_VERSION, parse_config
from mm_assets.contracts.errors import ConfigError


def upgrade_params(text: str, *, name: str = "params.yaml") -> tuple[str, list[str]]:
    """Rewrite a `params.yaml` to the current version; comments, order and values stay.

    Args:
        text: The file, as it was written for an older release.
        name: How messages call it.

    Returns:
        The new text and what changed, one line each; the same text and nothing where the file is
        of the current version already.

    Raises:
        ConfigError: It is no YAML mapping, its version is absent, unknown or newer than this
            release, or it was not valid in its own version either.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # no line is folded anew
    try:
        params = yaml.load(text)
    except YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {error}") from None
    if not isinstance(params, CommentedMap):
        raise ConfigError(f"{name} must hold a mapping of sections, got {type(params).__name__}")
    version = _read_version(params, name)
    if version == SCHEMA_VERSION:
        return text, []
    changes: list[str] = []
    for step in range(version, SCHEMA_VERSION):
        changes += STEPS[step](params)
        params["version"] = step + 1
    changes.append(f"`version` is now {SCHEMA_VERSION}")
    written = io.StringIO()
    yaml.dump(params, written)
    parse_config(YAML(typ="safe").load(written.getvalue()), name=name)
    return written.getvalue(), changes


def _read_version(params: CommentedMap, name: str) -> int:
    """Give the file's version.

    Raises:
        ConfigError: It cannot be upgraded.
    """
    version = params.get("version")
    if type(version) is not int or not (version == SCHEMA_VERSION or version in STEPS):
        newer = type(version) is int and version > SCHEMA_VERSION
        advice = (
            "a newer release wrote it, so install that one or a later one"
            if newer
            else f"start from a recipe (`mm use NAME`) or write `version: {min(STEPS)}` if it is "
            "of the first release"
        )
        raise ConfigError(
            f"{name}: `version` must be one of {', '.join(map(str, [*STEPS, SCHEMA_VERSION]))} to "
            f"be upgraded, got {version!r}; {advice}"
        )
    return version


def _from_1_to_2(params: CommentedMap) -> list[str]:
    """Write down each target's kind, which was multiclass by default; add what dvc.yaml now names."""
    changes = []
    targets = params.get("targets")
    for key, target in targets.items() if isinstance(targets, CommentedMap) else ():
        if isinstance(target, CommentedMap) and "kind" not in target:
            target.insert(0, "kind", "multiclass")
            changes.append(f"`targets.{key}.kind` is multiclass, as it was by default")
    if "expectations" not in params:
        place = [*params, "targets"].index("targets") + 1
        params.insert(place, "expectations", CommentedMap())
        params["expectations"].fa.set_flow_style()
        changes.append("`expectations` is new: further expectations of a column, none for now")
    evaluation = params.setdefault("evaluation", CommentedMap())
    if isinstance(evaluation, CommentedMap) and "slices" not in evaluation:
        evaluation["slices"] = CommentedSeq()
        evaluation["slices"].fa.set_flow_style()
        changes.append("`evaluation.slices` is new: columns to look at test rows by, none for now")
    return changes


STEPS: dict[int, Callable[[CommentedMap], list[str]]] = {1: _from_1_to_2}
