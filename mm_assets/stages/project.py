"""A project ready to run: its configuration with every owner's options validated."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_assets.contracts.config import Config, read_config
from mm_assets.contracts.errors import ConfigError
from mm_assets.contracts.workspace import Workspace
from mm_assets.encoders.base import Encoder, load_encoder
from mm_assets.modalities.base import Modality, load_modality


@dataclass(frozen=True)
class Project:
    """What every stage is given."""

    config: Config
    workspace: Workspace
    modalities: dict[str, Modality[Any]]
    encoders: dict[str, Encoder]


def load_project(root: Path) -> Project:
    """Read `params.yaml` and look up all it names, before any work.

    Args:
        root: The project's root.

    Raises:
        ConfigError: A key is wrong, or a kind, encoder, fusion or target does not exist or fit.
    """
    workspace = Workspace(root)
    return build_project(read_config(workspace.params), workspace)


def build_project(config: Config, workspace: Workspace) -> Project:
    """Look up all that a configuration names; see `load_project`.

    Raises:
        ConfigError: A kind, encoder, fusion or target does not exist or fit.
    """
    modalities = {
        key: load_modality(m.kind, m.options, m.augment, where=f"modalities.{key}")
        for key, m in config.modalities.items()
    }
    encoders = {
        key: load_encoder(
            m.encoder.name,
            m.encoder.options,
            kind=m.kind,
            weights=workspace.weights,
            where=f"modalities.{key}.encoder",
        )
        for key, m in config.modalities.items()
    }
    _require_module("fusion", config.fusion.name, where="fusion.name")
    for key, target in config.targets.items():
        _require_module("targets", target.kind, where=f"targets.{key}.kind")
    if config.export.enabled:
        for key, encoder in encoders.items():
            if not encoder.exportable:
                raise ConfigError(
                    f"params.yaml: `modalities.{key}.encoder.name` {encoder.name!r} cannot be "
                    "exported to ONNX; choose another or set `export.enabled: false`"
                )
    return Project(config, workspace, modalities, encoders)


def _require_module(layer: str, name: str, *, where: str) -> None:
    """Find a file of a layer without importing it, since fusion and targets need torch.

    Raises:
        ConfigError: There is no such file.
    """
    package = importlib.util.find_spec(f"mm_assets.{layer}")
    if package is None or not package.submodule_search_locations:
        raise ConfigError(f"mm_assets.{layer} is not installed")
    folder = Path(next(iter(package.submodule_search_locations)))
    known = sorted(p.stem for p in folder.glob("*.py") if p.stem not in {"__init__", "base"})
    if name not in known:
        raise ConfigError(f"params.yaml: `{where}` must be one of {', '.join(known)}, got {name!r}")
