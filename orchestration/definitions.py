"""What Dagster loads. Importing this reads nothing; calling `defs` does."""

from pathlib import Path

import dagster as dg

from orchestration.console import compact_logger
from orchestration.dvc_stages import remember_stages
from orchestration.reconcile import record_process


@dg.definitions
def defs() -> dg.Definitions:
    """Gather everything under `defs/`."""
    with remember_stages():
        found = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(
        found,
        dg.Definitions(
            # Each stage is a process of its own and uses every core; a process per step on top
            # would cost seconds each and make stages compete.
            executor=record_process(dg.in_process_executor),
            loggers={"compact": compact_logger},
        ),
    )
