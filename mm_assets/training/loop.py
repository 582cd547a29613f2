"""Training with modality dropout and early stopping, on vectors in memory.

In one process, or in several that share each batch (started by `torchrun`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from mm_assets.contracts.config import PseudoLabelConfig, TrainConfig
from mm_assets.contracts.errors import TrainingError
from mm_assets.fusion.steps import Steps
from mm_assets.training.batches import cut_batches, share_out
from mm_assets.training.calibration import calibrate
from mm_assets.training.examples import Examples
from mm_assets.training.memory import RunMemory, State, digest_run
from mm_assets.training.model import FusionModel
from mm_assets.training.objective import Objective, drop_modalities
from mm_assets.training.optimization import build_average, build_optimizer, build_schedule
from mm_assets.training.processes import Processes
from mm_assets.training.scoring import View, predict_views, score_views

# Where `train.batch_size` is null: a step costs as much for a hundred small tensors as for a hundred
# rows, and beyond some hundred steps an epoch more of them bring nothing.
SMALLEST_BATCH, MOST_BATCHES = 128, 256

Watch = Callable[["Epoch"], None]


@dataclass(frozen=True)
class Epoch:
    """One point of the learning curves; losses in nats, summed over weighted targets.

    The training loss is the mean over an epoch's batches, taken while the weights change and with
    modalities and numbers dropped. Epoch 0 is the untrained model: its training loss is that of as
    many training rows, drawn at random, as there are validation rows (or all, if fewer), and taken
    as theirs is.
    """

    epoch: int
    train_loss: float
    validation_loss: float


def train_model(
    model: FusionModel,
    train: Examples,
    validation: Examples,
    *,
    config: TrainConfig,
    weights: Mapping[str, float],
    seed: int,
    device: torch.device | None = None,
    watch: Watch | None = None,
    title: str = "train",
    memory: Path | None = None,
) -> list[Epoch]:
    """Train in place, keep the weights of the best epoch, then calibrate on validation rows.

    Calibration fits each target's temperature, each modality's trust and the thresholds of targets
    that have some.

    The validation loss is the mean over `views`: each row as it is, and each modality alone. The
    model is so stopped, and calibrated, for every subset it will meet rather than for complete
    rows only.

    Args:
        model: Untrained; its standardisation is fitted here, on `train`.
        train: Training rows and their copies.
        validation: Validation rows.
        config: The `train` section of `params.yaml`.
        weights: Of each target in the loss.
        seed: Decides the order of rows, modality dropout and dropout; equal seeds give equal
            models on one machine with one number of threads and of processes.
        device: Where the network is trained; the rows stay where they are.
        watch: Is told each epoch as it ends; before them the untrained model and, where a run goes
            on, the epochs before it was interrupted.
        title: Of the progress bar.
        memory: A folder that outlives a killed process, in which an unfinished run is kept; a run
            on the same rows with the same parameters goes on from there, to the same result.

    Returns:
        One point per epoch, the untrained model first; the kept one has the lowest validation loss.

    Raises:
        TrainingError: There are no rows, or the loss is no longer finite.
        ConfigError: `train.finetune` freezes weights that an encoder does not have, or all of them.
    """
    for name, rows in (("training", train), ("validation", validation)):
        if not len(rows):
            raise TrainingError(
                f"training needs at least 1 {name} row, got 0; change `split` in params.yaml or "
                "add groups of rows"
            )
    device = device or torch.device("cpu")
    model.fit_standardization(train.vectors, train.presence)
    kept = None
    if memory:
        parts = {
            "model": model.describe(),
            "config": config.model_dump(mode="json"),
            "weights": dict(weights),
            "seed": seed,
        }
        kept = RunMemory(memory, digest_run(parts, train, validation))
    run = _Run(model.to(device), train, validation, config, weights, device, kept)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        run.descend(seed, watch=watch, title=title)
    model.load_state_dict(run.best)
    model.to("cpu").eval()
    calibrate(model, validation, weights)
    if kept:
        kept.forget()
    return run.curve


class _Run:
    """Everything that changes while a model is trained, and how it is kept and found again."""

    def __init__(
        self,
        model: FusionModel,
        train: Examples,
        validation: Examples,
        config: TrainConfig,
        weights: Mapping[str, float],
        device: torch.device,
        memory: RunMemory | None,
    ) -> None:
        self.model, self.train, self.validation = model, train, validation
        self.config, self.weights, self.device, self.memory = config, weights, device, memory
        self.processes = Processes(device)
        self.objective = Objective(
            model,
            weights,
            alignment=config.alignment,
            add_up=self.processes.add_up,
            parts=self.processes.count,
        )
        self.step_loss = self.processes.wrap(self.objective)
        self.optimizer = build_optimizer(model, config)
        self.batch_size = config.batch_size or max(SMALLEST_BATCH, len(train) // MOST_BATCHES)
        self.steps = -(-len(cut_batches(train, self.batch_size)) // config.accumulate)
        self.schedule: LambdaLR = build_schedule(
            self.optimizer, config, steps=self.steps * config.epochs
        )
        self.average: AveragedModel | None = build_average(model, config)
        self.order = torch.Generator()
        self.curve: list[Epoch] = []
        self.best: dict[str, Tensor] = {}

    @property
    def scored(self) -> FusionModel:
        """The model whose weights count: their average, where one is asked for."""
        if self.average is None:
            return self.model
        return cast(FusionModel, self.average.module)

    def descend(self, seed: int, *, watch: Watch | None, title: str) -> None:
        """Run through the epochs, from the first or from where the run was interrupted.

        Raises:
            TrainingError: The loss is not finite.
        """
        self.order.manual_seed(seed)
        state = self.memory.read() if self.memory else None
        if state is not None:
            self._restore(state)
        else:
            self._align(title)
            some = cut_batches(self.train, len(self.validation), generator=self.order)[0]
            self._note(Epoch(0, self._score(self.train.take(some)), self._score(self.validation)))
        for known in self.curve:
            self._tell(watch, known)
        # Dropout differs between processes; what they must share comes from `order`.
        if self.processes.index:
            torch.manual_seed(seed + self.processes.index)
        begin, patience = self.curve[-1].epoch + 1, self.config.patience
        epochs = range(begin, self.config.epochs + 1)
        for epoch in self.processes.show_progress(epochs, title=title, unit="epoch"):
            if epoch - self._find_best().epoch > patience:
                break
            loss = self._run_epoch(self._fill_labels(epoch), epoch)
            self._note(Epoch(epoch, loss, self._score(self.validation)))
            self._tell(watch, self.curve[-1])
            if self.memory and self.memory.is_due():
                self._remember(self.memory)

    def _tell(self, watch: Watch | None, epoch: Epoch) -> None:
        if watch and not self.processes.index:
            watch(epoch)

    def _align(self, title: str) -> None:
        """Learn which modalities' vectors belong together, before any label is looked at."""
        epochs = range(1, self.config.alignment.epochs + 1) if self.config.alignment else range(0)
        self.objective.aligning = True
        for epoch in self.processes.show_progress(epochs, title=f"{title}: align", unit="epoch"):
            self._run_epoch(self.train, epoch)
        self.objective.aligning = False
        if epochs:  # the moments of the gradient that the optimizer remembers are of another loss
            self.optimizer.state.clear()
            self.schedule = build_schedule(
                self.optimizer, self.config, steps=self.steps * self.config.epochs
            )

    def _score(self, rows: Examples) -> float:
        return score_views(self.scored, rows, self.weights, self.device, training=True)

    def _find_best(self) -> Epoch:
        return min(self.curve, key=lambda epoch: epoch.validation_loss)

    def _note(self, epoch: Epoch) -> None:
        """Add a point to the curve, and keep the weights if they are the best.

        Raises:
            TrainingError: The validation loss is not finite.
        """
        if not math.isfinite(epoch.validation_loss):
            what = f"epoch {epoch.epoch}: the validation loss is {epoch.validation_loss}"
            raise TrainingError(self._explain_divergence(what))
        self.curve.append(epoch)
        if self._find_best() is epoch:
            self.best = copy.deepcopy(self.scored.state_dict())

    def _fill_labels(self, epoch: int) -> Examples:
        """Give training rows that lack a label what the model is sure of."""
        asked = self.config.pseudo_labels
        if asked is None or epoch < asked.start_epoch:
            return self.train
        return fill_labels(self.scored, self.train, asked, self.device)

    def _run_epoch(self, rows: Examples, epoch: int) -> float:
        """Take one step per `accumulate` batches; returns the mean loss over rows.

        Raises:
            TrainingError: The loss is not finite.
        """
        self.model.train()
        config, total = self.config, 0.0
        batches = cut_batches(rows, self.batch_size, generator=self.order)
        for number, chosen in enumerate(batches):
            shown = drop_modalities(
                rows.presence[chosen], config.modality_dropout, generator=self.order
            )
            alone = self._read_alone(rows)
            mine = self._take_share(chosen, rows)
            batch = rows.take(chosen[mine])
            if alone:
                batch = replace(batch, groups=None)
            loss = self._lose(batch.to(self.device), shown[mine].to(self.device))
            mean = self.processes.add_up(loss.detach()).item() / self.processes.count
            if not math.isfinite(mean):  # which all processes see, and stop
                what = f"epoch {epoch}, batch {number}: the loss is {mean}"
                raise TrainingError(self._explain_divergence(what))
            together = min(config.accumulate, len(batches) - number + number % config.accumulate)
            torch.autograd.backward(loss / together)
            if (number + 1) % config.accumulate == 0 or number + 1 == len(batches):
                self._step()
            total += mean * len(chosen)
        return total / len(rows)

    def _read_alone(self, rows: Examples) -> bool:
        """Decide whether a batch's rows are read without their groups."""
        context = self.model.config.context
        if rows.groups is None or context is None:
            return False
        return bool(torch.rand((), generator=self.order) < context.dropout)

    def _take_share(self, chosen: Tensor, rows: Examples) -> Tensor:
        """Give the places, in a batch, of the rows that this process computes."""
        places = torch.arange(len(chosen))
        groups = None if rows.groups is None else rows.groups[chosen]
        return share_out(places, groups, part=self.processes.index, parts=self.processes.count)

    def _lose(self, batch: Examples, shown: Tensor) -> Tensor:
        enabled = self.config.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
            loss: Tensor = self.step_loss(batch, shown)
        return loss

    def _step(self) -> None:
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def _remember(self, memory: RunMemory) -> None:
        """Write down where the run is; all processes are at the same place."""
        if not self.processes.index:
            memory.write(self._state())

    def _state(self) -> State:
        """Give everything that the rest of the run depends on."""
        return {
            "model": self.model.state_dict(),
            "best": self.best,
            "average": self.average.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "curve": [asdict(epoch) for epoch in self.curve],
            "order": self.order.get_state(),
            "dropout": torch.get_rng_state(),
            "dropout_cuda": torch.cuda.get_rng_state(self.device)
            if self.device.type == "cuda"
            else None,
        }

    def _restore(self, state: State) -> None:
        """Go back to where `_state` was taken."""
        self.model.load_state_dict(state["model"])
        self.best = state["best"]
        if self.average:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.curve = [Epoch(**epoch) for epoch in state["curve"]]
        self.order.set_state(state["order"])
        torch.set_rng_state(state["dropout"])
        if state["dropout_cuda"] is not None:
            torch.cuda.set_rng_state(state["dropout_cuda"], self.device)

    def _explain_divergence(self, what: str) -> str:
        """Name the modality whose vectors are not finite, if that is the cause.

        All rows are looked at: one vector that is not finite spoils the standardisation of the
        others. What was reached before is kept.
        """
        where = f"training stopped at {what}"
        for index, (name, matrix) in enumerate(self.train.vectors.items()):
            present = matrix[self.train.presence[:, index]]
            flat = present.flat() if isinstance(present, Steps) else present
            bad = ~torch.isfinite(flat).all(dim=1)
            if bad.any():
                return (
                    f"{where}, because {int(bad.sum())} of the {name!r} vectors are not finite; "
                    f"run `dvc repro -f embed@{name}` and look at its checks"
                )
        advice = (
            f"{where}, although the vectors of {', '.join(self.train.vectors)} are finite; lower "
            "`train.learning_rate` in params.yaml, or set `train.clip`"
        )
        if self.memory and self.best and not self.processes.index:
            file, best = self.memory.keep_best(self.best), self._find_best().epoch
            advice += f" (the best weights so far, of epoch {best}, are kept in {file})"
        return advice


