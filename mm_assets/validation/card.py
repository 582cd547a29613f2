"""The card's suite: `card_is_complete`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from mm_assets.validation.runner import join_suites, run_suite

if TYPE_CHECKING:
    from mm_assets.contracts.report import SuiteResult

NAME = "card_is_complete"


def check_card(
    sections: Sequence[str],
    reports: Sequence[str],
    resources: Sequence[str],
    *,
    needed_sections: Sequence[str],
    needed_reports: Sequence[str],
) -> SuiteResult:
    """Check that the page shows everything and loads nothing: suite `card_is_complete`.

    Args:
        sections: Ids of the page's sections.
        reports: Names of the stages whose checks it shows.
        resources: Addresses of all it loads; a picture inside the page starts with ``data:``.
        needed_sections: Ids that must be there.
        needed_reports: Names that must be there.
    """
    import great_expectations.expectations as gxe

    shown = (("section", sections, needed_sections), ("report", reports, needed_reports))
    parts = [
        run_suite(
            NAME,
            pd.DataFrame({column: pd.Series(list(there), dtype="str")}),
            [
                gxe.ExpectColumnDistinctValuesToContainSet(
                    column=column, value_set=list(needed), description=f"no {column} is missing"
                )
            ],
        )
        for column, there, needed in shown
    ]
    inside = gxe.ExpectColumnValuesToMatchRegex(
        column="resource", regex="^data:", description="the page loads nothing from elsewhere"
    )
    loaded = pd.DataFrame({"resource": pd.Series(list(resources), dtype="str")})
    return join_suites(
        [*parts, run_suite(NAME, loaded, [inside])],
        description="Every section and report is there, and the page stands alone.",
    )
