"""A small DVC project of four stages, each a real process that writes a real report."""

from __future__ import annotations

import email
import email.policy
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

DVC_YAML = """
stages:
  validate:
    desc: Rows that are words.
    cmd: python steps.py validate
    deps: [data, steps.py]
    params: [gate]
    outs: [artifacts/pages/validate.html, artifacts/validated, artifacts/reports/validate.json]
    meta:
      dagster:
        asset: validated
        group: data
        kinds: [python]
        owners: ["team:data"]
        checks: [rows_are_words]
  embed:
    foreach: ${modalities}
    do:
      desc: Lengths for ${key}.
      cmd: python steps.py embed ${key}
      deps: [artifacts/validated, steps.py]
      params: ["modalities.${key}"]
      outs: ["artifacts/embeddings/${key}", "artifacts/reports/embed/${key}.json"]
      meta:
        dagster: {asset: "${key}_lengths", checks: [lengths_are_positive]}
  train:
    cmd: python steps.py train
    deps: [artifacts/embeddings, steps.py]
    outs: [artifacts/model]
"""

PARAMS = """
gate: 0.5
modalities: {left: {scale: 1}, right: {scale: 2}}
schedule: {cron: "0 3 * * *", timezone: UTC}
"""

STEPS = """
import base64, sys
from pathlib import Path
from mm_assets.contracts.report import ExpectationResult, Plot, StageReport, SuiteResult, Table
from ruamel.yaml import YAML

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

def suite(name, success, severity="error"):
    result = ExpectationResult(expectation="share_at_most_gate", column="word", success=success,
        severity=severity, expected="at most gate", observed="more" if not success else "less")
    return SuiteResult(name=name, description="What must hold.", results=(result,))

def write_report(stage, **fields):
    path = Path("artifacts/reports") / (stage.replace("@", "/") + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    report = StageReport(stage=stage, **fields)
    path.write_text(report.model_dump_json())
    sys.exit(3 if report.blocks else 0)

stage, *key = sys.argv[1:]
with open("runs.log", "a") as log:
    log.write("@".join([stage, *key]) + "\\n")
params = YAML(typ="safe").load(Path("params.yaml"))
if stage == "validate":
    rows = Path("data/rows.txt").read_text().split()
    kept = [row for row in rows if row.isalpha()]
    out = Path("artifacts/validated")
    out.mkdir(parents=True)
    (out / "rows.txt").write_text("\\n".join(kept))
    (out / "dot.png").write_bytes(base64.b64decode(PIXEL))
    (out / "page.html").write_text("<p>rows</p>")
    Path("artifacts/pages").mkdir(exist_ok=True)
    Path("artifacts/pages/validate.html").write_text("<p>checks</p>")
    bad = 1 - len(kept) / len(rows)
    print("counting\\rcounted", len(rows))
    if "boom" in rows:
        sys.exit("error: rows.txt explodes")
    write_report("validate", rows_in=len(rows), rows_out=len(kept),
        metrics={"bad_share": bad, "kept": len(kept), "language": "none"},
        suites=(suite("rows_are_words", bad <= params["gate"]),),
        plots=(Plot(title="dot", path="artifacts/validated/dot.png"),),
        tables=(Table(title="reasons", columns=("reason", "rows"), rows=(("not a word", 1), (None, 0))),))
if stage == "embed":
    rows = Path("artifacts/validated/rows.txt").read_text().split()
    scale = params["modalities"][key[0]]["scale"]
    out = Path("artifacts/embeddings") / key[0]
    out.mkdir(parents=True)
    (out / "lengths.txt").write_text(" ".join(str(scale * len(row)) for row in rows))
    write_report(f"embed@{key[0]}", rows_in=len(rows), rows_out=len(rows),
        suites=(suite("lengths_are_positive", scale > 0, "warning"),))
if stage == "train":
    files = sorted(Path("artifacts/embeddings").glob("*/lengths.txt"))
    out = Path("artifacts/model")
    out.mkdir(parents=True)
    (out / "model.txt").write_text("|".join(file.read_text() for file in files))
"""


