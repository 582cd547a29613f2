"""The real web UI with its daemon, on a small project in git, and a real browser."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
REPOSITORY = Path(__file__).parents[2]
MARK = "MM_BROWSER_TEST"  # a variable that all processes of one server, and their own, inherit
Found = TypeVar("Found")

DVC_YAML = """
stages:
  validate:
    desc: Words, and numbers that are none.
    cmd: python steps.py validate
    deps: [data, steps.py]
    params: [gate]
    outs: [artifacts/pages/validate.html, artifacts/validated, artifacts/reports/validate.json]
    meta:
      dagster:
        {asset: validated_words, group: data, kinds: [python], checks: [rows_are_words]}
  augment:
    desc: Words, each a second time.
    cmd: python steps.py augment
    deps: [artifacts/validated, steps.py]
    outs: [artifacts/augmented]
    meta: {dagster: {asset: augmented_words, group: data}}
  embed:
    foreach: ${modalities}
    do:
      desc: Lengths for ${key}.
      cmd: python steps.py embed ${key}
      deps: [artifacts/augmented, steps.py]
      params: ["modalities.${key}"]
      outs: ["artifacts/embeddings/${key}"]
      meta: {dagster: {asset: "${key}_lengths", group: embeddings}}
  train:
    desc: Their sum.
    cmd: python steps.py train
    deps: [artifacts/embeddings, steps.py]
    params: [pause_s, factor]
    outs: [artifacts/model, artifacts/reports/train.json]
    meta: {dagster: {asset: word_model, group: model}}
"""

PARAMS = """\
gate: 0.5
pause_s: 0
factor: 1.0
modalities: {left: {scale: 1}, right: {scale: 2}}
schedule: {cron: "* * * * *", timezone: UTC}
"""

STEPS = """
import sys, time
from pathlib import Path
from mm_assets.contracts.report import ExpectationResult, StageReport, SuiteResult
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml"))
stage, *key = sys.argv[1:]

def finish(**fields):
    report = StageReport(stage=stage, **fields)
    path = Path("artifacts/reports") / f"{stage}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.model_dump_json())
    sys.exit(3 if report.blocks else 0)

def write(folder, text):
    (Path("artifacts") / folder).mkdir(parents=True)
    (Path("artifacts") / folder / "words.txt").write_text(text)

if stage == "validate":
    rows = Path("data/rows.txt").read_text().split()
    words = [row for row in rows if row.isalpha()]
    write("validated", " ".join(words))
    bad = 1 - len(words) / len(rows)
    Path("artifacts/pages").mkdir(exist_ok=True)
    Path("artifacts/pages/validate.html").write_text(f"<h1>{len(words)} words</h1>")
    result = ExpectationResult(
        expectation="share_at_most_gate", column="word", success=bad <= params["gate"],
        expected=f"at most {params['gate']:.0%} broken", observed=f"{bad:.0%}",
    )
    finish(rows_in=len(rows), rows_out=len(words), metrics={"broken_share": bad},
        suites=(SuiteResult(name="rows_are_words", results=(result,)),))
if stage == "augment":
    write("augmented", 2 * (Path("artifacts/validated/words.txt").read_text() + " "))
if stage == "embed":
    scale = params["modalities"][key[0]]["scale"]
    words = Path("artifacts/augmented/words.txt").read_text().split()
    write(f"embeddings/{key[0]}", " ".join(str(scale * len(word)) for word in words))
if stage == "train":
    print("pausing", flush=True)
    time.sleep(params["pause_s"])
    numbers = [
        int(number)
        for file in sorted(Path("artifacts/embeddings").glob("*/words.txt"))
        for number in file.read_text().split()
    ]
    write("model", str(sum(numbers)))
    finish(rows_in=len(numbers), rows_out=1,
        metrics={"accuracy": 1 - 1 / (1 + params["factor"] * sum(numbers))})
