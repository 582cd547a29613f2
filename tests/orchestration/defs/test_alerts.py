"""Alerts of real runs, from a sensor that is ticked by hand, to receivers that really listen."""

import json
import sys

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._utils.error import serializable_error_info_from_exc_info
from ruamel.yaml import YAML

from mm_assets.contracts.errors import ConfigError
from mm_assets.registry.record import Claim, Gate
from orchestration.defs.alerts import KINDS, alerts
from orchestration.defs.promotion import ACTIONS, CHAMPION, check

pytestmark = pytest.mark.slow  # each starts Dagster anew

NOT_WORSE = Gate(
    name="candidate_is_not_worse",
    description="No target is worse.",
    claims=(
        Claim(
            about="mood: accuracy",
            candidate=0.7,
            champion=0.9,
            needed="at least",
            threshold=0.87,
            passed=False,
        ),
    ),
)


@dg.asset(
    key=CHAMPION,
    group_name=ACTIONS,
    check_specs=[dg.AssetCheckSpec(NOT_WORSE.name, asset=CHAMPION)],
)
def refusing():
    return dg.MaterializeResult(check_results=[check(NOT_WORSE)])


@dg.asset_check(name="text_is_as_before", asset="drift_report")
def drifted():
    description = "p 0.001, needed at least 0.01"
    return dg.AssetCheckResult(
        passed=False, severity=dg.AssetCheckSeverity.WARN, description=description
    )


@dg.asset(group_name="model", check_specs=[dg.AssetCheckSpec("model_is_trained", asset="model")])
def model():
    warning = dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)
    return dg.MaterializeResult(check_results=[warning])


@dg.asset(group_name=ACTIONS, deps=[refusing])
def retraining_commit():
    raise dg.Failure("git is not to be found")


DEFINITIONS = dg.Definitions(
    assets=[
        refusing,
        dg.AssetSpec("drift_report", group_name=ACTIONS),  # only a job makes it
        model,
        retraining_commit,
    ],
    asset_checks=[drifted],
)


class Daemon:
    """Ticks the sensor as Dagster's daemon does, with the cursor of the tick before."""

    def __init__(self, instance, root):
        self.instance, self.root, self.cursor = instance, root, None

    def configure(self, **alerts):
        file = self.root / "params.yaml"
        YAML().dump(YAML().load(file) | {"alerts": alerts}, file)

    def tick(self):
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=DEFINITIONS.get_repository_def(),
        )
        result = alerts(context)
        self.cursor = context.cursor
        return result.skip_message

    def run(self, *assets):
        everything = dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks()
        return dg.materialize(
            [*assets], selection=everything, instance=self.instance, raise_on_error=False
        )


@pytest.fixture
def daemon(shell):
    # Kept in files, as at a user's: each run's events in a file of its own.
    with dg.instance_for_test() as instance:
        yield Daemon(instance, shell.root)


def address(mail):
    return {
        "host": "127.0.0.1",
        "port": mail.port,
        "security": "none",
        "sender": "mm@example.org",
        "recipients": ["ann@example.org"],
    }


def test_a_failed_run_is_told_once_with_the_expectation_that_failed(daemon, shell, webhook):
    from orchestration.definitions import defs

    daemon.configure(webhook={"url": webhook.url}, ui="https://ui.example.org/")
    shell.edit("params.yaml", "gate: 0.5", "gate: 0.1")
    assert daemon.tick() == "0 alerts told"
    job = defs().resolve_job_def("pipeline")
    result = job.execute_in_process(instance=daemon.instance, raise_on_error=False)
    assert daemon.tick() == "2 alerts told"  # by log and by webhook
    assert daemon.tick() == "0 alerts told"
    [document] = webhook.documents
    assert document["text"].startswith("project: failed run in run ")
    assert " of pipeline, 20" in document["text"]
    [reason] = document["reasons"]
    assert (reason["kind"], reason["about"]) == ("failure", "validated")
    assert "expected: at most gate (word); got more" in reason["why"]
    assert "Re-execute from failure" in reason["advice"]
    assert document["link"] == f"https://ui.example.org/runs/{result.run_id}"


def test_refusal_and_drift_of_runs_that_succeed_reach_who_asked(daemon, webhook, serve_mail):
    mail = serve_mail()
    daemon.configure(
        webhook={"url": webhook.url, "events": ["refusal"]},
        email={**address(mail), "events": ["drift", "failure"]},
        log=None,
    )
    daemon.tick()
    assert daemon.run(refusing).success
    assert daemon.run(drifted, model).success
    assert daemon.tick() == "2 alerts told"
    [document] = webhook.documents
    assert document["reasons"][0]["why"] == (
        "candidate_is_not_worse: mood: accuracy: candidate 0.7, champion 0.9, needed at least 0.87"
    )
    [message] = mail.mails
    assert ": drift in run " in message["Subject"]
    assert "text_is_as_before: p 0.001, needed at least 0.01" in message.get_content()
    assert "model_is_trained" not in message.get_content()  # a stage's warning stops nothing


