"""A stage's report: the contract between the two front doors.

It holds nothing that differs between two equal runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mm_assets.contracts.errors import StageError

REPORT_VERSION = 1


class ExpectationResult(BaseModel):
    """What one expectation said.

    `errored` means that it could not be evaluated, which is not the same as failing. `samples` are
    ids of some rows that break it, the worst first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    expectation: str
    column: str | None = None
    success: bool
    errored: bool = False
    severity: Literal["error", "warning"] = "error"
    expected: str
    observed: str
    unexpected: int = 0
    evaluated: int = 0
    advice: str = ""
    samples: tuple[str, ...] = ()


class SuiteResult(BaseModel):
    """One suite of a stage; one Dagster asset check."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    results: tuple[ExpectationResult, ...]

    @property
    def failed(self) -> tuple[ExpectationResult, ...]:
        """Results that did not succeed, whatever their severity."""
        return tuple(result for result in self.results if not result.success)

    @property
    def passed(self) -> bool:
        """No expectation failed, neither as error nor as warning."""
        return not self.failed

    @property
    def blocks(self) -> bool:
        """An expectation of severity error failed: the pipeline stops here."""
        return any(result.severity == "error" for result in self.failed)


class Plot(BaseModel):
    """A picture among the stage's outs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    path: str  # from the project's root


class Table(BaseModel):
    """A small table for a person, such as quarantine reasons with their counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]


class StageReport(BaseModel):
    """What a stage did, for people and for Dagster."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = REPORT_VERSION
    stage: str
    rows_in: int
    rows_out: int
    metrics: dict[str, float | int | str] = {}
    suites: tuple[SuiteResult, ...] = ()
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether a suite failed with severity error."""
        return any(suite.blocks for suite in self.suites)

    def find_table(self, column: str) -> Table | None:
        """Give the first table whose first column is so named."""
        return next((table for table in self.tables if table.columns[0] == column), None)


def read_report(path: Path) -> StageReport:
    """Read a report that `mm_assets.stages.run` wrote.

    Raises:
        StageError: The file is absent, damaged or of another schema version.
    """
    try:
        report = StageReport.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"report {path} not found; run its stage: `dvc repro`") from None
    except ValidationError as error:
        raise StageError(f"report {path} is damaged or of another release: {error}") from None
    if report.schema_version != REPORT_VERSION:
        raise StageError(
            f"report {path} has schema version {report.schema_version}, this release reads "
            f"{REPORT_VERSION}; run its stage again: `dvc repro -f`"
        )
    return report


def summarize_failures(report: StageReport) -> str:
    """Name every failed expectation of severity error in one message."""
    lines = [
        f"{suite.name}: expected: {result.expected}"
        + (f" ({result.column})" if result.column else "")
        + f"; got {result.observed}"
        + (f"; {result.advice}" if result.advice else "")
        for suite in report.suites
        for result in suite.failed
        if result.severity == "error"
    ]
    return f"stage {report.stage} failed its checks:\n  " + "\n  ".join(lines)
