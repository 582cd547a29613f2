"""What was found of a batch: `.mm/drift/BATCH/report.json`. Equal batches give equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from mm_assets.contracts.config import Section, explain_validation
from mm_assets.contracts.errors import StageError

REPORT_FILE, PAGE_FILE = "report.json", "page.html"

Tree = Literal["project", "retraining"]
Kind = Literal["vectors", "presence", "label", "column", "answers"]


class Moved(Section):
    """One thing that was compared.

    Attributes:
        name: Of the modality, target or column.
        kind: Of a modality its vectors or whether rows have it; a target's labels; a column of a
            table; a target's answers by the current model.
        reference_rows: That have it; of vectors, those that were drawn for the test.
        batch_rows: Likewise.
        statistic: Of vectors MMD^2, of all else the population stability index; null where nothing
            could be compared.
        p_value: Of a permutation test of whole groups; null where a side has fewer than two.
        adjusted: The same by Holm's procedure over all tests of the batch.
        drifted: Whether that is at most `drift.p_value`, and a stability index at least `drift.psi`.
        levels: Each level's name, share of the reference and share of the batch.
        unseen: Levels that the reference does not have.
        foreign: Of vectors, ids of the batch's rows that resemble the reference least.
        note: Why it was not compared, or not tested.
        picture: Its file beside the report; empty where none was drawn.
    """

    name: str
    kind: Kind
    reference_rows: int
    batch_rows: int
    statistic: float | None = None
    p_value: float | None = None
    adjusted: float | None = None
    drifted: bool = False
    levels: tuple[tuple[str, float, float], ...] = ()
    unseen: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    note: str = ""
    picture: str = ""

    @property
    def title(self) -> str:
        """Its name among all that is compared, such as ``audio vectors``."""
        return f"{self.name} {self.kind}"


class DriftReport(Section):
    """How a batch compares with the rows that the current model was trained on.

    Attributes:
        batch: Its name.
        reference: Whose `data/` it was compared with: the person's own tree's, or retraining's.
        model: Which champion, and what that was made from; null where it was what lies in that
            tree's `artifacts/`.
        rows_in: Of its table.
        rows_kept: Those without a finding, as stage `validate` would keep them.
        reasons: Reason, rows and an example of each finding.
        clashing: Ids that the reference's `data/` has too, with another content.
        p_value: `drift.p_value`.
        psi: `drift.psi`.
        quarantined_share: `drift.quarantined_share`.
        compared: Everything that was.
    """

    schema_version: Literal[1] = 1
    batch: str
    reference: Tree = "project"
    model: str | None = None
    rows_in: int
    rows_kept: int
    reasons: tuple[tuple[str, int, str], ...]
    clashing: tuple[str, ...]
    p_value: float
    psi: float
    quarantined_share: float
    compared: tuple[Moved, ...]

    @property
    def drifted(self) -> tuple[Moved, ...]:
        """What has drifted, vectors first."""
        return tuple(one for one in self.compared if one.drifted)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why the batch must not be ingested by itself; empty where it may."""
        lost = self.rows_in - self.rows_kept
        found = []
        if self.clashing:
            place = "data/" if self.reference == "project" else "the data of branch retraining"
            shown = ", ".join(self.clashing[:5])
            found.append(f"{len(self.clashing)} ids are in {place} with another content: {shown}")
        if not self.rows_kept:
            found.append(f"none of its {self.rows_in} rows is valid")
        elif lost > self.quarantined_share * self.rows_in:
            found.append(
                f"{lost} of {self.rows_in} rows are bad, `drift.quarantined_share` allows "
                f"{self.quarantined_share:.0%}"
            )
        return tuple(found)

    def explain(self) -> str:
        """Say in a line what was found."""
        lost = self.rows_in - self.rows_kept
        head = f"{self.batch}: {self.rows_in} rows, {lost} of them bad"
        if self.drifted:
            moved = ", ".join(f"{one.title} (p = {one.adjusted:.2g})" for one in self.drifted)
            return f"{head}; drifted: {moved}"
        return f"{head}; no drift"

    def explain_reference(self) -> str:
        """Say what it was compared with."""
        if self.model:
            return f"the champion {self.model} and the rows that it was trained on"
        whose = "this project's own" if self.reference == "project" else "branch retraining's"
        return f"the rows and the model of {whose} artifacts/"


def read_drift_report(folder: Path) -> DriftReport:
    """Read what `compare_batch` found.

    Args:
        folder: `.mm/drift/BATCH`.

    Raises:
        StageError: There is none, or it is damaged or of another release.
    """
    file = folder / REPORT_FILE
    again = f"run `mm drift {folder.name}`"
    try:
        return DriftReport.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"there is no drift report {file} yet; {again}") from None
    except ValidationError as error:
        problems = explain_validation(error, name=str(file), model=DriftReport)
        raise StageError(f"{problems}\nit is damaged or of another release; {again}") from None
