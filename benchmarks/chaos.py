"""Kills what runs the pipeline, at random moments, and looks whether anything was lost.

    python benchmarks/chaos.py --kills 60 --seed 0

It makes a small project, runs it undisturbed, and then again and again through Dagster (web server,
daemon, code server and run workers, as `python -m orchestration ui` starts them), each time from
another point on. Each time one of them, the stage, DVC, or everything gets SIGKILL. Then the servers are
started again if they are gone, as a supervisor would, and the next run must complete: the one that the
daemon tries by itself, or after a failed stage one that is launched as by a click on *Materialize all*.
Nothing is mended by hand in between. It then requires that

- every out equals that of the undisturbed run (bytes; of numbers 1e-5),
- `dvc status` has nothing to say, and no file in DVC's cache has other bytes than its name says,
- no stage ran again that `dvc.lock` had recorded when the kill came,
- no process of the run is left, and no run of Dagster's is unfinished.

With `--project retrain` it is job `retrain` that is killed, in a git repository, from nothing on or where
DVC's cache has every out, so that most of the time goes into preparing, promoting and committing. Of
what is said above the worktree is meant then, and further required are: one commit that names a run, the
person's branch, `git status` and files as they were, registries that can be read, and a champion, that
of the undisturbed run, which `registry/champion` serves.

It prints a line per kill and exits with 1 if any of that did not hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath

import dagster as dg
import numpy as np
import psutil
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
from ruamel.yaml import YAML

from mm_assets.contracts.workspace import Workspace
from mm_assets.registry.git import run_git
from mm_assets.registry.record import read_registry

REPOSITORY = Path(__file__).parents[1]
MARK = "MM_CHAOS"  # a variable that every process of one session has in its environment
KINDS = ("stage", "dvc", "step", "run worker", "daemon", "everything")
JOBS = ("one_process", "parallel")
SERVERS = ("dev", "web server", "daemon", "code server")
START_S, PATIENCE_S = 180.0, 900.0
LEFT_S = 20.0  # in which what a killed process had started must have ended

# Every stage's command goes through this, which notes that it was started.
START = 'echo "$DVC_STAGE" >> starts.log; exec "$@"\n'

IGNORED = "/artifacts/\n/data\n/starts.log\n__pycache__/\n"

DEFINITIONS = """
import dagster as dg
from orchestration import definitions as product
from orchestration.dvc_stages import project_root, read_stages
from orchestration.reconcile import record_process

keys = [dg.AssetKey.from_user_string(stage.asset) for stage in read_stages(project_root())]
pipeline = dg.AssetSelection.assets(*keys)
preloaded = {"preload_modules": ["dagster", "dvc.repo", "orchestration.definitions"]}
parallel = dg.multiprocess_executor.configured(
    {"max_concurrent": 2, "start_method": {"forkserver": preloaded}}
)

@dg.definitions
def defs():
    jobs = [
        dg.define_asset_job("one_process", pipeline, executor_def=record_process(dg.in_process_executor)),
        dg.define_asset_job("parallel", pipeline, executor_def=record_process(parallel)),
    ]
    return dg.Definitions.merge(product.defs(), dg.Definitions(jobs=jobs))
"""

WORDS_YAML = """
stages:
  clean:
    cmd: sh start.sh python steps.py data/words.txt artifacts/clean
    deps: [data, steps.py]
    outs: [artifacts/clean]
  embed:
    foreach: ${modalities}
    do:
      cmd: sh start.sh python steps.py artifacts/clean artifacts/embeddings/${key}
      deps: [artifacts/clean, steps.py]
      params: ["modalities.${key}"]
      outs: ["artifacts/embeddings/${key}"]
  train:
    cmd: sh start.sh python steps.py artifacts/embeddings artifacts/model
    deps: [artifacts/embeddings, steps.py]
    outs: [artifacts/model]
  card:
    cmd: sh start.sh python steps.py artifacts/model artifacts/card
    deps: [artifacts/model, steps.py]
    outs: [artifacts/card]
"""

# Many small files written slowly, so that a kill meets them half-written.
WORDS_STEPS = """
import hashlib, sys, time
from pathlib import Path, PurePosixPath

