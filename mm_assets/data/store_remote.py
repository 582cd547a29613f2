"""The embedding store at a URL, for machines that share no disk: S3, or what else fsspec reaches.

Shards and fitted states have names of their own and never change, so that both sides are one set of
files: what the other side lacks is copied, in any order, by any number of machines. A file appears
whole or not at all, on either side; a copy that was interrupted goes on with what is missing.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec

from mm_assets.contracts.errors import MMAssetsError, StoreError
from mm_assets.data.atomic import atomic_file
from mm_assets.data.parallel import map_ahead
from mm_assets.data.progress import show_progress

AT_ONCE = 8
DONE = "done"  # the folder of names that `note_work` keeps
FILES = re.compile(r"[0-9a-f]{64}/(encoder\.json|\w+\.parquet)|states/[0-9a-f]{64}\.safetensors")
WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "az"}  # where an object is not seen before it is whole


class RemoteStore:
    """The store of this machine beside one at a URL.

    Credentials are what the URL's own tools use, such as `AWS_PROFILE`; `AWS_ENDPOINT_URL` leads to
    an S3 that is not Amazon's.

    Args:
        root: The store here.
        url: The store there, such as ``s3://bucket/store``.

    Raises:
        StoreError: Its kind is unknown, or needs a package that is not installed.
    """

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        with self._naming():
            self._fs, base = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self._base = base.rstrip("/")
        self._there: dict[str, int] | None = None  # bytes by name; what is there stays

    def push(self) -> int:
        """Copy there what is only here; give how many files."""
        here = (path.relative_to(self.root).as_posix() for path in self.root.glob("*/*"))
        there = self._list() if self._there is None else self._there
        wanted = [name for name in here if FILES.fullmatch(name) and name not in there]
        return self._copy(self._send, wanted, title="push")

    def pull(self) -> int:
        """Copy here what is only there; give how many files."""
        wanted = [name for name in self._list() if not (self.root / name).exists()]
        return self._copy(self._fetch, wanted, title="pull")

    def pull_state(self, digest: str) -> None:
        """Copy one fitted state here, if it is there."""
        name = f"states/{digest}.safetensors"
        if name in self._list():
            self._fetch(name)

    def has_work(self, name: str) -> bool:
        """Tell whether `note_work` was called with a name, by any machine."""
        with self._naming():
            return bool(self._fs.exists(f"{self._base}/{DONE}/{name}"))

    def note_work(self, name: str) -> None:
        """Remember there that all vectors of some work are there."""
        with self._naming():
            self._fs.makedirs(f"{self._base}/{DONE}", exist_ok=True)
            self._fs.pipe_file(f"{self._base}/{DONE}/{name}", b"")

    def _list(self) -> dict[str, int]:
        """List what is there now."""
        with self._naming():
            found = self._fs.find(self._base, detail=True)
        names = {path.removeprefix(self._base).lstrip("/"): info for path, info in found.items()}
        self._there = {
            name: int(info["size"]) for name, info in names.items() if FILES.fullmatch(name)
        }
        return self._there

    def _copy(self, one: Callable[[str], bool], names: Sequence[str], *, title: str) -> int:
        """Copy files, some at once; give how many were still there to copy."""
        first_origins = sorted(names, key=lambda name: (name.endswith(".parquet"), name))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            done = map_ahead(pool, one, first_origins, ahead=AT_ONCE)
            return sum(show_progress(done, title=title, total=len(names), unit="file"))

    def _send(self, name: str) -> bool:
        """Copy one file there; one that was merged or pruned meanwhile is passed over."""
        try:
            size = (self.root / name).stat().st_size
        except FileNotFoundError:
            return False
        with self._naming():
            self._put(self.root / name, f"{self._base}/{name}")
        if self._there is not None:
            self._there[name] = size
        return True

    def _put(self, path: Path, target: str) -> None:
        folder, _, name = target.rpartition("/")
        if self.url.partition("://")[0] in WHOLE:
            self._fs.put_file(str(path), target)
            return
        self._fs.makedirs(folder, exist_ok=True)
        unfinished = f"{folder}/.{name}.{uuid.uuid4().hex}"
        self._fs.put_file(str(path), unfinished)
        self._fs.mv(unfinished, target)

    def _fetch(self, name: str) -> bool:
        """Copy one file here.

        Raises:
            StoreError: It came in another length than it has there.
        """
        expected = (self._there or {})[name]
        with atomic_file(self.root / name) as temporary, self._naming():
            self._fs.get_file(f"{self._base}/{name}", str(temporary))
            size = temporary.stat().st_size
            if size != expected:
                raise StoreError(
                    f"{self.url}/{name} has {expected} bytes, but {size} came; run it again"
                )
        return True

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Name the URL where it cannot be reached.

        Raises:
            StoreError: It cannot.
            MMAssetsError: The block's own, as it is.
        """
        try:
            yield
        except MMAssetsError:
            raise
        except ImportError as error:
            raise StoreError(
                f"the store at {self.url} needs a package that is not installed ({error}); for S3 "
                "`pip install mm-assets[s3]`"
            ) from None
        except Exception as error:
            # Only calls of fsspec stand in such a block, and what they raise is the network library's
            # of that kind of URL (botocore's, aiohttp's, ...): there is no class above them all.
            raise StoreError(
                f"the store at {self.url} cannot be reached ({type(error).__name__}: {error}); check "
                "the URL, the network and the credentials"
            ) from error
