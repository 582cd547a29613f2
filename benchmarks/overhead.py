"""What running the whole pipeline through Dagster costs beside `dvc repro` alone, on the same data.

Runs come in pairs that follow each other, the order changing from pair to pair. Each has a copy of its
own of what is committed here, cold: no artifact, nothing in DVC's cache but `data/`, an empty embedding
store; pretrained weights are shared. Then, with nothing to do, it is run once more.

Dagster's side is one of two doors:

- `process`: `python -m orchestration`, as a whole process;
- `ui`: a run of the job `pipeline`, launched over GraphQL at what `python -m orchestration ui` serves,
  as by a click on *Materialize all*: from the click to SUCCESS. The servers run already.

    python benchmarks/overhead.py [--pairs 5] [--doors process ui]

It exits with 1 where a median is above its limit. Times are worth something on a machine that does
nothing else: the load average beside each is that of the minute before.
"""

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
from measure import ROOT, share_weights

JOB = "pipeline"
MOST_RATIO = {"process": 1.15, "ui": 1.3}
MOST_IDLE_S = {"process": 4.0, "ui": 12.0}
START_S = 120.0


@dataclass
class Times:
    """Seconds of one door: cold beside those of DVC in the same pair, and with nothing to do."""

    cold: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    beside_idle: list[float] = field(default_factory=list)


def main() -> None:
    """Print each pair, and the medians; exit with 1 where one is above its limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5, help="for each door")
    parser.add_argument("--doors", nargs="+", choices=MOST_RATIO, default=["process", "ui"])
    given = parser.parse_args()
    share_weights()
    times = {door: Times() for door in given.doors}
    with tempfile.TemporaryDirectory(prefix="mm-overhead-") as folder:
        template = make_template(Path(folder))
        print(f"{'':<24}{'cold':>9}{'nothing to do':>16}{'load before':>14}")
        for pair in range(given.pairs):
            for door in given.doors:
                # Ours first: what the first run loads from disk is not held against DVC.
                measure_pair(template, door, times[door], reverse=bool(pair % 2))
    fine = [judge(door, found) for door, found in times.items()]
    sys.exit(0 if all(fine) else 1)


def make_template(folder: Path) -> Path:
    """Clone what is committed, with its data."""
    root = folder / "template"
    subprocess.run(["git", "clone", "-q", "--depth", "1", ROOT.as_uri(), root], check=True)
    run(root, "dvc", "pull", "-q", "data.dvc")
    return root


def measure_pair(template: Path, door: str, times: Times, *, reverse: bool) -> None:
    """Measure a door and DVC alone, each in a copy of its own."""
    ours, alone = (door, times.cold, times.idle), ("dvc", times.beside, times.beside_idle)
    for name, cold, idle in (alone, ours) if reverse else (ours, alone):
        load = os.getloadavg()[0]
        root = template.with_name("project")
        shutil.copytree(template, root, symlinks=True)
        try:
            cold_s, idle_s = MEASURES[name](root)
        finally:
            shutil.rmtree(root)
        print(f"{name:<24}{cold_s:>7.1f} s{idle_s:>14.2f} s{load:>14.1f}", flush=True)
        cold.append(cold_s)
        idle.append(idle_s)


def measure_dvc(root: Path) -> tuple[float, float]:
    """Time `dvc repro`, cold and with nothing to do."""
    return run(root, "dvc", "repro"), run(root, "dvc", "repro")


def measure_process(root: Path) -> tuple[float, float]:
    """Time `python -m orchestration`, cold and with nothing to do."""
    return run(root, "orchestration"), run(root, "orchestration")


def measure_ui(root: Path) -> tuple[float, float]:
    """Time two runs that are launched at the web UI's server, cold and with nothing to do."""
    with serve(root) as client:
        return time_launch(client, root), time_launch(client, root)


MEASURES: dict[str, Callable[[Path], tuple[float, float]]] = {
    "dvc": measure_dvc,
    "process": measure_process,
    "ui": measure_ui,
}


def environment(root: Path) -> dict[str, str]:
    """Make the variables in which the code of that folder runs, and keeps its own store and runs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(root),  # before the checkout that this environment was installed from
        "MM_PROJECT": str(root),
        "MM_STORE": str(root / ".mm" / "store"),
        "DVC_SITE_CACHE_DIR": str(root / ".mm" / "dvc"),  # else what DVC knows outlives the copy
        "DAGSTER_HOME": str(root / ".dagster"),
    }


def run(root: Path, module: str, *arguments: str) -> float:
    """Run a module as a process, which must succeed; give the seconds it took."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=root,
        env=environment(root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"`python -m {module} {' '.join(arguments)}` failed:\n{done.stdout[-5000:]}")
    return seconds


@contextmanager
def serve(root: Path) -> Iterator[DagsterGraphQLClient]:
    """Serve the web UI with its daemon until the block ends."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, pages_port = one.getsockname()[1], other.getsockname()[1]
    ports = ["--port", str(port), "--pages-port", str(pages_port)]
    with (root / "ui.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration", "ui", *ports],
            cwd=root,
            env=environment(root),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield connect(port, root)
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):  # how servers end is not what is measured
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def connect(port: int, root: Path) -> DagsterGraphQLClient:
    """Wait until the server knows the job, and the daemon runs."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        time.sleep(1)
        try:
            client = DagsterGraphQLClient("127.0.0.1", port_number=port)
            known = client._get_repo_locations_and_names_with_pipeline(JOB)
        except (DagsterGraphQLClientError, OSError):
            continue
        with open_instance(root) as instance:
            if known and instance.get_daemon_statuses().get("QUEUED_RUN_COORDINATOR"):
                return client
    sys.exit(f"no web UI after {START_S:.0f} s:\n{(root / 'ui.log').read_text()[-5000:]}")


def open_instance(root: Path) -> dg.DagsterInstance:
    """Open the storage that the servers write to."""
    return dg.DagsterInstance.from_config(str(root / ".dagster"))


def time_launch(client: DagsterGraphQLClient, root: Path) -> float:
    """Launch a run and wait for it; give the seconds until it was recorded as a success."""
    clicked_s = time.time()
    run_id = client.submit_job_execution(JOB)
    with open_instance(root) as instance:
        while not (record := instance.get_run_record_by_id(run_id)) or record.end_time is None:
            time.sleep(0.5)
        status = record.dagster_run.status
    if status != dg.DagsterRunStatus.SUCCESS:
        sys.exit(f"the run ended as {status}:\n{(root / 'ui.log').read_text()[-5000:]}")
    began_s = (record.start_time or clicked_s) - clicked_s
    print(f"  began {began_s:.1f} s after the click", flush=True)
    return record.end_time - clicked_s


def judge(door: str, found: Times) -> bool:
    """Print a door's medians and tell whether they are within their limits."""
    ratios = [ours / alone for ours, alone in zip(found.cold, found.beside, strict=True)]
    ratio, idle_s = statistics.median(ratios), statistics.median(found.idle)
    print(
        f"{door}: cold {ratio:.2f} times dvc repro (at most {MOST_RATIO[door]:g}; "
        f"{min(ratios):.2f}-{max(ratios):.2f}), nothing to do {idle_s:.1f} s "
        f"(at most {MOST_IDLE_S[door]:g}; dvc repro {statistics.median(found.beside_idle):.1f})"
    )
    return ratio <= MOST_RATIO[door] and idle_s <= MOST_IDLE_S[door]


if __name__ == "__main__":
    main()
