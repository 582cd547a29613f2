"""A trained model as two files: `config.json` says how it is built, `model.safetensors` its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mm_assets.contracts.errors import StageError
from mm_assets.data.atomic import write_json

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"


@dataclass(frozen=True)
class SavedModel:
    """What was read of a model.

    Attributes:
        folder: Where it lies.
        again: Tells the reader how to make it anew.
        config: Of `config.json`.
        weights: By name.
    """

    folder: Path
    again: str
    config: dict[str, Any]
    weights: dict[str, Tensor]

    def fill(self, model: nn.Module) -> None:
        """Give the weights to a model built as `config` says.

        Raises:
            StageError: They do not fit.
        """
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            raise StageError(
                f"{self.folder / WEIGHTS_FILE} does not fit {CONFIG_FILE} beside it ({error}); "
                f"{self.again}"
            ) from None


def write_saved(model: nn.Module, config: dict[str, Any], folder: Path, *, version: int) -> None:
    """Write both files.

    Args:
        model: On any device.
        config: As JSON values.
        folder: An existing folder.
        version: Of the schema of `config`.
    """
    from safetensors.torch import save_file

    weights = {name: one.detach().cpu().contiguous() for name, one in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS_FILE)
    write_json(folder / CONFIG_FILE, {"schema_version": version, **config})


def read_saved(folder: Path, *, what: str, version: int, again: str) -> SavedModel:
    """Read both files.

    Args:
        folder: Where they lie.
        what: Names the model in errors.
        version: The one that can be read.
        again: Tells the reader how to make the model anew.

    Raises:
        StageError: One of them is absent, damaged or of another schema version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS_FILE)
    except FileNotFoundError as error:
        raise StageError(f"no {what} in {folder} ({error}); {again}") from None
    except (json.JSONDecodeError, SafetensorError) as error:
        raise StageError(f"the {what} in {folder} is damaged ({error}); {again}") from None
    if config.get("schema_version") != version:
        raise StageError(
            f"the {what} in {folder} has schema version {config.get('schema_version')}, this "
            f"release reads {version}; {again}"
        )
    return SavedModel(folder, again, config, weights)