source, out = map(Path, sys.argv[1:])
files = sorted(source.rglob("*.txt")) if source.is_dir() else [source]
text = "".join(file.read_text() for file in files)
out.mkdir(parents=True)
for n in range(10):
    with open(out / f"{n}.txt", "w") as file:
        for m in range(10):
            file.write(hashlib.md5(f"{out.name} {n} {m} {text}".encode()).hexdigest() + "\\n")
            file.flush()
            time.sleep(0.005)
"""

REAL_PARAMS = {
    "version": 2,
    "seed": 3,
    "data": {"table": "samples.csv", "id": "id", "group": "who"},
    "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
    "modalities": {
        "words": {"kind": "text", "column": "words", "encoder": {"name": "hashed_ngrams"}},
        "vector": {
            "kind": "features",
            "column": "vector",
            "encoder": {"name": "standardized"},
            "options": {"dim": 3},
        },
    },
    "targets": {"mood": {"kind": "multiclass", "column": "mood", "classes": ["glad", "sad"]}},
    "expectations": {},
    "augment": {"copies": 0},
    "fusion": {"name": "gated"},
    "train": {"epochs": 10, "seeds": 1},
    "evaluation": {"slices": [], "bootstrap": 100, "noise_rows": 0, "attributed_rows": 0},
    "export": {"enabled": True},
    "gates": {"quarantined_share": 0.5},
    "promotion": {"rows": 10},
    "schedule": {"cron": "0 3 * * *", "timezone": "UTC"},
}


class LostError(Exception):
    """Something that a crash must not take was taken."""


def make_words(root: Path) -> None:
    """Make a project of five stages that take half a second each and need no library."""
    (root / "data").mkdir(parents=True)
    (root / "data" / "words.txt").write_text("one two three", encoding="utf-8")
    (root / "dvc.yaml").write_text(WORDS_YAML, encoding="utf-8")
    (root / "steps.py").write_text(WORDS_STEPS, encoding="utf-8")
    params = {"modalities": {"left": 1, "right": 2}, "schedule": REAL_PARAMS["schedule"]}
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(params, file)


def make_real(root: Path) -> None:
    """Make a project with this repository's own pipeline, on 90 rows and encoders that cost nothing."""
    (root / "data").mkdir(parents=True)
    rng = np.random.default_rng(0)
    moods = {"glad": ["great", "happy", "love"], "sad": ["broken", "angry", "late"]}
    lines = ["id,who,words,vector,mood"]
    for n in range(90):
        mood = str(rng.choice(list(moods)))
        words = "" if n % 7 == 0 else " ".join(rng.choice(moods[mood], 3)) + f" {n}"
        vector = (rng.normal(size=3) + (2 if mood == "sad" else -2)).round(4).tolist()
        cell = "" if n % 5 == 0 else '"' + json.dumps(vector) + '"'
        lines.append(f"s{n},g{n // 2},{words},{cell},{mood}")
    (root / "data" / "samples.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(REAL_PARAMS, file)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "mm_assets", root / "mm_assets", ignore=ignored)
    shutil.copy(REPOSITORY / ".dvcignore", root)
    text = (REPOSITORY / "dvc.yaml").read_text(encoding="utf-8")
    text = text.replace("cmd: mm stage", "cmd: sh start.sh mm stage")
    (root / "dvc.yaml").write_text(text, encoding="utf-8")


PROJECTS: dict[str, Callable[[Path], None]] = {
    "words": make_words,
    "real": make_real,
    "retrain": make_real,
}


class Session:
    """One project, Dagster around it, and all their processes, which end with the block.

    Attributes:
        root: The project that is disturbed.
        outs: What the stages write.
        targets: The stages, in order.
        snapshots: What the project is like before each stage, and at last when all is done.
        waits_s: Seconds that the undisturbed run took from each snapshot on.
        jobs: That are launched.
    """

    jobs: Sequence[str] = JOBS

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "project"
        self.home, self.token = folder / "dagster", uuid.uuid4().hex
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        self.env = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(REPOSITORY),
            "MM_PROJECT": str(self.root),
            "DAGSTER_HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            MARK: self.token,
        }
        self.port = find_free_port()
        self.outs: list[PurePosixPath] = []
        self.targets: list[str] = []
        self.snapshots: list[Path] = []
        self.waits_s: list[float] = []

    @property
    def tree(self) -> Path:
        """Where stages run."""
        return self.root

    @property
    def good(self) -> Path:
        """What that is like after the undisturbed run."""
        return self.snapshots[-1]

    def make(self, kind: str) -> None:
        """Make the project and run it undisturbed, stage by stage."""
        from orchestration.dvc_stages import read_stages

        PROJECTS[kind](self.root)
        (self.root / "start.sh").write_text(START, encoding="utf-8")
        (self.root / ".gitignore").write_text(IGNORED, encoding="utf-8")
        self.home.mkdir()
        shutil.copy(REPOSITORY / "orchestration" / "dagster.yaml", self.home)
        (self.folder / "chaos_definitions.py").write_text(DEFINITIONS, encoding="utf-8")
        self.init()
        self.dvc("config", "core.analytics", "false")
        self.dvc("add", "-q", "data")
        stages = [stage for stage in read_stages(self.root) if not stage.is_source]
        order = []
        while stages:  # those that no other one feeds, first
            ready = [
                one for one in stages if not any(o is not one and o.feeds(one) for o in stages)
            ]
            order += ready
            stages = [one for one in stages if one not in ready]
        self.outs = [out for stage in order for out in stage.outs]
        self.run_undisturbed([stage.target for stage in order])

    def init(self) -> None:
        """Make DVC's folder, and what it rests on."""
        self.dvc("init", "-q", "--no-scm")

    def run_undisturbed(self, targets: list[str]) -> None:
        """Run the stages, and keep what the project is like before each of them."""
        took_s = []
        for target in targets:
            self.keep()
            started_s = time.monotonic()
            self.dvc("repro", "-q", "--single-item", target)
            took_s.append(time.monotonic() - started_s)
        self.keep()
        self.waits_s = [sum(took_s[n:]) for n in range(len(took_s))]
        self.targets = targets

    def check(self) -> None:
        """Require what this kind of session alone does."""

    def keep(self) -> None:
        """Take a snapshot."""
        kept = self.folder / f"before_{len(self.snapshots)}"
        shutil.copytree(self.root, kept, symlinks=True)
        self.snapshots.append(kept)

    def reset(self, number: int) -> None:
        """Put the project back to where it was before a stage of the undisturbed run."""
        shutil.rmtree(self.root)
        shutil.copytree(self.snapshots[number], self.root, symlinks=True)

    def dvc(self, *arguments: str) -> str:
        """Run DVC in the project, as a person would.

        Raises:
            LostError: It failed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.tree if self.tree.is_dir() else self.root,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode != 0:
            raise LostError(f"dvc {' '.join(arguments)} failed:\n{done.stdout}")
        return done.stdout

    # Servers

    def start(self) -> None:
        """Start Dagster as `python -m orchestration ui` does, unless it runs."""
        if {"web server", "daemon"} <= set(self.find().values()) and self._answers():
            return
        self.kill_all(servers_only=True)
        with (self.folder / "dagster.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, __file__, "--serve", str(self.port)],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, f"the web server; see {self.folder / 'dagster.log'}", START_S)

    def _answers(self) -> bool:
        try:
            client = DagsterGraphQLClient("127.0.0.1", port_number=self.port)
            return bool(client._get_repo_locations_and_names_with_pipeline(JOBS[0]))
        except (DagsterGraphQLClientError, OSError):
            return False

    def launch(self, job: str) -> str:
        """Launch a run as the web UI does; give its id."""
        client = DagsterGraphQLClient("127.0.0.1", port_number=self.port)
        run_id: str = client.submit_job_execution(job)
        return run_id

    def status(self, run_id: str) -> dg.DagsterRun:
        """Read a run from storage."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            run = instance.get_run_by_id(run_id)
        assert run is not None
        return run

    # Processes

    def find(self) -> dict[psutil.Process, str]:
        """List this session's processes with what each of them is."""
        ours: dict[psutil.Process, tuple[list[str], dict[str, str], int]] = {}
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                environment = process.environ()
                if environment.get(MARK) == self.token:
                    ours[process] = process.cmdline(), environment, process.ppid()
            except psutil.Error:
                continue
        found = {process: name_process(command, env) for process, (command, env, _) in ours.items()}
        named = {process.pid: what for process, what in found.items()}
        for what, parent in (
            ("run worker", "code server"),
            ("fork server", "run worker"),
            ("step", "fork server"),
        ):
            for process, (_, _, ppid) in ours.items():
                if found[process] == "spawned" and named.get(ppid) == parent:
                    found[process] = named[process.pid] = what
        return found

    def kill_all(self, *, servers_only: bool = False) -> None:
        """Kill this session's processes, and those that they start meanwhile."""
        while victims := [
            process for process, what in self.find().items() if not servers_only or what in SERVERS
        ]:
            for process in victims:
                kill(process)
            time.sleep(0.1)


