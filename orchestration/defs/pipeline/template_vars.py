"""What `defs.yaml` beside this says in templates."""

import dagster as dg
from dagster._utils.schedules import get_smallest_cron_interval  # no public one

from orchestration.defs.retraining import build_schedule
from orchestration.dvc_stages import project_root
from orchestration.pages import pages_url

Condition = (
    dg.AutomationCondition[dg.AssetKey] | dg.AutomationCondition[dg.AssetKey | dg.AssetCheckKey]
)


@dg.template_var
def pages() -> str:
    """Say where HTML outs are served: by `python -m orchestration ui`, or `MM_PAGES`."""
    return pages_url()


@dg.template_var
def when_inputs_change() -> Condition:
    """Run a stage when what it reads has other content, or it is defined otherwise.

    That something before it ran again, with equal outs, is no reason: DVC would have nothing to
    do. The condition shows what waits and why; it starts nothing until a person switches on
    `default_automation_condition_sensor`.
    """
    when = dg.AutomationCondition
    return (
        when.eager()
        .replace("newly_updated", when.data_version_changed())
        .replace("newly_missing", when.newly_missing() | when.code_version_changed())
        .with_label("its inputs or its definition changed")
    )


@dg.template_var
def once_per_schedule() -> dg.FreshnessPolicy:
    """Expect a stage to have been looked at between two ticks of `schedule` in `params.yaml`.

    A stage that DVC skips counts: that nothing was to be done is known as of then.
    """
    schedule = build_schedule(project_root())
    cron = str(schedule.cron_schedule)
    return dg.FreshnessPolicy.cron(
        deadline_cron=cron,
        lower_bound_delta=get_smallest_cron_interval(cron),
        timezone=schedule.execution_timezone or "UTC",
    )
