"""Alerts: what somebody should know of runs that ended, brought to each channel once.

Dagster's own `run_failure_sensor` goes on to the next run when a message could not be sent; here
each channel keeps its place in the runs' events until its message has been taken.
"""

import json
import time
from collections.abc import Callable, Iterator, Set
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from mm_assets.contracts.config import AlertKind, AlertsConfig, read_section
from mm_assets.contracts.workspace import Workspace
from orchestration.alerts import Alert, DeliveryError, Reason, send_email, send_webhook
from orchestration.defs.drift import REPORT
from orchestration.defs.promotion import ACTIONS, CHAMPION
from orchestration.dvc_stages import project_root

End = Literal[
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_CANCELED,
]
ENDS: tuple[End, ...] = get_args(End)
AT_ONCE = 50  # events of one type that a channel looks at in one tick
BUDGET_S = 25.0  # a tick that Dagster stops, after 60 s, would forget what it has sent

KINDS: dict[str, AlertKind] = {CHAMPION: "refusal", REPORT: "drift"}
ADVICE: dict[AlertKind, str] = {
    "failure": "mend what is named, then press Re-execute from failure behind the link, or run "
    "`python -m orchestration`; what has finished is kept",
    "refusal": "nothing at once: the champion stays in use, and the candidate is kept in "
    "`registry/`; if the gate is too strict, change `promotion` in params.yaml",
    "drift": "look at the batch's page, named behind the link: is what arrives broken, or new? Mend "
    "broken data at its source; of new data have some labelled, and retrain with it",
}
RETRIED = "nothing yet: Dagster tries this run again by itself"

Position = dict[str, int]  # the last event looked at, by type
Channel = tuple[list[AlertKind], Callable[[Alert], None]]


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,  # it only tells, and runs nothing
    description="Tells of failed runs, refused candidates and drift, as alerts in params.yaml says.",
)
def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Bring each channel what has happened since the last event that it was told of."""
    config = read_alerts(project_root())
    old: dict[str, Position] = json.loads(context.cursor or "{}")
    told, waiting = 0, []
    new = {}
    deadline = time.monotonic() + BUDGET_S
    for name, channel in build_channels(config, context.log.warning).items():
        new[name] = position = dict(old.get(name) or find_newest(context.instance))
        try:
            for event in read_ends(context.instance, position):
                if time.monotonic() > deadline:
                    break
                told += tell(context, channel, event, config.ui)
                position[event.event_type.value] = event.storage_id
        except DeliveryError as error:
            waiting.append(name)
            context.log.warning(f"alert by {name} is tried again at the next tick: {error}")
    context.update_cursor(json.dumps(new))
    return dg.SkipReason(
        f"{told} alert{'s' * (told != 1)} told"
        + (f"; undelivered, tried again at the next tick: {', '.join(waiting)}" if waiting else "")
    )


def read_alerts(root: Path) -> AlertsConfig:
    """Read `alerts` of params.yaml anew, so that an edit counts from the next tick on.

    Raises:
        ConfigError: A key is unknown or wrong.
    """
    return read_section(Workspace(root).params, AlertsConfig, "alerts")


def build_channels(config: AlertsConfig, warn: Callable[[str], None]) -> dict[str, Channel]:
    """List the channels in use, each with what it is to hear."""
    channels: dict[str, Channel] = {}
    if config.log:
        channels["log"] = config.log.events, lambda alert: warn(alert.text)
    if config.webhook:
        channels["webhook"] = config.webhook.events, partial(send_webhook, config.webhook)
    if config.email:
        channels["email"] = config.email.events, partial(send_email, config.email, warn=warn)
    return channels


def find_newest(instance: dg.DagsterInstance) -> Position:
    """Find the position of a channel that is new: it hears of what happens from now on."""
    newest = {kind.value: instance.fetch_run_status_changes(kind, limit=1) for kind in ENDS}
    return {
        kind: found.records[0].storage_id if found.records else 0 for kind, found in newest.items()
    }


def read_ends(instance: dg.DagsterInstance, position: Position) -> Iterator[dg.EventLogRecord]:
    """Read the ends of runs after a position; each type has its own, so that none is overtaken."""
    for kind in ENDS:
        after = dg.RunStatusChangeRecordsFilter(kind, after_storage_id=position[kind.value])
        yield from instance.fetch_run_status_changes(after, limit=AT_ONCE, ascending=True).records


def tell(
    context: dg.SensorEvaluationContext, channel: Channel, event: dg.EventLogRecord, ui: str
) -> bool:
    """Send what one run's end gives reason to say, if the channel is to hear of it.

    Returns:
        Whether there was anything to send.

    Raises:
        DeliveryError: It was not taken.
    """
    kinds, send = channel
    alert = build_alert(context, event, ui)
    selected = alert and alert.select(kinds)
    if selected:
        send(selected)
    return bool(selected)


def build_alert(
    context: dg.SensorEvaluationContext, event: dg.EventLogRecord, ui: str
) -> Alert | None:
    """Gather what a run's end gives reason to say; none if there is nothing, or no such run."""
    run = context.instance.get_run_by_id(event.run_id)
    if run is None:
        return None
    reasons = list(read_checks(context, run))
    if event.event_type == dg.DagsterEventType.RUN_FAILURE:
        reasons = [*explain_failure(context.instance, run, event), *reasons]
    if not reasons:
        return None
    return Alert(
        id=f"{run.run_id}.{event.storage_id}",
        project=project_root().name,
        job=run.job_name,
        run=run.run_id,
        ended=f"{datetime.fromtimestamp(event.timestamp, UTC):%Y-%m-%d %H:%M} UTC",
        link=f"{ui.rstrip('/')}/runs/{run.run_id}",
        reasons=tuple(reasons),
    )