class Retraining(Session):
    """One whose runs work in the worktree of retraining, beside a person's git repository."""

    jobs = ("retrain",)

    @property
    def tree(self) -> Path:
        """The worktree."""
        return Workspace(self.root).retraining

    @property
    def good(self) -> Path:
        """The worktree after the undisturbed run."""
        return Workspace(self.snapshots[-1]).retraining

    def git(self, *arguments: str) -> str:
        """Run git in the person's tree."""
        return run_git(self.root, *arguments)

    def init(self) -> None:
        """Make a git repository, and DVC's folder in it."""
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Ada")
        self.git("config", "user.email", "ada@example.org")
        self.dvc("init", "-q")

    def run_undisturbed(self, targets: list[str]) -> None:
        """Commit the project, and retrain from nothing and then from DVC's cache.

        Raises:
            LostError: That fails.
        """
        self.git("add", ".")
        self.git("commit", "-qm", "The project")
        self.keep()
        for what in ("nothing", "cache"):
            self.start()
            started_s = time.monotonic()
            run = wait_for_end(self, self.launch("retrain"))
            if not run.is_success:
                raise LostError(f"the undisturbed run is {run.status.value}\n{explain(self, run)}")
            self.waits_s.append(time.monotonic() - started_s)
            self.targets.append(what)
            if what == "nothing":
                cache = self.folder / "cache"
                shutil.copytree(self.root / ".dvc" / "cache", cache)
                self.reset(0)
                shutil.rmtree(self.root / ".dvc" / "cache", ignore_errors=True)
                cache.rename(self.root / ".dvc" / "cache")
            self.keep()
        self.check()

    def check(self) -> None:
        """Require one commit, a champion that is served, and the person's tree as it was.

        Raises:
            LostError: Something else is there.
        """
        made = self.git("log", "--format=%s", "--grep=^Dagster run: ", "retraining").splitlines()
        if len(made) != 1:
            raise LostError(f"there must be one commit of a run, and there are: {made}")
        if said := self.git("status", "--porcelain") or run_git(self.tree, "status", "--porcelain"):
            raise LostError(f"git status says:\n{said}")
        if self.git("log", "--format=%s", "HEAD") != "The project":
            raise LostError("the person's branch has moved")
        read_registry(Workspace(self.root).registry)
        champion = read_registry(Workspace(self.tree).registry).champion
        served = Workspace(self.root).registry / "champion"
        if champion is None or served.resolve().name != champion:
            raise LostError(f"{champion} is the champion, and {served.resolve().name} is served")
        for name in list_files(self.good / "artifacts" / "onnx"):
            if (served / name).read_bytes() != (self.good / "artifacts/onnx" / name).read_bytes():
                raise LostError(f"{name} of the champion is not that of the undisturbed run")


