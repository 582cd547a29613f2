"""Alerts on their way to receivers that really listen."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from mm_assets.contracts.config import EmailConfig, WebhookConfig
from orchestration.alerts import Alert, DeliveryError, Reason, send_email, send_webhook

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")  # of aiosmtpd, over TLS

REFUSAL = Reason(
    "refusal",
    "champion",
    "candidate_is_not_worse: mood: candidate 0.7, needed at least 0.87",
    "nothing at once",
)
FAILURE = Reason("failure", "fusion_model", "expected <channel> & got none", "mend it")
ALERT = Alert(
    id="f00dcafe-1.7",
    project="shop",
    job="retrain",
    run="f00dcafe-1",
    ended="2026-01-02 03:04 UTC",
    link="http://ui/runs/f00dcafe-1",
    reasons=(FAILURE, REFUSAL),
)
TEXT = """\
shop: failed run and candidate refused in run f00dcafe of retrain, 2026-01-02 03:04 UTC

fusion_model: expected <channel> & got none
What to do: mend it

champion: candidate_is_not_worse: mood: candidate 0.7, needed at least 0.87
What to do: nothing at once

http://ui/runs/f00dcafe-1"""


def configure(mail, **options):
    return EmailConfig(
        host="127.0.0.1",
        port=mail.port,
        sender="mm@example.org",
        recipients=["ann@example.org", "bob@example.org"],
        **{"security": "none", **options},
    )


def send(config):
    heard = []
    send_email(config, ALERT, heard.append)
    return heard


def test_the_text_says_what_why_which_run_and_what_to_do():
    assert ALERT.text == TEXT


def test_a_channel_gets_the_kinds_it_asked_for():
    assert ALERT.select(["refusal", "drift"]).reasons == (REFUSAL,)
    assert ALERT.select(["drift"]) is None


def test_a_reason_of_any_length_stays_a_message():
    long = Alert(**{**vars(ALERT), "reasons": (Reason("failure", "a", "x" * 10_000, "b"),)})
    assert len(long.text) < 2300


def test_a_webhook_gets_text_for_slack_and_the_parts_for_programs(webhook):
    send_webhook(WebhookConfig(url=webhook.url), ALERT)
    [document] = webhook.documents
    # https://docs.slack.dev/messaging/formatting-message-text: these three are control characters.
    assert "expected &lt;channel&gt; &amp; got none" in document["text"]
    assert document["reasons"][0] == vars(FAILURE)
    assert (document["id"], document["link"]) == (ALERT.id, ALERT.link)


@pytest.mark.parametrize(
    ("status", "message"), [(404, "answered 404 Not Found: no such"), (302, "answered 302")]
)
def test_another_answer_than_taken_is_an_error_that_keeps_the_address_secret(
    webhook, status, message
):
    webhook.answers = [status]
    with pytest.raises(DeliveryError, match=message) as raised:
        send_webhook(WebhookConfig(url=webhook.url), ALERT)
    assert "secret" not in str(raised.value)
    assert webhook.documents == []


def test_nobody_listening_is_an_error_that_keeps_the_address_secret():
    with pytest.raises(DeliveryError, match=r"gave no answer \(ConnectError\)") as raised:
        send_webhook(WebhookConfig(url="http://127.0.0.1:1/secret"), ALERT)
    assert "secret" not in str(raised.value)


def test_an_address_may_come_from_the_environment(webhook, monkeypatch):
    config = WebhookConfig(url_variable="SHOP_HOOK")
    with pytest.raises(DeliveryError, match=r"SHOP_HOOK .*url_variable.* is not set"):
        send_webhook(config, ALERT)
    monkeypatch.setenv("SHOP_HOOK", webhook.url)
    send_webhook(config, ALERT)
    assert len(webhook.documents) == 1


@pytest.mark.parametrize("given", [{}, {"url": "http://a", "url_variable": "A"}])
def test_a_webhook_has_exactly_one_address(given):
    with pytest.raises(ValidationError, match="give either `url`, or"):
        WebhookConfig(**given)


def test_one_mail_reaches_all_recipients(serve_mail):
    mail = serve_mail()
    assert send(configure(mail)) == []
    [message] = mail.mails
    assert mail.envelopes == [("ann@example.org", "bob@example.org")]
    assert message["Subject"] == "shop: failed run and candidate refused in run f00dcafe of retrain"
    assert message["Message-ID"] == "<f00dcafe-1.7@example.org>"
    assert message.get_content().replace("\r\n", "\n").strip() == TEXT


def test_a_server_that_takes_it_for_some_is_not_asked_again_and_the_rest_is_named(serve_mail):
    mail = serve_mail()
    mail.answers = ["550 unknown", "250"]
    [warning] = send(configure(mail))
    assert "ann@example.org" in warning
    assert mail.envelopes == [("bob@example.org",)]


def test_a_server_that_takes_it_for_nobody_is_an_error(serve_mail):
    mail = serve_mail()
    mail.answers = ["451 later"] * 2
    with pytest.raises(DeliveryError, match=r"did not take it: .*451"):
        send(configure(mail))


def test_no_server_is_an_error(serve_mail):
    mail = serve_mail()
    config = configure(mail)
    config = config.model_copy(update={"port": 1})
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1:1 did not take it: .*refused"):
        send(config)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a certificate for 127.0.0.1 that nobody but this test trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


@pytest.fixture
def tls(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(params=["starttls", "tls"])
def secured(request, serve_mail, tls):
    """A mail server that wants encryption and a password, and how to speak to it."""
    options = {
        "starttls": {"tls_context": tls, "require_starttls": True},
        "tls": {"ssl_context": tls, "auth_require_tls": False},  # nothing is heard there without
    }
    mail = serve_mail(
        **options[request.param],
        auth_required=True,
        authenticator=lambda *given: mail.check_password(*given),
    )
    return mail, configure(mail, security=request.param, user="robot", password_variable="SHOP_PW")


def test_encryption_and_password_are_used(secured, certificate, monkeypatch):
    mail, config = secured
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SHOP_PW", "sesame")
    send(config)
    assert len(mail.mails) == 1


@pytest.mark.parametrize(("password", "message"), [("wrong", "535"), ("sésame", "ascii")])
def test_a_wrong_password_is_an_error(secured, certificate, monkeypatch, password, message):
    mail, config = secured
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SHOP_PW", password)
    with pytest.raises(DeliveryError, match=message):
        send(config)
    assert mail.mails == []


def test_an_unknown_certificate_gets_no_password(secured, monkeypatch):
    mail, config = secured
    monkeypatch.setenv("SHOP_PW", "sesame")
    with pytest.raises(DeliveryError, match="certificate verify failed"):
        send(config)
    assert mail.mails == []


def test_a_missing_password_names_its_variable(serve_mail, tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    config = configure(serve_mail(ssl_context=tls), security="tls", user="robot")
    with pytest.raises(DeliveryError, match=r"MM_SMTP_PASSWORD .*password_variable.* is not set"):
        send(config)


def test_a_password_is_never_sent_in_the_clear(serve_mail):
    with pytest.raises(ValidationError, match="in the clear; set `security: starttls`"):
        configure(serve_mail(), user="robot")
