"""Where everything of a project lies, as paths from its root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The folders of one project. `artifacts/` is DVC's; `.mm/` is memory that DVC never deletes.

    Attributes:
        root: Where `params.yaml` lies.
        data_folder: Raw data that lies elsewhere than in `data/`.
        artifacts_folder: Where outs go instead of `artifacts/`.
    """

    root: Path
    data_folder: Path | None = None
    artifacts_folder: Path | None = None

    @property
    def params(self) -> Path:
        """The one place a user edits."""
        return self.root / "params.yaml"

    @property
    def data(self) -> Path:
        """Raw data: the sample table and its media."""
        return self.data_folder or self.root / "data"

    @property
    def artifacts(self) -> Path:
        """Every stage's outs."""
        return self.artifacts_folder or self.root / "artifacts"

    @property
    def validated(self) -> Path:
        """`samples.parquet`, `probes.parquet`, `quarantine.parquet`."""
        return self.artifacts / "validated"

    @property
    def augmented(self) -> Path:
        """`samples.parquet` with split and copies, and the contact sheet."""
        return self.artifacts / "augmented"

    @property
    def all_embeddings(self) -> Path:
        """By modality its vectors and its encoder's state."""
        return self.artifacts / "embeddings"

    def embeddings(self, modality: str) -> Path:
        """One modality's vectors and its encoder's state."""
        return self.all_embeddings / modality

    @property
    def model(self) -> Path:
        """The trained fusion model."""
        return self.artifacts / "model"

    @property
    def baselines(self) -> Path:
        """Simpler models, and models of some modalities alone, that the one is compared with."""
        return self.artifacts / "baselines"

    @property
    def evaluation(self) -> Path:
        """Metrics and plots of the test split."""
        return self.artifacts / "evaluation"

    @property
    def onnx(self) -> Path:
        """The exported model and its signature."""
        return self.artifacts / "onnx"

    @property
    def card(self) -> Path:
        """The self-contained model card."""
        return self.artifacts / "card"

    @property
    def registry(self) -> Path:
        """Champion, candidates and history: `registry.json`, `models/ID/`, the link `champion`."""
        return self.root / "registry"

    def origin(self, model: str) -> Workspace:
        """What a champion was made from: its `params.yaml`, and what `artifacts/` held of it."""
        return Workspace(self.root / ".mm" / "origins" / model)

    def report(self, stage: str) -> Path:
        """A stage's report; `stage` is `validate` or, for one of several, `embed@text`."""
        return self.artifacts / "reports" / f"{stage.replace('@', '/')}.json"

    def page(self, stage: str) -> Path:
        """The same for a person: checks, the rows they are about, and what to do."""
        return self.artifacts / "pages" / f"{stage.replace('@', '/')}.html"

    def log(self, stage: str) -> Path:
        """A stage's timings, which differ between equal runs and so lie outside its outs."""
        return self.artifacts / "logs" / f"{stage.replace('@', '/')}.json"

    @property
    def check(self) -> Path:
        """What `mm check` wrote: the outs of `validate` for data that is only looked at."""
        return self.root / ".mm" / "check"

    @property
    def search(self) -> Path:
        """`proposal.yaml` and `history.svg` of the last `mm search`, and what each search knows."""
        return self.root / ".mm" / "search"

    @property
    def drift(self) -> Path:
        """By batch what `mm drift` found of it; and which batches have been ingested."""
        return self.root / ".mm" / "drift"

    @property
    def retraining(self) -> Path:
        """The git worktree in which retraining works, a whole project of its own."""
        return self.root / ".mm" / "worktrees" / "retraining"

    @property
    def retraining_state(self) -> Path:
        """What is remembered of it: which run it was prepared for, and whether that has ended."""
        return self.retraining.with_suffix(".json")

    def lock(self, stage: str) -> Path:
        """The file that one running stage holds."""
        return self.root / ".mm" / "locks" / f"{stage}.lock"

    @property
    def store(self) -> Path:
        """The embedding store, shareable between checkouts through `MM_STORE`."""
        return Path(os.environ.get("MM_STORE") or self.root / ".mm" / "store")

    @property
    def rejected(self) -> Path:
        """Vectors that are not finite, until a run has reported them."""
        return self.root / ".mm" / "rejected"

    @property
    def spool(self) -> Path:
        """Where rows that a network learns from wait, in a file without a name."""
        return self.root / ".mm" / "spool"

    @property
    def unfinished(self) -> Path:
        """What a training run that was interrupted has reached."""
        return self.root / ".mm" / "unfinished"

    @property
    def weights(self) -> Path:
        """Published weights, shareable between checkouts through `MM_WEIGHTS`."""
        return Path(os.environ.get("MM_WEIGHTS") or self.root / ".mm" / "weights")