def name_process(command: list[str], environment: dict[str, str]) -> str:
    """Say what a process is, from its command line and environment."""
    line = " ".join(command)
    if not command:  # about to end
        return "helper"
    if "DVC_STAGE" in environment:
        return "stage"
    if Path(command[0]).name in ("sh", "cat", "sleep", "tail"):
        return "helper"
    for sign, what in (
        ("watch_orphans", "log"),  # what Dagster starts beside a step, to show its output
        ("orchestration.dvc_process", "dvc"),
        ("dagster code-server start", "code server"),
        ("dagster api grpc", "code server"),
        ("dagster._daemon", "daemon"),
        ("dagster_webserver", "web server"),
        ("dagster dev", "dev"),
        ("--serve", "dev"),
        ("resource_tracker", "tracker"),
        ("multiprocessing.forkserver", "spawned"),
        ("multiprocessing.spawn", "spawned"),
    ):
        if sign in line:
            return what
    return f"other: {line[:200]}"


def kill(process: psutil.Process) -> None:
    """Send SIGKILL to a process that may have ended."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait for a condition.

    Raises:
        LostError: It does not come.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise LostError(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(0.25)


def find_free_port() -> int:
    """Ask the system for a port that nobody uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def disturb(session: Session, draw: random.Random, kind: str) -> str:
    """Run, kill, and see to it that the next run completes with nothing lost; tell what happened.

    Raises:
        LostError: Something was lost.
    """
    job = "parallel" if kind == "step" else draw.choice(session.jobs)
    number = draw.randrange(len(session.targets))
    moment = draw.random()
    session.reset(number)
    session.start()
    run_id = session.launch(job)
    # Drawn over what is left to run and the time in which Dagster starts a run.
    wait_s = moment * (session.waits_s[number] + 10)
    started_s = time.monotonic()
    victims = wait_for_victims(session, run_id, kind, wait_s)
    at_s = time.monotonic() - started_s
    for victim in victims:
        kill(victim)
    recorded = read_recorded(session.tree)
    told = f"{kind:<10} of {job:<11} from {session.targets[number]:<12} at {at_s:5.1f} s"
    if not victims:
        told += " (nothing was left to kill)"
    (session.tree / "starts.log").unlink(missing_ok=True)
    try:
        told += f": {complete(session, run_id, job)}"
        check_outs(session)
        check_record(session)
        check_starts(session, recorded)
        check_processes(session)
        session.check()
    except LostError as error:
        raise LostError(f"{told}: {error}") from None
    return told


