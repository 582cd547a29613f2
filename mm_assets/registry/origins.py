"""What a champion was made from, kept as long as it may be in use: drift is measured from there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection

from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import atomic_folder


def keep_origin(workspace: Workspace, name: str, *, beside: Collection[str] = ()) -> None:
    """Keep the rows, vectors, weights and parameters that a model was made from.

    The pipeline goes on to other ones in `artifacts/`, which may be refused. Files are linked where
    the disk can: stages and DVC replace files, and never write into them.

    Args:
        workspace: Whose `artifacts/` hold what the model was made from.
        name: The model's id.
        beside: Other models whose origins stay; those of all others are deleted.

    Raises:
        DiskError: The disk is full, or must not be written to.
    """
    kept = workspace.origin(name)
    with atomic_folder(kept.root) as folder:
        copy = Workspace(folder)
        shutil.copyfile(workspace.params, copy.params)
        outs = {
            workspace.augmented: copy.augmented,
            workspace.all_embeddings: copy.all_embeddings,
            workspace.model: copy.model,
        }
        for out, place in outs.items():
            if out.is_dir():
                shutil.copytree(out, place, copy_function=_link)
    for other in kept.root.parent.glob("*/"):
        if other.name not in {name, *beside}:
            shutil.rmtree(other)


def _link(source: str, target: str) -> None:
    """Make a further name for a file, which may itself be a link into DVC's cache."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another disk, or one without links; whatever else it is, copying says so
        shutil.copyfile(source, target)
