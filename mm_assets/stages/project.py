"""A project ready to run: its configuration with every owner's options validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_assets.contracts.config import Config, read_config
from mm_assets.contracts.errors import ConfigError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.table import read_table
from mm_assets.encoders.base import Encoder, load_encoder
from mm_assets.fusion.options import read_fusion_options
from mm_assets.modalities.base import Modality, load_modality
from mm_assets.targets.base import Target, load_target

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Project:
    """What every stage is given."""

    config: Config
    workspace: Workspace
    modalities: dict[str, Modality[Any]]
    encoders: dict[str, Encoder]
    targets: dict[str, type[Target]]

    @property
    def identifying(self) -> list[str]:
        """Modalities whose equal cells mean that it is the same sample."""
        return [key for key, modality in self.modalities.items() if modality.identifies]

    def with_threads(self, count: int) -> Project:
        """Give the same project, working with so many threads, or processes that decode."""
        compute = self.config.compute.model_copy(update={"threads": count})
        return replace(self, config=self.config.model_copy(update={"compute": compute}))

    def read_raw(self) -> pd.DataFrame:
        """Read the raw table that section `data` names; see `read_table`."""
        data = self.config.data
        return read_table(
            self.workspace.data / data.table,
            encoding=data.encoding,
            delimiter=data.delimiter,
            sheet=data.sheet,
        )


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
        key: load_modality(
            m.kind,
            # Told as an option, a kind's columns travel with the exported model.
            m.options if m.columns is None else {**m.options, "columns": m.columns},
            m.augment,
            where=f"modalities.{key}",
        )
        for key, m in config.modalities.items()
    }
    encoders = {
        key: load_encoder(
            m.encoder.name,
            m.encoder.options,
            kind=m.kind,
            weights=workspace.weights,
            where=f"modalities.{key}.encoder",
            precision=m.encoder.precision,
            sequence=m.encoder.sequence,
        )
        for key, m in config.modalities.items()
    }
    read_fusion_options(config.fusion, modalities=len(modalities))
    targets = {
        key: load_target(target, where=f"targets.{key}") for key, target in config.targets.items()
    }
    _check_context(config)
    _check_finetuning(config, encoders)
    if config.train.pseudo_labels and not any(one.pseudo_labelled for one in targets.values()):
        raise ConfigError(
            "params.yaml: `train.pseudo_labels` needs a target whose answers have a confidence, and "
            f"{', '.join(targets)} has none; take it out"
        )
    if config.export.enabled:
        for key, encoder in encoders.items():
            if not encoder.exportable:
                raise ConfigError(
                    f"params.yaml: `modalities.{key}.encoder.name` {encoder.name!r} cannot be "
                    "exported to ONNX; choose another or set `export.enabled: false`"
                )
            if encoder.precision != "float32":
                raise ConfigError(
                    f"params.yaml: `modalities.{key}.encoder.precision` must be float32 while "
                    f"`export.enabled` is true, got {encoder.precision}: the exported graph computes "
                    "in float32, and would answer otherwise than the trained model; set one of them"
                )
    return Project(config, workspace, modalities, encoders, targets)


def _check_context(config: Config) -> None:
    """Require groups, where rows are to be read in the light of their group.

    Raises:
        ConfigError: There are none.
    """
    if config.fusion.context is not None and config.data.group is None:
        raise ConfigError(
            "params.yaml: `fusion.context` reads each row in the light of the other rows of its "
            "group, but `data.group` names no column; name the video, dialogue or patient that rows "
            "belong to, or take `fusion.context` out"
        )


def _check_finetuning(config: Config, encoders: Mapping[str, Encoder]) -> None:
    """Require encoders that can be trained along with the fusion.

    Raises:
        ConfigError: There is no such modality, or its encoder is not of that kind.
    """
    for key in config.train.finetune:
        where = f"params.yaml: `train.finetune.{key}`"
        if key not in encoders:
            raise ConfigError(f"{where} must name a modality ({', '.join(encoders)})")
        encoder = encoders[key]
        if encoder.fitted or encoder.supervised:
            raise ConfigError(
                f"{where} trains published weights on, but encoder {encoder.name!r} is fitted on the "
                "training rows anyway; take it out"
            )
        if encoder.precision != "float32":
            raise ConfigError(
                f"{where} needs `modalities.{key}.encoder.precision` float32, got "
                f"{encoder.precision}; `train.precision: bf16` is what speeds training up"
            )
