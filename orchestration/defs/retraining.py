"""Retraining by hand, by the clock, and when new raw data has arrived."""

import json
import os
from pathlib import Path

import dagster as dg
from ruamel.yaml import YAML

from mm_assets.contracts.config import ScheduleConfig, validate_options
from mm_assets.contracts.errors import ConfigError
from mm_assets.contracts.workspace import Workspace
from orchestration.dvc_stages import project_root

PIPELINE = dg.AssetSelection.all() - dg.AssetSelection.groups(
    "actions"
)  # stages, and what feeds them

retrain = dg.define_asset_job(
    "retrain",
    selection=PIPELINE,
    description="Every stage that is stale, in order. DVC skips the rest in milliseconds.",
)


def build_schedule(root: Path) -> dg.ScheduleDefinition:
    """Make the schedule that `schedule` of `params.yaml` describes; stopped until switched on.

    Raises:
        ConfigError: A key is unknown, or cron or timezone are not valid.
    """
    params = YAML(typ="safe").load(Workspace(root).params.read_text(encoding="utf-8"))
    config = validate_options(ScheduleConfig, params.get("schedule") or {}, where="schedule")
    try:
        return dg.ScheduleDefinition(
            name="retraining",
            job=retrain,
            cron_schedule=config.cron,
            execution_timezone=config.timezone,
            description="`schedule` of params.yaml. A run with nothing new takes seconds.",
        )
    except dg.DagsterInvalidDefinitionError as error:
        raise ConfigError(
            "params.yaml: `schedule.cron` must be five fields as in crontab and "
            "`schedule.timezone` an IANA name such as Europe/Berlin, got "
            f"{config.cron!r} and {config.timezone!r}"
        ) from error


@dg.sensor(job=retrain, minimum_interval_seconds=30)
def new_raw_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Retrain when `data/` has changed and then kept still for one tick."""
    cursor = json.loads(context.cursor or "{}")
    now = sign_folder(Workspace(project_root()).data)
    if now is None:
        return dg.SkipReason("there is no data/ folder")
    if now == cursor.get("handled"):
        return dg.SkipReason("data/ is as it was")
    if now != cursor.get("seen"):
        context.update_cursor(json.dumps({**cursor, "seen": now}))
        return dg.SkipReason("data/ is changing; waiting until it keeps still for one tick")
    return dg.SensorResult(
        run_requests=[dg.RunRequest()],  # no run_key: data may come back to an earlier state
        cursor=json.dumps({"seen": now, "handled": now}),
    )


def sign_folder(folder: Path) -> str | None:
    """Tell a folder's state from number, total size and latest change of its files, unread."""
    if not folder.is_dir():
        return None
    stats = [(Path(at) / name).lstat() for at, _, names in os.walk(folder) for name in names]
    newest_ns = max((stat.st_mtime_ns for stat in stats), default=0)
    return f"{len(stats)} files, {sum(stat.st_size for stat in stats)} bytes, {newest_ns} ns"


@dg.definitions
def defs() -> dg.Definitions:
    """Gather job, schedule and sensor."""
    return dg.Definitions(
        jobs=[retrain], schedules=[build_schedule(project_root())], sensors=[new_raw_data]
    )