def wait_for_victims(
    session: Session, run_id: str, kind: str, wait_s: float
) -> list[psutil.Process]:
    """Wait until the drawn moment, and from then on until there is a process of that kind."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline and not session.status(run_id).is_finished:
        time.sleep(0.1)
    while True:
        found = session.find()
        victims = [process for process, what in found.items() if kind in (what, "everything")]
        if kind == "stage":  # the shell around it, or what it started, or both
            victims = victims[-1:]
        if victims or session.status(run_id).is_finished:
            return victims
        time.sleep(0.02)


def complete(session: Session, run_id: str, job: str) -> str:
    """Wait for the run, for the one that the daemon tries in its place, or for a new one.

    Raises:
        LostError: The next run did not complete.
    """
    session.start()
    run = wait_for_end(session, run_id)
    if run.is_success:
        return "it went on"
    told = run.status.value
    if run.tags.get("dagster/will_retry") == "true":
        told += "; tried again by the daemon"
        run = wait_for_end(session, wait_for_retry(session, run_id))
    else:
        told += "; launched anew"
        run = wait_for_end(session, session.launch(job))
    if not run.is_success:
        raise LostError(f"{told}: the next run is {run.status.value}\n{explain(session, run)}")
    return told


def wait_for_end(session: Session, run_id: str) -> dg.DagsterRun:
    """Wait until a run is finished."""
    wait_until(lambda: session.status(run_id).is_finished, f"the end of run {run_id}")
    return session.status(run_id)


def wait_for_retry(session: Session, run_id: str) -> str:
    """Wait until the daemon has made a run in place of another; give its id."""
    wait_until(lambda: retried(session, run_id), "the daemon to try again")
    return retried(session, run_id)


def retried(session: Session, run_id: str) -> str:
    """Give the run by which the daemon replaced another one, or nothing."""
    return session.status(run_id).tags.get("dagster/auto_retry_run_id", "")


def explain(session: Session, run: dg.DagsterRun) -> str:
    """Tell the errors that a run has logged."""
    with dg.DagsterInstance.from_config(str(session.home)) as instance:
        logs = instance.all_logs(run.run_id)
    errors = [log for log in logs if log.is_dagster_event and log.get_dagster_event().is_failure]
    return "\n".join(str(log.get_dagster_event().event_specific_data) for log in errors)[-4000:]


def read_recorded(root: Path) -> set[str]:
    """List the stages that `dvc.lock` has."""
    file = root / "dvc.lock"
    if not file.exists():
        return set()
    document = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return set((document or {}).get("stages", {}))


def check_outs(session: Session) -> None:
    """Require the outs of the undisturbed run.

    Raises:
        LostError: A file is absent, new, or another one.
    """
    for out in session.outs:
        good, now = session.good / out, session.tree / out
        for name in sorted(list_files(good) | list_files(now)):
            one, other = good / name, now / name
            if not one.is_file() or not other.is_file():
                raise LostError(f"{out}/{name} is there only once")
            if one.read_bytes() != other.read_bytes() and not are_close(one, other):
                raise LostError(f"{out}/{name} differs from that of the undisturbed run")


def list_files(top: Path) -> set[str]:
    """List the files below a folder; of a file itself, nothing but a dot."""
    if top.is_file():
        return {"."}
    return {str(file.relative_to(top)) for file in top.rglob("*") if file.is_file()}


def are_close(one: Path, other: Path) -> bool:
    """Whether two files of numbers agree to 1e-5."""
    if one.suffix != ".npy":
        return False
    return np.allclose(np.load(one), np.load(other), rtol=0, atol=1e-5, equal_nan=True)


def check_record(session: Session) -> None:
    """Require that DVC is content, and that its cache holds what it says.

    Raises:
        LostError: It is not.
    """
    if "up to date" not in (said := session.dvc("status")):
        raise LostError(f"dvc status says:\n{said}")
    for file in (session.root / ".dvc" / "cache" / "files" / "md5").rglob("*"):
        if file.is_file():
            name = f"{file.parent.name}{file.name}".removesuffix(".dir")
            if len(name) == 32 and hashlib.md5(file.read_bytes()).hexdigest() != name:
                raise LostError(f"DVC's cache holds other bytes under {name}")


def check_starts(session: Session, recorded: set[str]) -> None:
    """Require that no recorded stage was started again, and none twice.

    Raises:
        LostError: One was.
    """
    log = session.tree / "starts.log"
    starts = log.read_text(encoding="utf-8").split() if log.exists() else []
    if again := recorded & set(starts):
        raise LostError(f"{', '.join(sorted(again))} ran again, though dvc.lock had it")
    if len(starts) != len(set(starts)):
        raise LostError(f"a stage ran twice after the kill: {' '.join(starts)}")


def check_processes(session: Session) -> None:
    """Require that only Dagster's servers are left, and no run that is not finished.

    Raises:
        LostError: Something else is.
    """

    def list_left() -> list[str]:
        return [
            f"{process.pid} {what}"
            for process, what in session.find().items()
            if what not in (*SERVERS, "tracker")
        ]

    def list_unfinished() -> list[str]:
        with dg.DagsterInstance.from_config(str(session.home)) as instance:
            return [run.run_id for run in instance.get_runs() if not run.is_finished]

    wait_until(lambda: not list_unfinished(), "every run to be finished")
    try:
        wait_until(lambda: not list_left(), "processes to end", LEFT_S)
    except LostError:
        raise LostError(f"left over: {', '.join(list_left())}") from None


@contextmanager
def open_session(folder: Path, kind: str) -> Iterator[Session]:
    """Make a session, whose processes end with the block, however it ends."""
    session = (Retraining if kind == "retrain" else Session)(folder)
    try:
        session.make(kind)
        yield session
    finally:
        session.kill_all()


def serve(port: int) -> None:
    """Do what `python -m orchestration ui` does, with this script's jobs."""
    from orchestration.reconcile import reconcile_runs

    with dg.DagsterInstance.get() as instance:
        reconcile_runs(instance)
    command = [sys.executable, "-m", "dagster", "dev", "-f", "chaos_definitions.py"]
    os.execv(sys.executable, [*command, "-h", "127.0.0.1", "-p", str(port)])