def fill_labels(
    model: FusionModel,
    rows: Examples,
    asked: PseudoLabelConfig,
    device: torch.device | None = None,
) -> Examples:
    """Label rows by what the model is sure of, where no label is known.

    Args:
        model: Whose answers are taken, with what each row has.
        rows: Training rows.
        asked: How sure it must be.
        device: Where the model is.

    Returns:
        The rows, with labels of kinds that have a confidence filled in.

    Source:
        Lee 2013, Pseudo-Label, ICML workshop on challenges in representation learning.
    """
    labels = dict(rows.labels)
    wanted = {
        name: ~torch.from_numpy(target.is_known(labels[name].numpy()))
        for name, target in model.targets.items()
        if target.pseudo_labelled
    }
    chosen = torch.stack(list(wanted.values())).any(dim=0) if wanted else torch.zeros(0).bool()
    if not chosen.any():
        return rows
    # Rows of a group are read in each other's light, so all of them are answered.
    asking = chosen if rows.groups is None else torch.ones_like(chosen)
    (logits,) = predict_views(model, rows, [View(asking, rows.presence)], device)
    for name, unknown in wanted.items():
        found = model.targets[name].probabilities(logits[name]).numpy()
        sure = torch.from_numpy(model.targets[name].pseudo_labels(found, asked.confidence))
        labels[name] = labels[name].clone()
        labels[name][unknown] = sure[unknown[asking]]
    return replace(rows, labels=labels)
