"""What a batch is compared with: what the model in use was made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mm_assets.contracts.config import Config, read_config
from mm_assets.contracts.errors import ConfigError, StageError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.mirror import sign_folder
from mm_assets.drift.report import Tree
from mm_assets.registry.folders import CHAMPION, published
from mm_assets.stages.project import Project, build_project


class ReferenceChangedError(StageError):
    """A stage wrote what a batch was being compared with."""


@dataclass(frozen=True)
class Reference:
    """What a batch is compared with.

    Attributes:
        tree: Whose `data/` a batch may contradict: the person's, or that of retraining.
        model: The champion; none where no origin of it was kept, and so what lies in the tree's
            `artifacts/` stands in for it.
        project: Has the parameters and outs that the model was made from, and the tree's data. What
            is remembered (`.mm/`), and section `drift` of `params.yaml`, are the person's.
    """

    tree: Tree
    model: str | None
    project: Project

    def sign(self) -> tuple[str | None, ...]:
        """Tell the state of all that is compared with, unread."""
        made = self.project.workspace
        outs = made.augmented, made.all_embeddings, made.model
        return tuple(sign_folder(folder) for folder in outs)


def load_reference(root: Path) -> Reference:
    """Give what a batch is compared with; the link `registry/champion` says which model is in use.

    Args:
        root: The person's tree.

    Raises:
        ConfigError: `params.yaml` is wrong, the person's or that of retraining.
    """
    main = Workspace(root)
    config = read_config(main.params)
    model = published(main)
    link = main.registry / CHAMPION
    retrained = bool(model) and link.resolve().is_relative_to(main.retraining.resolve())
    tree = Workspace(main.retraining) if retrained else main
    made = tree.origin(model) if model else tree
    # An earlier release kept none; and a person may have gone on to other data.
    if not (made.augmented.is_dir() and _speaks_of_the_same(made, read_config(tree.params))):
        model, made = None, tree
    which: Tree = "retraining" if retrained else "project"
    if made is main:
        return Reference(which, model, build_project(config, main))
    theirs = read_config(made.params).model_copy(update={"drift": config.drift})
    there = replace(main, data_folder=tree.data, artifacts_folder=made.artifacts)
    return Reference(which, model, build_project(theirs, there))


def _speaks_of_the_same(made: Workspace, config: Config) -> bool:
    """Tell whether a `params.yaml` can be read, and has the inputs and targets of another."""
    try:
        theirs = read_config(made.params)
    except ConfigError:  # of an earlier release
        return False
    names = [(one.modalities.keys(), one.targets.keys()) for one in (theirs, config)]
    return names[0] == names[1]
