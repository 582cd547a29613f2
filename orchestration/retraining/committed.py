"""What a commit says of the registry and of the data, without a checkout."""

from __future__ import annotations

from pathlib import Path

from mm_assets.contracts.workspace import Workspace
from mm_assets.registry.folders import parse_data_version
from mm_assets.registry.git import ask_git
from mm_assets.registry.record import REGISTRY_FILE, Registry, parse_registry

LOCK, DATA, REGISTRY = "dvc.lock", "data.dvc", f"registry/{REGISTRY_FILE}"  # as git names them


def show_registry(tree: Workspace, commit: str) -> Registry:
    """Read the registry as a commit has it.

    Raises:
        RegistryError: It is damaged.
    """
    text = ask_git(tree.root, "show", f"{commit}:{REGISTRY}")
    return Registry() if text is None else parse_registry(text, tree.registry / REGISTRY_FILE)


def show_data(root: Path, commit: str) -> str | None:
    """Read the data's version as a commit has it; none where DVC did not track them."""
    text = ask_git(root, "show", f"{commit}:{DATA}")
    return parse_data_version(text) if text else None
