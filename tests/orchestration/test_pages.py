"""Pages open in a browser as their own run wrote them, and nothing else does."""

import http.client
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path, PurePosixPath
from threading import Thread
from urllib.error import HTTPError
from urllib.request import urlopen

import dagster as dg
import pytest

from mm_assets.contracts.errors import MMAssetsError
from mm_assets.contracts.workspace import Workspace
from orchestration.dvc_project import DvcProject
from orchestration.pages import PageServer, locate_page, start_pages

pytestmark = pytest.mark.slow  # a finished DVC project


@pytest.fixture
def server(finished):
    server = PageServer(finished.root, port=0)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask(server, address, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    headers = {"Host": host} if host else {}
    connection.request("GET", f"/{address}", headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Type"), answer.read().decode(errors="replace")


def test_a_recorded_page_opens_though_a_later_run_overwrote_it(finished, server):
    pages = DvcProject(finished.root).read_records("validate")["validate"].pages
    assert sorted(map(str, pages)) == [
        "artifacts/pages/validate.html",
        "artifacts/validated/page.html",
    ]
    for path, address in pages.items():
        (finished.root / path).write_text("of a later run")
        status, kind, text = ask(server, address)
        assert (status, kind) == (200, "text/html; charset=utf-8")
        assert text in {"<p>checks</p>", "<p>rows</p>"}
        assert ask(server, f"workspace/{path}")[2] == "of a later run"
    folder = pages[next(path for path in pages if path.name == "page.html")].partition("/")[0]
    assert ask(server, f"{folder}/dot.png")[1] == "image/png"  # what a page shows from beside it


@pytest.fixture
def retrain(finished, server, dagster, monkeypatch):
    """Run `validate` as job `retrain` does; give the link to its page, of success or failure."""
    monkeypatch.setenv("MM_PAGES", f"http://127.0.0.1:{server.server_port}")
    (finished.root / ".gitignore").write_text("/data\n/artifacts\n/.dvc/cache\n/.dvc/tmp\n")
    ada = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "-q"], ["add", "."], [*ada, "commit", "-qm", "The project"]):
        subprocess.run(["git", *command], cwd=finished.root, check=True)
    job = dagster.definitions().resolve_job_def("retrain")
    keys = [dg.AssetKey(name) for name in ("raw_data", "validated")]

    def run():
        result = job.execute_in_process(
            instance=dagster.instance, raise_on_error=False, asset_selection=keys
        )
        if result.success:
            [told] = result.asset_materializations_for_node("validated")
        else:
            [failed] = [event for event in result.all_events if event.is_step_failure]
            told = failed.step_failure_data.user_failure_data
        return told.metadata["page: validate"].url

    return run


def test_pages_of_retraining_open_whether_its_stage_succeeds_or_fails(finished, retrain):
    (finished.root / "artifacts/pages/validate.html").write_text("the person's own")
    (finished.root / "data/rows.txt").write_text("other words")
    recorded = retrain()
    there = finished.root / ".mm/worktrees/retraining"
    (there / "artifacts/pages/validate.html").write_text("of a later run")
    assert urlopen(recorded).read() == b"<p>checks</p>"

    (finished.root / "data/rows.txt").write_text("1 2 3")
    failed = retrain()
    assert failed.endswith("/retraining/artifacts/pages/validate.html")
    assert urlopen(failed).read() == b"<p>checks</p>"


def test_a_report_on_drift_opens(finished, server):
    folder = Workspace(finished.root).drift
    (folder / "monday").mkdir(parents=True)
    (folder / "monday" / "page.html").write_text("it has drifted")
    address = locate_page(folder, PurePosixPath("monday", "page.html"))
    assert ask(server, address) == (200, "text/html; charset=utf-8", "it has drifted")


REFUSED = [
    "",
    ".mm/drift/monday/page.html",
    "workspace/.mm/drift/monday/page.html",
    "drift/../monday.html",
    "drift/monday/.page.html",
    "drift/monday/report.json",
    "drift/link.html",
    "retraining/../retraining.html",
    "retraining/.dvc/secret.html",
    "retraining/params.yaml",
    "workspace/params.yaml",
    "workspace/../outside.html",
    "workspace/%2e%2e/outside.html",
    "workspace/.dvc/secret.html",
    "workspace//etc/passwd.html",
    "0123456789abcdef0123456789abcdef/page.html",
    "0123456789abcdef0123456789abcdef.dir/page.html",
    "../../x/page.html",
]


def test_nothing_else_is_served(finished, server):
    project = Workspace(finished.root)
    for file in (
        "../outside.html",
        ".dvc/secret.html",
        project.retraining / ".dvc/secret.html",
        project.retraining / "params.yaml",
        project.retraining.with_suffix(".html"),
        project.drift / "monday/page.html",
        project.drift / "monday/.page.html",
        project.drift / "monday/report.json",
        project.drift.with_name("monday.html"),
    ):
        place = finished.root / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("secret")
    (project.drift / "link.html").symlink_to(finished.root / ".dvc/secret.html")
    answers = {address: ask(server, address) for address in REFUSED}
    assert [address for address, (status, _, _) in answers.items() if status != 404] == []
    assert all("No such page here" in text for _, _, text in answers.values())


def test_a_page_from_elsewhere_cannot_read_them_by_another_host_name(server):
    assert ask(server, "workspace/artifacts/pages/validate.html")[0] == 200
    status, _, _ = ask(server, "workspace/artifacts/pages/validate.html", host="evil.example:80")
    assert status == 403


def test_the_server_ends_with_the_process_that_started_it(finished):
    starter = textwrap.dedent("""
        import os, sys, time
        from orchestration.pages import start_pages
        process = start_pages(int(sys.argv[1]))
        print(process.pid, os.environ["MM_PAGES"], flush=True)
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])
    """)
    probe = PageServer(finished.root, port=0)
    port = probe.server_port
    probe.server_close()
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, str(port)], stdout=subprocess.PIPE, text=True
    )
    try:
        pid, url = parent.stdout.readline().split()
        wait_until(lambda: answers(f"{url}/workspace/artifacts/pages/validate.html"))
        with pytest.raises(MMAssetsError, match=rf"pages need port {port} .* --pages-port"):
            start_pages(port)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not alive(int(pid)))


def answers(url):
    try:
        return urlopen(url, timeout=1).status == 200
    except HTTPError:
        raise
    except OSError:
        return False


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"  # nobody reaps it here


def wait_until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)