"""


def wait_for(find: Callable[[], Found], what: str, timeout_s: float = 60) -> Found:
    """Ask again until the answer is true, and give it."""
    deadline = time.monotonic() + timeout_s
    while not (found := find()):
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} s"
        time.sleep(0.2)
    return found


def find_free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def commit_all(root: Path) -> None:
    """Put a new project into git and its `data/` into DVC."""
    for command in (
        ["git", "init", "-q"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        [sys.executable, "-m", "dvc", "config", "core.analytics", "false"],
        [sys.executable, "-m", "dvc", "add", "-q", "data"],
        ["git", "add", "."],
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "As it began"],
    ):
        subprocess.run(command, cwd=root, check=True)


class Server:
    """`python -m orchestration ui` on a project, and what it says over GraphQL.

    Args:
        root: Of the project.
        folder: Where it keeps what it remembers, and its log.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.mark = uuid.uuid4().hex
        self.env = {
            **os.environ,
            MARK: self.mark,
            "MM_PROJECT": str(root),
            "DAGSTER_HOME": str(folder / "home"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        port, pages_port = find_free_ports(2)
        ports = ["--port", str(port), "--pages-port", str(pages_port)]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "server.log"
        # A connection that is kept may be closed by the server, after 5 s, just when it is used.
        self.client = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0))
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestration", "ui", *ports],
                cwd=REPOSITORY,
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Else it could not be stopped where pytest itself runs in the background.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                return bool(self.ask("{assetNodes {id}}")["assetNodes"])
            except (httpx.HTTPError, KeyError):
                return False

        wait_for(is_ready, "web UI", timeout_s=120)

    def ask(self, query: str, **variables: object) -> dict:
        answer = self.client.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}
        ).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def runs(self) -> list[dict]:
        """All runs, the newest first."""
        found = self.ask("{runsOrError {... on Runs {results {runId jobName status}}}}")
        return found["runsOrError"]["results"]

    def run_ids(self) -> set[str]:
        return {run["runId"] for run in self.runs()}

    def wait_for_run(self, status: str, known: set[str]) -> str:
        """Wait until a run that was not known has this status, and give its id."""

        def find() -> str | None:
            new = [run for run in self.runs() if run["runId"] not in known]
            return next((run["runId"] for run in new if run["status"] == status), None)

        return wait_for(find, f"run with status {status}", timeout_s=120)

    def switch_on(self, sensor: str) -> None:
        """Start a sensor, as the switch beside its name does."""
        query = (
            "mutation($sensor: SensorSelector!) {startSensor(sensorSelector: $sensor)"
            " {... on Sensor {sensorState {status}} ... on PythonError {message}}}"
        )
        place = {
            "repositoryLocationName": "orchestration.definitions",
            "repositoryName": "__repository__",
        }
        answer = self.ask(query, sensor={**place, "sensorName": sensor})["startSensor"]
        assert answer == {"sensorState": {"status": "RUNNING"}}, answer

    def steps(self, run: str) -> list[dict]:
        query = (
            "query($run: ID!) {runOrError(runId: $run) {... on Run {stepStats {stepKey status}}}}"
        )
        return self.ask(query, run=run)["runOrError"]["stepStats"]

    def dvc(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(
            command, cwd=self.root, env=self.env, check=True, capture_output=True, text=True
        )
        return done.stdout

    wait_for = staticmethod(wait_for)

    def processes(self, part: str = "") -> list[str]:
        """Command lines of processes that this server or its browser has started."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark:
                    found.append(" ".join(process.cmdline()))
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return [line for line in found if part in line]

    def stop(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise


class Words(Server):
    """On a project of four stages that count words."""

    def __init__(self, folder: Path) -> None:
        root = folder / "words"
        (root / "data").mkdir(parents=True)
        (root / "data" / "rows.txt").write_text("one two three 4")
        files = {"dvc.yaml": DVC_YAML, "params.yaml": PARAMS, "steps.py": STEPS}
        for name, text in {**files, ".gitignore": "/artifacts/\n/data\n/.dagster/\n"}.items():
            (root / name).write_text(text)
        commit_all(root)
        super().__init__(root, folder)

    def edit(self, **params: float) -> None:
        """Set some keys at the top of params.yaml, and all others as they were at first."""
        lines = PARAMS.splitlines()
        changed = [
            f"{key}: {params[key]}" if (key := line.partition(":")[0]) in params else line
            for line in lines
        ]
        (self.root / "params.yaml").write_text("\n".join(changed) + "\n")


@contextmanager
def stopping(server: Server) -> Iterator[Server]:
    """Stop a server after the block, and see that nothing of it is left."""
    try:
        yield server
    finally:
        server.stop()
    wait_for(lambda: not server.processes(), "end of all processes")


@contextmanager
def browse(env: dict[str, str]) -> Iterator[Page]:
    """Open a page of a headless Chromium, which ends with this block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, env=env)
        try:
            page = browser.new_page(viewport={"width": 1600, "height": 900})
            page.set_default_timeout(30_000)  # two loaded cores
            yield page
        finally:
            browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Words]:
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM} (Debian's package chromium)")
    with stopping(Words(tmp_path_factory.mktemp("browser"))) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Page]:
    with browse(server.env) as page:
        yield page
    wait_for(lambda: not server.processes("chromium"), "end of the browser")


@pytest.fixture
def photograph(request: pytest.FixtureRequest, page: Page, tmp_path: Path) -> Iterator[None]:
    """Take a picture of what a person sees when the test ends: `MM_SCREENSHOTS`, else `tmp_path`."""
    yield
    folder = Path(os.environ.get("MM_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{request.node.name}.png")
