"""Which tree a batch is compared with: the person's own, or that of retraining."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mm_assets.contracts.config import read_config
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.mirror import sign_folder
from mm_assets.drift.report import Tree
from mm_assets.registry.folders import CHAMPION
from mm_assets.stages.project import Project, build_project


def find_reference(main: Workspace) -> Tree:
    """Say which tree made the model in use: the one that the link `registry/champion` leads into.

    Args:
        main: The person's tree. Without a link it is the one.
    """
    model, tree = (main.registry / CHAMPION).resolve(), main.retraining.resolve()
    made = model.is_relative_to(tree) and model.is_dir() and (tree / "artifacts").is_dir()
    return "retraining" if made else "project"


def load_reference(root: Path) -> tuple[Tree, Project]:
    """Give the project that a batch is compared with.

    Args:
        root: The person's tree.

    Returns:
        Which tree it is; and the project with that one's parameters, data and outs. What is remembered
        (`.mm/`), and section `drift` of `params.yaml`, are the person's.

    Raises:
        ConfigError: `params.yaml` of either is wrong.
    """
    main = Workspace(root)
    which, config = find_reference(main), read_config(main.params)
    if which == "project":
        return which, build_project(config, main)
    tree = Workspace(main.retraining)
    trained = read_config(tree.params).model_copy(update={"drift": config.drift})
    return which, build_project(
        trained, replace(main, data_folder=tree.data, artifacts_folder=tree.artifacts)
    )


def sign_reference(project: Project) -> tuple[str | None, ...]:
    """Tell the state of all that a batch is compared with, unread."""
    made = project.workspace
    vectors = [made.embeddings(key) for key in project.modalities]
    return tuple(sign_folder(folder) for folder in (made.augmented, *vectors, made.model))
