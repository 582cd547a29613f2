"""What every encoder states and can do."""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from mm_assets.contracts.config import Precision, validate_options
from mm_assets.contracts.errors import ConfigError, DataContractError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class Options(BaseModel):
    """An encoder's options: the keys beside `name` in `modalities.KEY.encoder`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Encoder(ABC):
    """Turns collated batches of one kind of input into vectors (batch, dim), float32.

    Class attributes:
        name: The file's name.
        kind: The kind of modality it reads.
        version: Raised whenever what it computes changes; a golden vector in the tests sees to it.
        exportable: Whether its network becomes part of the ONNX file.
        fitted: Whether it has a state that is fitted on training rows.
        sequential: Whether it can also give a sequence of vectors, by `sequence_network`.
        input_shape: What its network takes, such as ``uint8 (batch, size_px, size_px, 3)``.
        output_shape: What it gives, such as ``float32 (batch, 1280)``.
        size: Parameters, and megabytes of weights where there are some.
        licence: Of the weights, or of this code where there are none.
        source: Paper or specification.

    Attributes:
        options: An instance of `options_model`.
        weights: The folder of published weights.
        precision: In which numbers the network computes; its vectors are float32 all the same.
        sequence: Whether it is to give a sequence of vectors; only where it is `sequential`.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    version: ClassVar[int]
    exportable: ClassVar[bool]
    fitted: ClassVar[bool] = False
    sequential: ClassVar[bool] = False
    input_shape: ClassVar[str]
    output_shape: ClassVar[str]
    size: ClassVar[str]
    licence: ClassVar[str]
    source: ClassVar[str]
    options_model: ClassVar[type[Options]]

    def __init__(
        self,
        options: Options,
        weights: Path,
        precision: Precision = "float32",
        sequence: bool = False,
    ) -> None:
        self.options = options
        self.weights = weights
        self.precision = precision
        self.sequence = sequence

    @property
    def stated_licence(self) -> str:
        """The licence of what is loaded, where that says more than the class can."""
        return self.licence

    @property
    def supervised(self) -> bool:
        """Whether fitting looks at labels, so that training rows' vectors are made out of fold."""
        return False

    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """Say what `Modality.collate` needs: JSON values; files by their path."""

    @abstractmethod
    def weights_digest(self) -> str:
        """Give the SHA-256 of the weights, or an empty text where there are none.

        Raises:
            WeightsError: They are absent or not the pinned ones; says which command fetches them.
        """

    @abstractmethod
    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector.

        Args:
            state: The fitted state, for an encoder that has one.
        """

    @abstractmethod
    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network in evaluation mode on the CPU.

        Its `forward` takes the arrays of `Modality.collate` as tensors, in their order, and
        returns (batch, dim) float32. A row's vector does not depend on the rows beside it.

        Args:
            state: The fitted state (as `fit_*` of `mm_assets.training` returned it), for an
                encoder that has one.
        """

    def sequence_network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network that gives a sequence, of an encoder that is `sequential`.

        Its `forward` takes what that of `network` takes and returns (batch, steps, dim) float32 and
        a mask, bool (batch, steps), false where a step is padding.

        Raises:
            DataContractError: The encoder is not `sequential`.
        """
        raise DataContractError(
            f"encoder {self.name} gives one vector a row, and was asked for a sequence; take "
            "`sequence: true` out of its entry in params.yaml"
        )

    def require_state(self, state: dict[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """Give the state of an encoder that has one.

        Raises:
            DataContractError: There is none.
        """
        if not state:
            raise DataContractError(
                f"encoder {self.name} needs its fitted state, got none; take it from read_embeddings(...).state or fit it with fit_encoder"
            )
        return state

    def fingerprint(
        self,
        state: dict[str, np.ndarray] | None = None,
        *,
        preprocessing: dict[str, Any],
    ) -> str:
        """Digest everything but the sample that decides a vector: part of the store's key.

        Args:
            state: The fitted state, for an encoder that has one.
            preprocessing: Of `Modality.preprocessing`.
        """
        state_digest = hashlib.sha256()
        for key in sorted(state or {}):
            state_digest.update(key.encode() + (state or {})[key].tobytes())
        parts = {
            "encoder": self.name,
            "version": self.version,
            "options": self.options.model_dump(mode="json"),
            "weights": self.weights_digest(),
            "state": state_digest.hexdigest(),
            "preprocessing": preprocessing,
            "precision": self.precision,
            "sequence": self.sequence,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def list_encoders(kind: str | None = None) -> list[str]:
    """List encoders by name, all of them or those that read one kind."""
    package = importlib.import_module("mm_assets.encoders")
    names = sorted(
        m.name
        for m in pkgutil.iter_modules(package.__path__)
        if m.name not in {"base", "learned", "weights"} and not m.ispkg
    )
    return [name for name in names if kind is None or find_encoder(name).kind == kind]


def find_encoder(name: str) -> type[Encoder]:
    """Import an encoder's file and return its class."""
    found: type[Encoder] = importlib.import_module(f"mm_assets.encoders.{name}").ENCODER
    return found


def load_encoder(
    name: str,
    options: dict[str, Any],
    *,
    kind: str,
    weights: Path,
    where: str,
    precision: Precision = "float32",
    sequence: bool = False,
) -> Encoder:
    """Build an encoder with validated options; neither torch nor weights are loaded yet.

    Args:
        name: The encoder's name.
        options: The keys beside `name`.
        kind: The modality's kind.
        weights: The folder of published weights.
        where: The place in `params.yaml`, such as ``modalities.text.encoder``.
        precision: In which numbers its network computes.
        sequence: Whether it is to give a sequence of vectors.

    Raises:
        ConfigError: No such encoder, it reads another kind, it gives no sequences, or an option is
            wrong.
    """
    if name not in list_encoders():
        raise ConfigError(
            f"params.yaml: `{where}.name` must be an encoder for {kind} "
            f"({', '.join(list_encoders(kind))}), got {name!r}"
        )
    found = find_encoder(name)
    if found.kind != kind:
        raise ConfigError(
            f"params.yaml: `{where}.name` {name!r} reads {found.kind}, but the modality is of kind "
            f"{kind}; choose one of {', '.join(list_encoders(kind))}"
        )
    if sequence and not found.sequential:
        others = [other for other in list_encoders(kind) if find_encoder(other).sequential]
        raise ConfigError(
            f"params.yaml: `{where}.sequence` needs an encoder that gives sequences, and {name} gives "
            f"one vector; leave it out"
            + (f" or choose one of {', '.join(others)}" if others else f" (none for {kind} does)")
        )
    validated = validate_options(found.options_model, options, where=where)
    return found(validated, weights, precision, sequence)
