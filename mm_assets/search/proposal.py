"""What a search came to: a change of `params.yaml`, which a person or a schedule may take."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from mm_assets.contracts.config import Section, explain_validation, parse_config, read_text
from mm_assets.contracts.errors import ConfigError, StageError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import find_free_name, write_text
from mm_assets.search.space import Value, look_up

PROPOSAL_FILE, HISTORY_FILE = "proposal.yaml", "history.svg"


class Tried(Section):
    """One trial; `loss` in nats is that of `mm_assets.search.bench`, null where it was stopped."""

    number: int
    loss: float | None
    values: dict[str, Value]
    stopped: str | None = None  # why


class Change(Section):
    """One key's value in `params.yaml`, or its default, and the proposed one."""

    old: Any
    new: Any


class Proposal(Section):
    """`.mm/search/proposal.yaml`.

    Losses and gains are in nats, on validation rows; `expected_gain` is the gain on rows that had
    no say in the choice. `changes` is empty where nothing better was found.
    """

    schema_version: Literal[1] = 1
    search: str  # digest of rows, vectors, space and all that is not searched
    rows: int
    current_loss: float
    best_loss: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    expected_gain: float | None = None
    changes: dict[str, Change]
    importance: dict[str, float]  # share of the loss's variation that a key accounts for
    trials: list[Tried]

    def explain(self) -> str:
        """Say in a line what came of it."""
        scored = sum(trial.loss is not None for trial in self.trials)
        counted = f"{scored} trials scored, {len(self.trials) - scored} stopped early"
        if self.gain is None or self.expected_gain is None:
            return f"{counted}; none is left to compare"
        said = (
            f"{counted}; the best lowers the validation loss from {self.current_loss:.4f} to "
            f"{self.best_loss:.4f} nats, by {self.gain:.4f} [{self.gain_low:.4f}, "
            f"{self.gain_high:.4f}] on {self.rows} rows, by {self.expected_gain:.4f} on rows that "
            "had no say in the choice"
        )
        return said if self.changes else f"{said}: no better than params.yaml, nothing is proposed"

    def list_changes(self) -> list[str]:
        """Write each change as a line."""
        return [
            f"{key}: {_write(change.old)} -> {_write(change.new)}"
            for key, change in self.changes.items()
        ]


def _write(value: object) -> str:
    """Write a value as `params.yaml` holds it, in one line."""
    written = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width = True, 1 << 20
    yaml.dump([value], written)
    return written.getvalue().strip()[1:-1]


def write_proposal(workspace: Workspace, proposal: Proposal) -> None:
    """Write it beside what the search knows."""
    written = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.dump(proposal.model_dump(), written)
    write_text(workspace.search / PROPOSAL_FILE, written.getvalue())


def read_proposal(workspace: Workspace) -> Proposal:
    """Read what the last search came to.

    Raises:
        StageError: There is none, or it is damaged or of another release.
    """
    file = workspace.search / PROPOSAL_FILE
    try:
        raw = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError("there is no proposal yet; `mm search` makes one") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise StageError(f"{file} is damaged: {error}; `mm search` makes it anew") from None
    try:
        return Proposal.model_validate(raw)
    except ValidationError as error:
        problems = explain_validation(error, name=str(file), model=Proposal)
        raise StageError(f"{problems}\n`mm search` makes it anew") from None


def apply_proposal(root: Path) -> tuple[Proposal, Path]:
    """Edit `params.yaml` as proposed; comments, order and other values stay.

    Args:
        root: The project's root.

    Returns:
        The proposal, and where the file is kept as it was.

    Raises:
        StageError: There is no proposal, or it proposes nothing.
        ConfigError: `params.yaml` has other values by now than those that were compared with.
    """
    workspace = Workspace(root)
    proposal = read_proposal(workspace)
    if not proposal.changes:
        raise StageError(f"nothing to apply: {proposal.explain()}")
    text = read_text(workspace.params)
    edited = edit_params(text, proposal.changes)
    kept = find_free_name(workspace.params.with_suffix(".yaml.bak"))
    write_text(kept, text)
    write_text(workspace.params, edited)
    return proposal, kept


def edit_params(text: str, changes: Mapping[str, Change]) -> str:
    """Put new values into the text of `params.yaml`.

    Args:
        text: The file.
        changes: By key; an absent key counts as its default.

    Raises:
        ConfigError: A key has another value than `old`, or the result is no valid configuration.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # no line is folded anew
    params = yaml.load(text)
    now = parse_config(YAML(typ="safe").load(text)).model_dump()
    for key, change in changes.items():
        if look_up(now, key) != change.old:
            raise ConfigError(
                f"params.yaml: `{key}` is {look_up(now, key)!r}, but the proposal was compared with "
                f"{change.old!r}; run `mm search` again"
            )
        *parents, last = key.split(".")
        section = params
        for parent in parents:
            if section.get(parent) is None:
                section[parent] = CommentedMap()
                section[parent].fa.set_flow_style()
            section = section[parent]
        section[last] = change.new
    written = io.StringIO()
    yaml.dump(params, written)
    parse_config(YAML(typ="safe").load(written.getvalue()))
    return written.getvalue()
