"""`registry/registry.json`: every model, what its gates said, and what happened when."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from mm_assets.contracts.config import Section
from mm_assets.contracts.errors import RegistryError
from mm_assets.data.atomic import write_json

REGISTRY_VERSION = 1
REGISTRY_FILE = "registry.json"

# By the name of its gate, which is also that of the check in Dagster.
GATES = {
    "candidate_is_not_worse": "On the rows as they are, no target is worse than the champion's.",
    "worst_subset_is_not_worse": "Nor is any target where modalities are missing.",
    "candidate_is_calibrated": "Its stated probabilities are as close to the truth.",
    "candidate_matches_pytorch": "The exported model answers as the trained and evaluated one does.",
    "candidate_is_fast_enough": "It answers one row in about the champion's time.",
}

Needed = Literal["at least", "at most"]

# A candidate has not been judged. A retired model was champion; one taken back has been rolled back.
State = Literal["candidate", "champion", "refused", "retired", "taken_back"]


class Claim(Section):
    """What a gate asks, of one target or of the model as a whole.

    Attributes:
        about: What is measured, such as ``sentiment: accuracy``.
        candidate: Its value; null where there is nothing to measure.
        champion: The same of the model in use, or of what stands in for it.
        needed: Whether the candidate's value must be at least or at most the threshold.
        threshold: Null where anything passes.
        passed: Whether it holds.
        note: What else speaks for or against it, for a person.
    """

    about: str
    candidate: float | None
    champion: float | None
    needed: Needed
    threshold: float | None
    passed: bool
    note: str = ""

    def explain(self) -> str:
        """Write the claim in one line: both values and the threshold."""
        candidate, champion, threshold = (
            "none" if value is None else f"{value:.4g}"
            for value in (self.candidate, self.champion, self.threshold)
        )
        text = f"{self.about}: candidate {candidate}, champion {champion}"
        if self.threshold is not None:
            text += f", needed {self.needed} {threshold}"
        return text + (f" ({self.note})" if self.note else "")


class Gate(Section):
    """One condition of a promotion; it holds when each of its claims does."""

    name: str
    description: str
    claims: tuple[Claim, ...]

    @property
    def passed(self) -> bool:
        """Whether every claim holds."""
        return all(claim.passed for claim in self.claims)


class Verdict(Section):
    """What the gates said of a model.

    Attributes:
        champion: The model it was compared with; null for the first.
        rows: Test rows that both were asked.
        left_out: By reason, test rows that were not asked.
        gates: All of them, whether they hold or not.
    """

    champion: str | None
    rows: int
    left_out: dict[str, int]
    gates: tuple[Gate, ...]

    @property
    def refusals(self) -> list[str]:
        """One line for each claim that does not hold, led by its gate."""
        return [
            f"{gate.name}: {claim.explain()}"
            for gate in self.gates
            for claim in gate.claims
            if not claim.passed
        ]


class Model(Section):
    """One registered model; its files lie in `registry/models/ID/`.

    Attributes:
        made: When it was registered, UTC.
        state: What it is now.
        digest: SHA-256 over the exported model's files; equal models are one.
        files: SHA-256 of each file of the folder.
        params: SHA-256 of the `params.yaml` that made it, a copy of which is among the files.
        data: The raw data's version, as `data.dvc` has it; null where DVC does not track it.
        metrics: Of the evaluate and export stages.
        verdict: Null until it has been judged.
    """

    made: str
    state: State
    digest: str
    files: dict[str, str]
    params: str
    data: str | None
    metrics: dict[str, float | int | str]
    verdict: Verdict | None = None


class Event(Section):
    """What was done to the registry.

    Attributes:
        at: When, UTC.
        what: ``forced`` is a promotion by a person against the gates.
        model: The one that it was done to: in a roll-back, the one that is champion again.
        instead_of: The champion until then.
        reason: A person's, or what the gates said.
    """

    at: str
    what: Literal["promoted", "forced", "refused", "rolled back"]
    model: str
    instead_of: str | None
    reason: str = ""


class Registry(Section):
    """All of it."""

    schema_version: int = REGISTRY_VERSION
    champion: str | None = None
    models: dict[str, Model] = Field(default_factory=dict)
    history: tuple[Event, ...] = ()

    @model_validator(mode="after")
    def _has_one_champion(self) -> Registry:
        marked = [name for name, model in self.models.items() if model.state == "champion"]
        if marked != ([] if self.champion is None else [self.champion]):
            raise ValueError(
                f"`champion` is {self.champion} but the models in state champion are "
                f"{', '.join(marked) or 'none'}; there must be one and the same"
            )
        return self

    def find(self, name: str) -> Model:
        """Give a model by its id.

        Raises:
            RegistryError: There is none of that id.
        """
        if name not in self.models:
            raise RegistryError(
                f"no model {name!r} in the registry; it has {', '.join(self.models) or 'none'}"
            )
        return self.models[name]

    def find_predecessor(self) -> str | None:
        """Give the model whose place the champion took when it was last promoted."""
        taken = [
            event.instead_of
            for event in self.history
            if event.model == self.champion and event.what in ("promoted", "forced")
        ]
        return taken[-1] if taken else None

    def change(self, name: str, state: State, verdict: Verdict | None = None) -> Registry:
        """Put a model into another state, and record its verdict if there is one."""
        model = self.find(name)
        changed = model.model_copy(update={"state": state, "verdict": verdict or model.verdict})
        return self.model_copy(update={"models": {**self.models, name: changed}})

    def crown(self, name: str, *, event: Event, verdict: Verdict | None = None) -> Registry:
        """Make a model the champion; the one until then is retired, or taken back."""
        changed = self
        if self.champion is not None:
            before: State = "taken_back" if event.what == "rolled back" else "retired"
            changed = changed.change(self.champion, before)
        changed = changed.change(name, "champion", verdict)
        return changed.model_copy(update={"champion": name, "history": (*self.history, event)})


def read_registry(folder: Path) -> Registry:
    """Read `registry.json`; a project's first time there is none, which is an empty registry.

    Args:
        folder: `Workspace.registry`.

    Raises:
        RegistryError: It is damaged, as by a merge of two branches, or of another release.
    """
    path = folder / REGISTRY_FILE
    if not path.is_file():
        return Registry()
    return parse_registry(path.read_text(encoding="utf-8", errors="replace"), path)


def parse_registry(text: str, path: Path) -> Registry:
    """Read what a `registry.json` holds, or held in some commit.

    Args:
        text: Its content.
        path: Where it lies, for messages.

    Raises:
        RegistryError: It is damaged, as by a merge of two branches, or of another release.
    """
    try:
        registry = Registry.model_validate_json(text)
    except ValidationError as error:
        raise RegistryError(
            f"{path} cannot be read: {error}; mend it, or take the version that git has: "
            f"`git checkout {path.parent.name}/{path.name}`"
        ) from None
    if registry.schema_version != REGISTRY_VERSION:
        raise RegistryError(
            f"{path} has schema version {registry.schema_version}, this release reads "
            f"{REGISTRY_VERSION}; use the release that wrote it"
        )
    return registry


def write_registry(folder: Path, registry: Registry) -> None:
    """Write `registry.json` whole."""
    write_json(folder / REGISTRY_FILE, registry.model_dump(mode="json"))
