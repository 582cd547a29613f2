"""Two registries that grew apart, such as a person's and that of retraining, made one again.

What happened is told by their histories, so that of both; who is champion follows from what
happened last, wherever it did.
"""

from __future__ import annotations

import shutil

from mm_assets.contracts.workspace import Workspace
from mm_assets.registry import folders
from mm_assets.registry.record import Event, Model, Registry, State, read_registry, write_registry


def merge_registries(ours: Registry, theirs: Registry, base: Registry | None = None) -> Registry:
    """Make one registry of two.

    Args:
        ours: One.
        theirs: The other.
        base: What both grew from, if it is known; a model that one of them no longer has has been
            pruned there.

    Returns:
        The models of both and all events by time. The champion is that of the last promotion or
        roll-back, and every state follows from the events.
    """
    history = sorted(dict.fromkeys(ours.history + theirs.history), key=lambda event: event.at)
    champion, states = _replay(history)
    pruned = {name for name in base.models if not _both_have(name, ours, theirs)} if base else set()
    models = {
        name: _choose(name, ours, theirs).model_copy(update={"state": state})
        for name in ours.models | theirs.models
        if (state := states.get(name, "candidate")) == "champion" or name not in pruned
    }
    return Registry(champion=champion, models=models, history=tuple(history))


def adopt(workspace: Workspace, other: Workspace) -> bool:
    """Take over what was decided in another checkout of the project, which stays as it is.

    A model's files come from DVC's cache, which checkouts share, when they are needed.

    Args:
        workspace: Whose registry changes; its lock is held by the caller.
        other: The other checkout.

    Returns:
        Whether there was anything new.

    Raises:
        RegistryError: A registry is damaged.
    """
    ours, theirs = read_registry(workspace.registry), read_registry(other.registry)
    merged = merge_registries(ours, theirs)
    if merged == ours:
        return False
    for name in merged.models.keys() - ours.models.keys():
        source, target = folders.model_folder(other, name), folders.model_folder(workspace, name)
        pointer = folders.pointer(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if pointer.is_file():
            shutil.copyfile(pointer, folders.pointer(target))
        elif not target.is_dir():
            shutil.copytree(source, target)
    folders.ignore_files(workspace)
    write_registry(workspace.registry, merged)
    return True


def _replay(history: list[Event]) -> tuple[str | None, dict[str, State]]:
    """Tell who is champion after some events, and the state of each model they are about."""
    champion, states = None, dict[str, State]()
    for event in history:
        if event.what == "refused":
            if event.model != champion:
                states[event.model] = "refused"
            continue
        if champion is not None:
            states[champion] = "taken_back" if event.what == "rolled back" else "retired"
        champion = event.model
        states[champion] = "champion"
    return champion, states


def _both_have(name: str, *registries: Registry) -> bool:
    return all(name in one.models for one in registries)


def _choose(name: str, ours: Registry, theirs: Registry) -> Model:
    """Take the record that knows of the model's last event, and so its verdict."""
    held = [one for one in (ours, theirs) if name in one.models]
    last = max(
        held, key=lambda one: max((e.at for e in one.history if e.model == name), default="")
    )
    return last.models[name]
