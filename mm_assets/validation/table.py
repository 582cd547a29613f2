"""Is the raw table one that the pipeline can read at all?"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_assets.contracts.report import SuiteResult
from mm_assets.data.media import ABSOLUTE, NO_FOLDER, find_alike, find_missing_folders
from mm_assets.validation.runner import join_suites, run_suite

if TYPE_CHECKING:
    import pandas as pd

    from mm_assets.contracts.config import Config
    from mm_assets.modalities.base import Modality

NAME = "table_is_well_formed"
# With more of a column's paths starting where nothing is, rows are not to blame.
MOST_MISSING = 0.9


def name_columns(config: Config) -> dict[str, str]:
    """Map each key of `params.yaml` that names a column of the raw table to that column."""
    columns = {"data.id": config.data.id} if config.data.id else {}
    columns |= {"data.group": config.data.group} if config.data.group else {}
    columns |= {"data.order": config.data.order} if config.data.order else {}
    columns |= {"data.split": config.data.split} if config.data.split else {}
    for key, modality in config.modalities.items():
        columns |= {f"modalities.{key}.{at}": column for at, column in modality.sources.items()}
    columns |= {f"targets.{key}.column": t.column for key, t in config.targets.items()}
    slices = enumerate(config.evaluation.slices)
    return columns | {f"evaluation.slices[{at}]": column for at, column in slices}


def check_table(
    frame: pd.DataFrame, config: Config, modalities: Mapping[str, Modality[Any]], folder: Path
) -> SuiteResult:
    """Check the raw table as a whole: suite `table_is_well_formed`.

    Args:
        frame: As `read_table` returned it.
        config: Names the columns.
        modalities: By key; tells whose cells are paths.
        folder: The data folder.

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
    parts = [run_suite(NAME, frame, expectations)]
    for key, modality in modalities.items():
        paths = config.modalities[key].column
        if modality.is_file and paths in frame.columns:
            parts.append(_check_folders(frame[paths].dropna(), folder))
    return join_suites(
        parts,
        description="The sample table has rows and every column that params.yaml names, and media "
        "lie where it says.",
    )


def _check_folders(cells: pd.Series, folder: Path) -> SuiteResult:
    """Check that paths start in folders that are there, before every one of them is looked for."""
    import great_expectations.expectations as gxe
    import pandas as pd

    missing = find_missing_folders(cells, folder)
    share = sum(missing.values()) / max(len(cells), 1)
    column = str(cells.name)
    expectation = gxe.ExpectColumnMaxToBeBetween(
        column=column,
        max_value=MOST_MISSING,
        description=f"at most {100 * MOST_MISSING:.4g} % of the paths start where nothing is",
        meta={
            "share": True,
            "advice": _advise_folder(next(iter(missing)), folder) if missing else "",
        },
    )
    return run_suite(NAME, pd.DataFrame({column: [share]}), [expectation])


def _advise_folder(first: str, folder: Path) -> str:
    """Say what to do about the commonest start of paths that lead nowhere."""
    if first == ABSOLUTE:
        return (
            "they are absolute paths, which are others on every machine; cut off what comes before "
            "the data folder"
        )
    present = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if first == NO_FOLDER:
        shown = f"folders {', '.join(present[:5])}" if present else "no folder"
        return (
            f"they name no folder, and the files do not lie beside the table, where there are {shown}; "
            "write each path from the table on, such as photos/1.jpg"
        )
    if alike := find_alike(first, folder):
        return (
            f"there is no folder {first!r} in the data folder, but {alike!r}, which differs in "
            "upper and lower case; rename one"
        )
    others = f", but {', '.join(present[:5])}; rename it, or" if present else ", nor any other;"
    return f"there is no folder {first!r} in the data folder{others} copy the media there"


def _advise_column(key: str, column: str, present: list[str]) -> str:
    close = difflib.get_close_matches(column, present, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}set `{key}` in params.yaml to one of: {', '.join(present)}"
