"""Which keys of `params.yaml` are searched, and what a trial's values make of the file."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mm_assets.contracts.config import Config, SearchedConfig, parse_config
from mm_assets.contracts.errors import ConfigError
from mm_assets.fusion.options import OPTIONS

if TYPE_CHECKING:
    from mm_assets.stages.project import Project

Value = bool | int | float | str | None
Params = dict[str, Any]  # what `params.yaml` holds

FUSION, OPTION = "fusion.name", "fusion.options."
SEARCHABLE = re.compile(r"(fusion|train|targets\.[a-z0-9_]+\.loss)\.[a-z0-9_.]+")


@dataclass(frozen=True)
class Searched:
    """A key of the space.

    Attributes:
        key: From the root of `params.yaml`.
        values: What it may be.
        whole: Whether it takes whole numbers alone.
    """

    key: str
    values: SearchedConfig
    whole: bool = False

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Both bounds; none of a list of choices."""
        low, high = self.values.low, self.values.high
        return None if low is None or high is None else (low, high)

    @property
    def extremes(self) -> list[Value]:
        """Every choice, or both bounds."""
        if self.bounds is None:
            return self.values.choices or []
        return [int(bound) if self.whole else bound for bound in self.bounds]


def read_space(project: Project) -> list[Searched]:
    """Read `search.space`, and try each bound and choice on the configuration, before any work.

    Returns:
        The keys that are searched, `fusion.name` first.

    Raises:
        ConfigError: A key cannot be searched or does not exist, or a value is not one that it takes.
    """
    found = []
    for key, values in project.config.search.space.items():
        if not SEARCHABLE.fullmatch(key):
            raise ConfigError(
                f"params.yaml: `search.space` has `{key}`, but only keys of `fusion`, `train` and "
                "`targets.TARGET.loss` can be searched: others change the rows or vectors that "
                "trials are compared on; take it out"
            )
        found.append(Searched(key, values))
    found.sort(key=lambda one: one.key != FUSION)  # its options are drawn after it
    return [_fit(project, found, one) for one in found]


def _fit(project: Project, space: list[Searched], one: Searched) -> Searched:
    """Find out whether a key takes whole numbers alone, and require that it takes what is given.

    Raises:
        ConfigError: It does not.
    """
    if one.bounds is not None and all(bound.is_integer() for bound in one.bounds):
        between = one.bounds[0] + 0.5
        one = replace(one, whole=_explain(project, space, one.key, between) is not None)
    for value in one.extremes:
        if reason := _explain(project, space, one.key, value):
            raise ConfigError(
                f"params.yaml: `search.space.{one.key}` has a value that the key does not take: "
                f"{reason}"
            )
    return one


def _explain(project: Project, space: list[Searched], key: str, value: Value) -> str | None:
    """Say why a key does not take a value by itself; null where it does."""
    values = {key: value}
    if key.startswith(OPTION):
        fusion = next((one.extremes for one in space if one.key == FUSION), None)
        able = [
            name for name in fusion or [project.config.fusion.name] if has_option(str(name), key)
        ]
        if not able:
            return f"no fusion that is tried has an option `{key.removeprefix(OPTION)}`"
        values[FUSION] = able[0]
    try:
        compose(project, values)
    except ConfigError as error:
        return str(error)
    return None


def has_option(fusion: str, key: str) -> bool:
    """Tell whether a fusion has the option that a key of the space names."""
    return key.removeprefix(OPTION).split(".")[0] in OPTIONS[fusion].model_fields


def list_keys(space: list[Searched], fusion: str) -> Iterator[Searched]:
    """Give the keys that mean something to a fusion: all but options of others."""
    for one in space:
        if not one.key.startswith(OPTION) or has_option(fusion, one.key):
            yield one


def compose(project: Project, values: Mapping[str, Value]) -> Config:
    """Give the configuration with some values in the place of its own, checked as a stage checks it.

    Options of the fusion go with it: another fusion starts with its own defaults.

    Args:
        project: Whose configuration.
        values: By key.

    Raises:
        ConfigError: It is not a configuration that can be trained on the same rows.
    """
    from mm_assets.stages.project import build_project  # brings pandas, which proposals do not need

    config = parse_config(compose_params(project.config.model_dump(), values))
    if missing := config.train.finetune.keys() - project.config.train.finetune.keys():
        raise ConfigError(
            f"`train.finetune.{min(missing)}` can be searched only where params.yaml itself has "
            f"`train.finetune.{min(missing)}`"
        )
    build_project(config, project.workspace)
    return config


def compose_params(params: Mapping[str, Any], values: Mapping[str, Value]) -> Params:
    """Put values into a mapping as `params.yaml` holds it; the given one stays as it is."""
    changed: Params = copy.deepcopy(dict(params))
    if values.get(FUSION, look_up(params, FUSION)) != look_up(params, FUSION):
        changed["fusion"]["options"] = {}
    for key, value in values.items():
        *parents, last = key.split(".")
        section = changed
        for parent in parents:
            if section.get(parent) is None:
                section[parent] = {}
            section = section[parent]
        section[last] = value
    return changed


def look_up(params: Mapping[str, Any], key: str) -> object:
    """Give the value of a key; null where a section above it is absent."""
    found: object = params
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
