"""Every error this library raises on purpose.

A message says who, what was needed, what came and what to change; with data also the sample and
the file. The command line prints the message alone and exits with 1.
"""

from __future__ import annotations

import re

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class MMAssetsError(Exception):
    """Base of all errors below."""


class ConfigError(MMAssetsError):
    """`params.yaml` (or an option) is wrong; raised before any work."""


class DataContractError(MMAssetsError):
    """Data handed to a function breaks its documented contract."""


class BadSampleError(MMAssetsError):
    """One cell of the sample table cannot be used; its row goes to quarantine.

    Attributes:
        reason: A short stable code such as ``image_truncated``; counted in reports.
        detail: One sentence for a person. It may quote the cell or a library, so it is cut after
            1000 characters, has no memory addresses, which differ from run to run, and escapes in
            the place of lone surrogates, which no file can hold.
    """

    def __init__(self, reason: str, detail: str) -> None:
        detail = detail if len(detail) <= 1000 else f"{detail[:999]}…"
        detail = _ADDRESS.sub("", detail).encode("utf-8", "backslashreplace").decode()
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[BadSampleError], tuple[str, str]]:
        return type(self), (self.reason, self.detail)  # decoding processes send it


class SourceError(MMAssetsError):
    """A data source cannot be read or written."""


class DecodingError(MMAssetsError):
    """Processes that decode media cannot be started; no sample is to blame."""


class WeightsError(MMAssetsError):
    """Published weights are absent or not the pinned ones."""


class StoreError(MMAssetsError):
    """The embedding store cannot be read or written."""


class DiskError(MMAssetsError):
    """The disk is full, too small for what is to be written, or must not be written to."""


class StageError(MMAssetsError):
    """A stage cannot run, or its inputs moved while it ran."""


class SuiteFailedError(StageError):
    """A validation suite failed with severity error; the report was written first."""


class TrainingError(MMAssetsError):
    """Training cannot start or cannot go on."""


class ExportError(MMAssetsError):
    """The exported model differs from the trained one, or cannot be built."""


class RegistryError(MMAssetsError):
    """A model cannot be registered, compared, promoted or rolled back."""


class ServingError(MMAssetsError):
    """The exported model cannot be loaded, or the request does not fit it."""