class Shell:
    """A person at a shell in the project's root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def dvc(self, *arguments: str, status: int = 0) -> str:
        process = self.start(*arguments)
        output = process.communicate()[0]
        assert process.returncode == status, output
        return output

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.root / file).read_text()
        assert old in text
        (self.root / file).write_text(text.replace(old, new))

    def runs(self) -> list[str]:
        """Stages whose code ran since the last call, in order."""
        log = self.root / "runs.log"
        lines = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("template") / "project"
    (root / "data").mkdir(parents=True)
    (root / "data" / "rows.txt").write_text("one two three 4")
    for name, text in (("dvc.yaml", DVC_YAML), ("params.yaml", PARAMS), ("steps.py", STEPS)):
        (root / name).write_text(text)
    shell = Shell(root)
    shell.dvc("init", "--no-scm", "-q")
    (root / ".dvc" / "config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n    no_scm = True\n"
    )
    shell.dvc("add", "-q", "data")
    return root


@pytest.fixture(scope="session")
def finished_template(template, tmp_path_factory):
    root = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(template, root)
    Shell(root).dvc("repro", "-q")
    Shell(root).runs()
    return root


@pytest.fixture
def shell(template, tmp_path, monkeypatch):
    """A project in which nothing has run yet."""
    return copy_project(template, tmp_path, monkeypatch)


@pytest.fixture
def finished(finished_template, tmp_path, monkeypatch):
    """A project in which `dvc repro` has run at the shell."""
    return copy_project(finished_template, tmp_path, monkeypatch)


def copy_project(template, tmp_path, monkeypatch):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    monkeypatch.setenv("MM_PROJECT", str(root))
    return Shell(root)


@pytest.fixture
def root(shell):
    return shell.root


class Dagster:
    """The Dagster door to the project, with an instance of its own."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def definitions(self) -> dg.Definitions:
        from orchestration.definitions import defs

        return defs()

    def materialize_all(self) -> dg.ExecuteInProcessResult:
        job = self.definitions().resolve_job_def("pipeline")
        return job.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config={"loggers": {"compact": {}}},
        )

    def last(self, asset: str) -> dg.AssetMaterialization | None:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(asset))
        return event.asset_materialization if event else None

    def staleness(self) -> dict[str, str]:
        """What the web UI says of each asset: FRESH, STALE or MISSING."""
        graph = self.definitions().resolve_asset_graph()
        resolver = CachingStaleStatusResolver(
            self.instance, graph, LoadingContextForTest(self.instance)
        )
        return {
            key.to_user_string(): resolver.get_status(key).value
            for key in graph.get_all_asset_keys()
            if graph.get(key).group_name != "actions"
        }


@pytest.fixture
def dagster():
    with dg.DagsterInstance.ephemeral() as instance:
        yield Dagster(instance)


class WebhookReceiver(ThreadingHTTPServer):
    """Keeps what is posted to it; answers 200, or first what `answers` says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.answers: list[int] = []
        self.documents: list[dict] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hook/secret"


class Answering(BaseHTTPRequestHandler):
    def do_POST(self):
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.documents.append(document)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(b"no such channel" if status >= 400 else b"")

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def webhook():
    with WebhookReceiver() as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


class MailReceiver:
    """Keeps the mails that it takes; refuses with `answers`, one a recipient, until none is left."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.mails: list[email.message.EmailMessage] = []
        self.envelopes: list[tuple[str, ...]] = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.answers and (answer := self.answers.pop(0)) != "250":
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append(message)
        self.envelopes.append(tuple(envelope.rcpt_tos))
        return "250 OK"

    @staticmethod
    def check_password(_server, _session, _envelope, _mechanism, data):
        known = (data.login, data.password) == (b"robot", b"sesame")
        return AuthResult(success=known, handled=False)  # aiosmtpd says so to the client


@pytest.fixture
def serve_mail():
    """Start a mail server on a free port: `serve_mail(...)` with aiosmtpd's own options."""
    started = []

    def serve(**options):
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        receiver = MailReceiver()
        controller = Controller(receiver, hostname="127.0.0.1", port=port, **options)
        controller.start()
        started.append(controller)
        receiver.port = port
        return receiver

    yield serve
    for controller in started:
        controller.stop()
