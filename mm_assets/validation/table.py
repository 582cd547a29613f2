"""Is the raw table one that the pipeline can read at all?"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from mm_assets.contracts.report import SuiteResult
from mm_assets.validation.runner import run_suite

if TYPE_CHECKING:
    import pandas as pd

    from mm_assets.contracts.config import Config


def name_columns(config: Config) -> dict[str, str]:
    """Map each key of `params.yaml` that names a column of the raw table to that column."""
    columns = {"data.id": config.data.id}
    columns |= {"data.group": config.data.group} if config.data.group else {}
    columns |= {"data.split": config.data.split} if config.data.split else {}
    for key, modality in config.modalities.items():
        columns |= {f"modalities.{key}.{at}": column for at, column in modality.sources.items()}
    columns |= {f"targets.{key}.column": t.column for key, t in config.targets.items()}
    return columns


def check_table(frame: pd.DataFrame, config: Config) -> SuiteResult:
    """Check the raw table as a whole: suite `table_is_well_formed`.

    Args:
        frame: As `read_table` returned it.
        config: Names the columns.

    Returns:
        A failure here leaves nothing to look at row by row.
    """
    import great_expectations.expectations as gxe

    named = name_columns(config)
    expectations = [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=1,
            description="the table has at least one row",
            meta={
                "advice": f"fill data/{config.data.table}, or put the sample in: `mm use sample`"
            },
        )
    ]
    for key, column in named.items():
        expectations.append(
            gxe.ExpectColumnToExist(
                column=column,
                description=f"the column that `{key}` names exists",
                meta={"advice": _advise_column(key, column, [str(name) for name in frame.columns])},
            )
        )
    for key, column in named.items():
        if column in frame.columns and len(frame):
            expectations.append(
                gxe.ExpectColumnProportionOfNonNullValuesToBeBetween(
                    column=column,
                    min_value=0,
                    strict_min=True,
                    description="at least one row has a value",
                    meta={"advice": f"`{key}` names a column of nulls; take it out of params.yaml"},
                )
            )
    return run_suite(
        "table_is_well_formed",
        frame,
        expectations,
        description="The sample table has rows and every column that params.yaml names.",
    )


def _advise_column(key: str, column: str, present: list[str]) -> str:
    close = difflib.get_close_matches(column, present, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}set `{key}` in params.yaml to one of: {', '.join(present)}"