def explain_failure(
    instance: dg.DagsterInstance, run: dg.DagsterRun, event: dg.EventLogRecord
) -> Iterator[Reason]:
    """Give each failed step's reason; where no step failed, what Dagster says of the run."""
    advice = RETRIED if run.tags.get("dagster/will_retry") == "true" else ADVICE["failure"]
    steps = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    for entry in steps:
        data = entry.get_dagster_event().step_failure_data
        said = data.user_failure_data and data.user_failure_data.description
        yield Reason("failure", entry.step_key or "run", said or _find_cause(data.error), advice)
    if not steps:
        engine = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        errors = [entry.get_dagster_event().engine_event_data.error for entry in engine]
        causes = [_find_cause(error) for error in errors if error]
        said = event.event_log_entry.get_dagster_event().message or "it ended without a message"
        yield Reason("failure", "run", "\n".join([said, *causes]), advice)


def _find_cause(error: SerializableErrorInfo | None) -> str:
    """Say what was raised first; Dagster wraps it."""
    while error and error.cause:
        error = error.cause
    return error.message.strip() if error else "it failed without a message"


def read_checks(context: dg.SensorEvaluationContext, run: dg.DagsterRun) -> Iterator[Reason]:
    """Give the checks of actions that did not hold; those of stages belong to their own asset."""
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    entries = context.instance.all_logs(run.run_id, of_type=kind)
    events = [entry.get_dagster_event().asset_check_evaluation_data for entry in entries]
    latest = {event.asset_check_key: event for event in events}  # a step that was tried again
    actions = _list_actions(context.repository_def)
    for key, check in latest.items():
        if check.passed or key.asset_key not in actions:
            continue
        asset = key.asset_key.to_user_string()
        found = KINDS.get(asset, "failure")
        why = f"{key.name}: {check.description or 'it does not hold'}"
        yield Reason(found, asset, why, ADVICE[found])


def _list_actions(repository: dg.RepositoryDefinition | None) -> Set[dg.AssetKey]:
    if repository is None:
        return set()
    graph = repository.asset_graph  # a selection by group would leave out what only jobs make
    return {key for key in graph.get_all_asset_keys() if graph.get(key).group_name == ACTIONS}


@dg.definitions
def defs() -> dg.Definitions:
    """Offer the sensor."""
    return dg.Definitions(sensors=[alerts])
