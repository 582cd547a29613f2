"""What the assets of our own pipeline are expected to do by themselves, and by when."""

from datetime import timedelta

import dagster as dg
import pytest

pytestmark = pytest.mark.slow  # DVC and Dagster on a small project


class Automation:
    """The sensor that a person may switch on, ticked by hand."""

    def __init__(self, dagster):
        self.dagster, self.cursor = dagster, None

    def tick(self):
        """Tell what it would run now."""
        result = dg.evaluate_automation_conditions(
            self.dagster.definitions(), self.dagster.instance, cursor=self.cursor
        )
        self.cursor = result.cursor
        return {one.key.to_user_string() for one in result.results if not one.true_subset.is_empty}


def tell_what_ran_at_the_shell(dagster):
    sensor = dagster.definitions().resolve_sensor_def("shell_runs")
    for event in sensor(dg.build_sensor_context(instance=dagster.instance)).asset_events:
        dagster.instance.report_runless_asset_event(event)


def test_a_stage_waits_to_run_when_what_it_reads_has_other_content(finished, dagster):
    dagster.materialize_all()
    automation = Automation(dagster)
    assert automation.tick() == set()
    finished.edit("params.yaml", "left: {scale: 1}", "left: {scale: 5}")
    finished.dvc("repro", "-q", "--single-item", "embed@left")
    tell_what_ran_at_the_shell(dagster)
    assert dagster.staleness()["train"] == "STALE"
    assert automation.tick() == {"train"}
    assert automation.tick() == set()  # asked for once


def test_what_ran_again_with_equal_outs_is_no_reason(finished, dagster):
    dagster.materialize_all()
    automation = Automation(dagster)
    automation.tick()
    job = dg.define_asset_job("one", selection=["left_lengths"])
    definitions = dg.Definitions.merge(dagster.definitions(), dg.Definitions(jobs=[job]))
    definitions.resolve_job_def("one").execute_in_process(instance=dagster.instance)
    assert automation.tick() == set()


def test_a_stage_defined_otherwise_waits_to_run(finished, dagster):
    dagster.materialize_all()
    automation = Automation(dagster)
    automation.tick()
    finished.edit("dvc.yaml", "python steps.py train", "python  steps.py train")
    assert automation.tick() == {"train"}


def test_a_stage_is_late_when_no_run_looked_at_it_between_two_ticks_of_the_schedule(shell, dagster):
    shell.edit(
        "params.yaml",
        'cron: "0 3 * * *", timezone: UTC',
        'cron: "30 * * * *", timezone: Asia/Tokyo',
    )
    policy = dagster.definitions().resolve_asset_graph().get(dg.AssetKey("train")).freshness_policy
    assert (policy.deadline_cron, policy.timezone) == ("30 * * * *", "Asia/Tokyo")
    assert policy.lower_bound_delta == timedelta(hours=1)