def main() -> int:
    """Read the command line, disturb, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--project", choices=PROJECTS, default="real")
    parser.add_argument("--keep", action="store_true", help="leave the folder where it is")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    draw, failures = random.Random(arguments.seed), 0
    began_s = time.monotonic()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="mm-chaos-"))
        if arguments.keep:
            print(f"in {folder}", flush=True)
        else:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        session = stack.enter_context(open_session(folder, arguments.project))
        alone_s = session.waits_s[0]
        print(f"undisturbed: {alone_s:.0f} s, {len(session.targets)} stages", flush=True)
        kinds: list[str] = []
        for number in range(1, arguments.kills + 1):
            if not kinds:  # each of them as often
                kinds = draw.sample(KINDS, len(KINDS))
                if "parallel" not in session.jobs:  # whose steps alone are processes
                    kinds.remove("step")
            started_s = time.monotonic()
            try:
                told = disturb(session, draw, kinds.pop())
            except LostError as error:
                failures += 1
                told = f"LOST: {error}"
            took_s = time.monotonic() - started_s
            print(f"{number:>3} {told}; {took_s:.0f} s", flush=True)
    total_s = time.monotonic() - began_s
    print(
        f"{arguments.kills} kills, {failures} with a loss, seed {arguments.seed}, {total_s:.0f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
