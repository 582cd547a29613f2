"""What is said of a run that somebody should look at, and how it is brought to them."""

import html
import os
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from email.message import EmailMessage

from mm_assets.contracts.config import AlertKind, EmailConfig, WebhookConfig
from mm_assets.contracts.errors import MMAssetsError

TIMEOUT_S = 10.0
MAX_WHY = 2000  # characters of one reason: a message, not a log
HEADLINES: dict[AlertKind, str] = {
    "failure": "failed run",
    "refusal": "candidate refused",
    "drift": "drift",
}


class DeliveryError(MMAssetsError):
    """An alert has not reached its channel; it is tried again."""


@dataclass(frozen=True)
class Reason:
    """One thing that somebody should know.

    Attributes:
        about: The asset, or the job where no asset is to blame.
        why: The expectation, or the gate with both values and threshold.
        advice: What to do.
    """

    kind: AlertKind
    about: str
    why: str
    advice: str


@dataclass(frozen=True)
class Alert:
    """What one run gives reason to say; told once per channel, in one piece.

    Attributes:
        id: Equal only for equal events, so that a receiver can tell a repetition.
        project: Name of the project's folder.
        ended: When the run did, UTC.
        link: The run in the web UI.
    """

    id: str
    project: str
    job: str
    run: str
    ended: str
    link: str
    reasons: tuple[Reason, ...]

    def select(self, kinds: list[AlertKind]) -> "Alert | None":
        """Leave out reasons of other kinds; none when nothing is left."""
        reasons = tuple(reason for reason in self.reasons if reason.kind in kinds)
        return replace(self, reasons=reasons) if reasons else None

    @property
    def headline(self) -> str:
        """What, and in which run: one line."""
        kinds = " and ".join(dict.fromkeys(HEADLINES[reason.kind] for reason in self.reasons))
        job = "" if self.job.startswith("__") else f" of {self.job}"  # Dagster's own has no name
        return f"{self.project}: {kinds} in run {self.run[:8]}{job}"

    @property
    def text(self) -> str:
        """Everything, for a person, as plain text."""
        blocks = [f"{one.about}: {_cut(one.why)}\nWhat to do: {one.advice}" for one in self.reasons]
        return "\n\n".join([f"{self.headline}, {self.ended}", *blocks, self.link])


def send_webhook(config: WebhookConfig, alert: Alert) -> None:
    """Send an alert by POST, as JSON.

    Raises:
        DeliveryError: There is no address, no answer, or another one than "taken".
    """
    import httpx  # 0.2 s, which loading the definitions need not take

    url = config.url or _read_variable(config.url_variable or "", "alerts.webhook.url_variable")
    document = {
        "text": html.escape(
            alert.text, quote=False
        ),  # as Slack wants it, lest data become commands
        "id": alert.id,
        "project": alert.project,
        "job": alert.job,
        "run": alert.run,
        "ended": alert.ended,
        "link": alert.link,
        "reasons": [asdict(reason) for reason in alert.reasons],
    }
    # The address may be a secret, and is part of no message.
    try:
        response = httpx.post(url, json=document, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DeliveryError(f"the webhook gave no answer ({type(error).__name__})") from None
    if not response.is_success:
        raise DeliveryError(
            f"the webhook answered {response.status_code} {response.reason_phrase}: "
            f"{response.text[:200]}"
        )


def send_email(config: EmailConfig, alert: Alert, warn: Callable[[str], None]) -> None:
    """Send an alert to all recipients, in one mail.

    Args:
        config: The channel.
        alert: What to send.
        warn: Is told of recipients whom the server refused while it took the mail for others.

    Raises:
        DeliveryError: The password is missing, or the server took the mail for nobody.
    """
    message = EmailMessage()
    message["Subject"] = alert.headline
    message["From"] = config.sender
    message["To"] = ", ".join(config.recipients)
    message["Message-ID"] = f"<{alert.id}@{config.sender.rpartition('@')[2]}>"
    message.set_content(alert.text)
    try:
        with _connect(config) as server:
            if config.user is not None:
                where = "alerts.email.password_variable"
                server.login(config.user, _read_variable(config.password_variable, where))
            refused = server.send_message(message)
    except (smtplib.SMTPException, OSError, UnicodeError) as error:  # SMTP's login is ASCII alone
        raise DeliveryError(
            f"mail server {config.host}:{config.port} did not take it: {error}"
        ) from None
    if refused:
        warn(f"mail server {config.host}:{config.port} refused recipients: {refused}")


def _connect(config: EmailConfig) -> smtplib.SMTP:
    trust = ssl.create_default_context()
    if config.security == "tls":
        return smtplib.SMTP_SSL(config.host, config.port, timeout=TIMEOUT_S, context=trust)
    server = smtplib.SMTP(config.host, config.port, timeout=TIMEOUT_S)
    if config.security == "starttls":
        try:
            server.starttls(context=trust)
        except (smtplib.SMTPException, OSError):
            server.close()
            raise
    return server


def _read_variable(name: str, where: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise DeliveryError(
            f"the environment variable {name} (`{where}` of params.yaml) is not set; start "
            "`make ui` where it is"
        )
    return value


def _cut(text: str) -> str:
    return text if len(text) <= MAX_WHY else f"{text[: MAX_WHY - 1]}…"
