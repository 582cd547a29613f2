"""The HTML pages that stages write, served to the browser that shows Dagster's UI.

A browser opens no file from a page that came by HTTP, and Dagster serves none; so this does, on
127.0.0.1 alone. A page is addressed by the hash that DVC recorded of the out it lies in, so that
the link of an earlier run opens what that run wrote: `/HASH/name.html`. What DVC did not record, as
of a failed stage, is read where it lies: `/workspace/path/from/the/root.html`, in the worktree of
retraining `/retraining/path/from/its/root.html`, and of a batch `/drift/BATCH/page.html`.

`python -m orchestration.pages` serves; `start_pages` does so beside another process.
"""

from __future__ import annotations

import json
import mimetypes
import os
import re
import socket
import subprocess
import sys
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Thread
from urllib.parse import quote, unquote, urlsplit

import click

from mm_assets.contracts.errors import MMAssetsError
from mm_assets.contracts.workspace import Workspace
from orchestration.dvc_stages import open_repo, project_root

HOST = "127.0.0.1"
PORT = 3001  # beside Dagster's 3000; links are kept in events, so it should stay what it is
VARIABLE = "MM_PAGES"  # the address, for those who make links
POLL_S = 1.0


class PagesError(MMAssetsError):
    """The pages cannot be served."""


def pages_url() -> str:
    """Give the address that links to pages begin with: `MM_PAGES`, else the usual one."""
    return os.environ.get(VARIABLE) or f"http://{HOST}:{PORT}"


def name_folders(root: Path) -> dict[str, Path]:
    """Give the folders whose pages are served as they lie there, by how their addresses begin."""
    project = Workspace(root)
    return {"workspace": project.root, "retraining": project.retraining, "drift": project.drift}


def locate_page(folder: Path, page: PurePosixPath) -> str:
    """Give the address, below `pages_url`, of a page as it lies there, whatever DVC recorded.

    Args:
        folder: A project; or of this one the worktree of retraining, or its reports on drift.
        page: Its path in that folder.
    """
    names = {place: name for name, place in name_folders(project_root()).items()}
    return quote(f"{names.get(folder, 'workspace')}/{page}")


def start_pages(port: int = PORT) -> subprocess.Popen[bytes]:
    """Serve the project's pages in a process that ends with this one, also if this one is replaced.

    Processes started from here on find the address in `MM_PAGES`.

    Raises:
        PagesError: The port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PagesError(
                f"pages need port {port} of {HOST}, which cannot be had ({error}); stop what uses "
                "it, or choose another with --pages-port"
            ) from None
    os.environ[VARIABLE] = f"http://{HOST}:{port}"
    options = ["--port", str(port), "--parent", str(os.getpid())]
    return subprocess.Popen(
        [sys.executable, "-m", "orchestration.pages", *options],
        stdin=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
    )


class PageServer(ThreadingHTTPServer):
    """Gives files of one DVC project, from its cache by hash or from its folders by name."""

    def __init__(self, root: Path, port: int = PORT) -> None:
        self._folders = name_folders(root)
        with open_repo(root) as repo:
            self._cache = Path(repo.cache.local.path)
        super().__init__((HOST, port), PageHandler)

    def find(self, address: str) -> tuple[Path, str] | None:
        """Find the file behind an address, and the name by which its type is told."""
        first, _, rest = address.partition("/")
        path = PurePosixPath(rest)
        if not path.name or path.is_absolute() or any(part[0] == "." for part in path.parts):
            return None
        if first in self._folders:
            folder = self._folders[first].resolve()
            file = (folder / path).resolve()
            fits = path.suffix == ".html" and file.is_relative_to(folder)
            return (file, path.name) if fits and file.is_file() else None
        if not re.fullmatch(r"[0-9a-f]{32}(\.dir)?", first):
            return None
        if first.endswith(".dir"):
            entries = self._read(self._place(first))
            first = entries.get(rest, "")
        file = self._place(first)
        return (file, path.name) if first and file.is_file() else None

    def _place(self, digest: str) -> Path:
        return self._cache / digest[:2] / digest[2:]

    @staticmethod
    def _read(listing: Path) -> dict[str, str]:
        """Read DVC's record of a folder: the hash of each file in it."""
        if not listing.is_file():
            return {}
        entries = json.loads(listing.read_text(encoding="utf-8"))
        return {entry["relpath"]: entry["md5"] for entry in entries}


class PageHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: PageServer

    def do_GET(self) -> None:
        """Send the page, or say why there is none."""
        if not self._asked_as_itself():
            self.send_error(HTTPStatus.FORBIDDEN, explain="Ask by 127.0.0.1 or localhost.")
            return
        address = unquote(urlsplit(self.path).path).lstrip("/")
        found = self.server.find(address)
        if found is None:
            self.send_error(
                HTTPStatus.NOT_FOUND,
                explain="No such page here. DVC's cache no longer has what that run wrote, or the "
                "server runs for another project.",
            )
            return
        file, name = found
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if "text" in kind else kind)
        self.send_header("Content-Length", str(file.stat().st_size))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(file.read_bytes())

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: this shares a terminal with Dagster."""

    def _asked_as_itself(self) -> bool:
        """Refuse other host names, under which a page from elsewhere could read ours."""
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        return host in {HOST, "localhost"}


def _end_with(parent: int) -> None:
    """End this process once the one that started it is gone, and another has adopted it."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os._exit(0)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", default=PORT, show_default=True)
@click.option("--parent", type=int, help="The process that started this one, which ends with it.")
def main(port: int, parent: int | None) -> None:
    """Serve the project's HTML pages on 127.0.0.1."""
    if parent:
        Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        server = PageServer(project_root(), port)
    except (MMAssetsError, OSError) as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
    click.echo(f"pages at http://{HOST}:{port}")
    server.serve_forever()


if __name__ == "__main__":
    main()