def test_what_one_run_says_comes_in_one_piece(daemon, webhook):
    daemon.configure(webhook={"url": webhook.url}, log=None)
    daemon.tick()
    assert not daemon.run(refusing, retraining_commit).success
    daemon.tick()
    [document] = webhook.documents
    assert {one["about"]: one["kind"] for one in document["reasons"]} == {
        "retraining_commit": "failure",
        "champion": "refusal",
    }
    assert document["reasons"][0]["why"] == "git is not to be found"


def test_an_undelivered_alert_waits_while_the_other_channel_goes_on(
    daemon, webhook, serve_mail, capfd
):
    mail = serve_mail()
    daemon.configure(webhook={"url": webhook.url}, email=address(mail), log=None)
    daemon.tick()
    webhook.answers = [500, 503]
    runs = [daemon.run(refusing).run_id, daemon.run(drifted).run_id]
    waits = "2 alerts told; undelivered, tried again at the next tick: webhook"
    assert daemon.tick() == waits
    assert "the webhook answered 500" in capfd.readouterr().err
    assert webhook.documents == []
    assert "webhook" in daemon.tick()
    assert daemon.tick() == "2 alerts told"
    assert daemon.tick() == "0 alerts told"
    assert [document["run"] for document in webhook.documents] == runs
    assert len(mail.mails) == 2


def test_a_mail_server_that_refuses_the_first_time_gets_it_the_second_time(daemon, serve_mail):
    mail = serve_mail()
    daemon.configure(email=address(mail), log=None)
    daemon.tick()
    mail.answers = ["451 try again later"]
    daemon.run(refusing)
    assert "tried again at the next tick: email" in daemon.tick()
    assert daemon.tick() == "1 alert told"
    assert daemon.tick() == "0 alerts told"
    assert len(mail.mails) == 1


def test_a_tick_that_takes_too_long_leaves_the_rest_to_the_next(daemon, webhook, monkeypatch):
    daemon.configure(webhook={"url": webhook.url})
    daemon.tick()
    daemon.run(refusing)
    with monkeypatch.context() as slow:
        slow.setattr("orchestration.defs.alerts.BUDGET_S", 0)
        assert daemon.tick() == "0 alerts told"
    assert daemon.tick() == "2 alerts told"


def test_without_configuration_alerts_are_in_the_log_alone(daemon, capfd):
    daemon.tick()
    daemon.run(refusing)
    capfd.readouterr()
    assert daemon.tick() == "1 alert told"
    assert "candidate 0.7, champion 0.9, needed at least 0.87" in capfd.readouterr().err


def test_a_new_channel_hears_of_what_happens_from_then_on(daemon, webhook):
    daemon.run(refusing)
    daemon.configure(webhook={"url": webhook.url})
    daemon.tick()
    assert webhook.documents == []
    daemon.run(refusing)
    daemon.tick()
    assert len(webhook.documents) == 1


@pytest.mark.parametrize(
    ("retried", "advice"), [("true", "Dagster tries this run again"), ("false", "mend what")]
)
def test_a_run_that_died_says_what_dagster_says_of_it(daemon, webhook, retried, advice):
    daemon.configure(webhook={"url": webhook.url})
    daemon.tick()
    run = daemon.instance.create_run_for_job(DEFINITIONS.resolve_implicit_global_asset_job_def())
    daemon.instance.add_run_tags(run.run_id, {"dagster/will_retry": retried})
    try:
        raise ImportError("no module named steps")
    except ImportError:
        error = EngineEventData.engine_error(serializable_error_info_from_exc_info(sys.exc_info()))
    daemon.instance.report_engine_event("It did not start.", run, engine_event_data=error)
    daemon.instance.report_run_failed(run, message="Its process has gone.")
    daemon.tick()
    [document] = webhook.documents
    [reason] = document["reasons"]
    assert reason["why"] == "Its process has gone.\nImportError: no module named steps"
    assert reason["advice"].startswith(advice) or advice in reason["advice"]
    assert document["text"].partition(",")[0] == f"project: failed run in run {run.run_id[:8]}"


def test_a_wrong_key_fails_the_tick_and_nothing_is_lost(daemon, webhook):
    daemon.configure(webhook={"url": webhook.url})
    daemon.tick()
    daemon.run(refusing)
    daemon.configure(webhook={"adress": webhook.url})
    with pytest.raises(ConfigError, match=r"`alerts\.webhook\.adress` is not a known key"):
        daemon.tick()
    daemon.configure(webhook={"url": webhook.url})
    daemon.tick()
    assert len(webhook.documents) == 1


def test_the_cursor_is_a_position_for_each_channel(daemon, webhook):
    daemon.configure(webhook={"url": webhook.url})
    daemon.tick()
    assert json.loads(daemon.cursor).keys() == {"log", "webhook"}
    daemon.configure()
    daemon.tick()
    assert json.loads(daemon.cursor).keys() == {"log"}


def test_the_sensor_runs_unasked_and_knows_the_actions_by_name():
    from orchestration.definitions import defs

    definitions = defs()
    [sensor] = [one for one in definitions.sensors if one.name == "alerts"]
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    graph = definitions.resolve_asset_graph()
    groups = {asset: graph.get(dg.AssetKey(asset)).group_name for asset in KINDS}
    assert groups == {CHAMPION: ACTIONS, "drift_report": ACTIONS}
