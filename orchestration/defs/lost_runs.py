"""Runs whose process was killed come to an end, so that the daemon tries them again."""

import dagster as dg

from orchestration.reconcile import reconcile_runs


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,  # it only tells, and runs nothing
    description="Ends every run whose process is gone, so that the daemon tries it again.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """End every run whose process is gone; see `orchestration/reconcile.py`."""
    ended = reconcile_runs(context.instance)
    return dg.SkipReason(
        f"ended {', '.join(run.run_id for run in ended)}" if ended else "every run is alive"
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Gather the sensor."""
    return dg.Definitions(sensors=[lost_runs])
