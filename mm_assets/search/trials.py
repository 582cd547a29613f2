"""Runs trials, and goes on where a search was stopped, however it was stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import optuna
import torch
from matplotlib.figure import Figure
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from mm_assets.contracts.errors import ConfigError, TrainingError
from mm_assets.data.atomic import atomic_file
from mm_assets.data.lock import hold_lock
from mm_assets.data.progress import announce
from mm_assets.search.bench import Bench, average_losses, open_bench
from mm_assets.search.comparison import Losses, compare_losses
from mm_assets.search.proposal import (
    HISTORY_FILE,
    Change,
    Proposal,
    Tried,
    write_proposal,
)
from mm_assets.search.space import (
    FUSION,
    Searched,
    Value,
    compose,
    list_keys,
    look_up,
    read_space,
)
from mm_assets.stages.project import Project, load_project
from mm_assets.training.curves import save_svg
from mm_assets.training.loop import Epoch

SEARCH_VERSION = 1
DIGITS = 3  # significant ones of a number that is tried, so that what is proposed can be read
WARM_UP = 10  # epochs before a trial may be stopped: a low rate starts slowly
FEWEST_RANKED = 10  # scored trials from which importances are told: of fewer they are chance
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
VALUES, REASON = "values", "reason"  # what a trial remembers beside Optuna's own


def search(
    root: Path, trials: int | None = None, *, tell: Callable[[str], None] = announce
) -> Proposal:
    """Try values of `search.space` on validation rows, and propose better ones.

    Trials of an earlier search of the same space on the same rows and vectors count: one that was
    stopped goes on, and comes to what it would have come to. Never reads a test row.

    Args:
        root: The project's root.
        trials: How many in all; by default `search.trials`.
        tell: Is given a line for each trial.

    Returns:
        What was found, as written to `.mm/search/proposal.yaml`.

    Raises:
        ConfigError: `params.yaml` is wrong; nothing was done.
        StageError: Another search runs, or the stages before `train` have not run.
        TrainingError: Today's parameters cannot be trained.
    """
    project = load_project(root)
    space = read_space(project)
    workspace = project.workspace
    # As in stage `train`: batches of a hundred vectors are too small to share out.
    torch.set_num_threads(project.config.compute.threads or 1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with hold_lock(workspace.lock("search"), what="mm search"), open_bench(project) as bench:
        digest = bench.digest(_describe(project, space))[:16]
        folder = workspace.search / digest
        current = _measure_current(bench, folder)
        study = open_study(folder / "study.log", pruned=_is_comparable(space))
        run_trials(bench, space, study, folder, trials or project.config.search.trials, tell=tell)
        proposal = judge(bench, space, study, folder, current, digest=digest)
        write_proposal(workspace, proposal)
        draw_history(proposal, workspace.search / HISTORY_FILE)
    return proposal


def _describe(project: Project, space: Sequence[Searched]) -> dict[str, object]:
    """Give all beside the rows that a trial's loss depends on, as JSON values."""
    params = project.config.model_dump(mode="json")
    kept = {name: params[name] for name in ("seed", "modalities", "targets", "fusion", "train")}
    for one in space:
        *parents, last = one.key.split(".")
        section = look_up(kept, ".".join(parents))
        if isinstance(section, dict):
            section.pop(last, None)
    searched = {one.key: one.values.model_dump(mode="json") for one in space}
    return {"search": SEARCH_VERSION, "space": searched, "params": kept}


def _is_comparable(space: Sequence[Searched]) -> bool:
    """Tell whether what trials are stopped by means the same in all of them."""
    return not any(one.key.startswith("targets.") for one in space)


def _measure_current(bench: Bench, folder: Path) -> Losses:
    """Measure today's parameters once for as long as they stay what they are."""
    config = bench.project.config
    described = config.model_dump(mode="json", include={"seed", "targets", "fusion", "train"})
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    file = folder / f"current-{digest[:12]}.npy"
    if not file.exists():
        save_losses(bench.measure(config, title="search: params.yaml as it is"), file)
    return load_losses(file)


def save_losses(losses: Losses, file: Path) -> None:
    """Keep a model's losses by group; atomically, for the search may be killed."""
    with atomic_file(file) as temporary, temporary.open("wb") as opened:
        np.save(opened, losses)


def load_losses(file: Path) -> Losses:
    """Read what `save_losses` kept."""
    losses: np.ndarray = np.load(file)
    return losses


def open_study(journal: Path, *, pruned: bool) -> optuna.Study:
    """Open the study, and fail a trial that a killed search left running, so that it runs again.

    One whose process died twice does not: it may want more memory than there is.

    Args:
        journal: Every step that the study has taken, a line each.
        pruned: Whether trials are stopped that fall behind the others.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    _heal(journal)
    study = optuna.create_study(
        study_name="search",
        storage=JournalStorage(JournalFileBackend(str(journal))),
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=WARM_UP)
        if pruned
        else optuna.pruners.NopPruner(),
        direction="minimize",
        load_if_exists=True,
    )
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    died = [trial.user_attrs[VALUES] for trial in failed if VALUES in trial.user_attrs]
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        again = trial.user_attrs.get(VALUES) in died
        study.tell(trial.number, state=TrialState.PRUNED if again else TrialState.FAIL)
    return study


def _heal(journal: Path) -> None:
    """Take away a line that was written by half, and Optuna's lock: ours says that we are alone.

    Optuna reads no line after a broken one, and waits half a minute for a lock of a dead process.
    """
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.exists():
        content = journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with atomic_file(journal) as temporary:
                temporary.write_bytes(whole)


def run_trials(
    bench: Bench,
    space: Sequence[Searched],
    study: optuna.Study,
    folder: Path,
    trials: int,
    *,
    tell: Callable[[str], None],
) -> None:
    """Run trials until so many are finished, scored or stopped."""
    config = bench.project.config
    while (done := len(study.get_trials(deepcopy=False, states=FINISHED))) < trials:
        # A sampler's random state is lost with its process. Made anew for each trial, a search that
        # was killed draws what it would have drawn.
        seed = np.random.SeedSequence([config.seed, done]).generate_state(1)[0]
        study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        trial = study.ask()
        values = draw_values(trial, space, config.fusion.name)
        trial.set_user_attr(VALUES, values)
        said = f"trial {done + 1} of {trials}"
        try:
            losses = bench.measure(
                compose(bench.project, values), watch=_follow(trial), title=f"search: {said}"
            )
        except (optuna.TrialPruned, ConfigError, TrainingError) as error:
            trial.set_user_attr(REASON, str(error))
            study.tell(trial, state=TrialState.PRUNED)
            tell(f"{said}: {str(error).splitlines()[0]}")
        else:
            save_losses(losses, _locate(folder, trial.number))
            loss = float(average_losses(losses.sum(axis=0), bench.weights))
            study.tell(trial, loss)
            tell(f"{said}: {loss:.4f} nats (best {study.best_value:.4f})")


def _follow(trial: optuna.Trial) -> Callable[[Epoch], None]:
    """Make what stops a trial that has fallen behind the others."""

    def watch(epoch: Epoch) -> None:
        trial.report(epoch.validation_loss, epoch.epoch)
        if trial.should_prune():
            raise optuna.TrialPruned(f"stopped at epoch {epoch.epoch}, behind half of the others")

    return watch


def draw_values(trial: optuna.Trial, space: Sequence[Searched], fusion: str) -> dict[str, Value]:
    """Draw a trial's values; options of a fusion that is not drawn are left out.

    Args:
        trial: That draws.
        space: Of `read_space`.
        fusion: In use, where the space has none.
    """
    values: dict[str, Value] = {}
    for one in space:
        name = str(values.get(FUSION, fusion))
        if one in list_keys([one], name):
            values[one.key] = _draw(trial, one)
    return values


def _draw(trial: optuna.Trial, one: Searched) -> Value:
    log = one.values.log
    if one.bounds is None:
        choice: Value = trial.suggest_categorical(one.key, one.extremes)
        return choice
    low, high = one.bounds
    if one.whole:
        return trial.suggest_int(one.key, int(low), int(high), log=log)
    drawn = trial.suggest_float(one.key, low, high, log=log)
    return min(max(float(f"{drawn:.{DIGITS}g}"), low), high)


def _locate(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:04d}.npy"


def judge(
    bench: Bench,
    space: Sequence[Searched],
    study: optuna.Study,
    folder: Path,
    current: Losses,
    *,
    digest: str,
) -> Proposal:
    """Compare the best trial with today's parameters, and propose it where it is better."""
    config = bench.project.config
    finished = study.get_trials(deepcopy=False, states=FINISHED)
    scored = [trial for trial in finished if trial.state == TrialState.COMPLETE]
    proposal = Proposal(
        search=digest,
        rows=len(bench.material.validation),
        current_loss=float(average_losses(current.sum(axis=0), bench.weights)),
        changes={},
        importance=rank_keys(study, scored),
        trials=[_tabulate(place, trial) for place, trial in enumerate(finished, start=1)],
    )
    if not scored:
        return proposal
    gain = compare_losses(
        current,
        [load_losses(_locate(folder, trial.number)) for trial in scored],
        bench.weights,
        resamples=config.evaluation.bootstrap,
        confidence=config.evaluation.confidence,
        seed=config.seed,
    )
    best = min(scored, key=lambda trial: trial.value or 0.0)
    better = gain.nats > 0 and gain.expected > 0
    changes = list_changes(bench.project, best.user_attrs[VALUES]) if better else {}
    return proposal.model_copy(
        update={
            "best_loss": best.value,
            "gain": gain.nats,
            "gain_low": gain.low,
            "gain_high": gain.high,
            "expected_gain": gain.expected,
            "changes": changes,
        }
    )


def _tabulate(place: int, trial: FrozenTrial) -> Tried:
    return Tried(
        number=place,
        loss=trial.value if trial.state == TrialState.COMPLETE else None,
        values=trial.user_attrs[VALUES],
        stopped=None
        if trial.state == TrialState.COMPLETE
        else trial.user_attrs.get(REASON, "its process died twice, for want of memory perhaps"),
    )


def list_changes(project: Project, values: Mapping[str, Value]) -> dict[str, Change]:
    """List the keys whose value differs from today's, the options of another fusion among them."""
    old = project.config.model_dump(mode="json")
    new = compose(project, values).model_dump(mode="json")
    keys = list(values)
    if look_up(old, FUSION) != look_up(new, FUSION):
        # All of them at once: those of the other fusion are no keys of this one.
        keys = [key for key in keys if not key.startswith("fusion.options.")] + ["fusion.options"]
    return {
        key: Change(old=look_up(old, key), new=look_up(new, key))
        for key in keys
        if look_up(old, key) != look_up(new, key)
    }


def rank_keys(study: optuna.Study, scored: Sequence[FrozenTrial]) -> dict[str, float]:
    """Tell which share of the loss's variation each key accounts for; none from few trials.

    Source:
        Watanabe, Bansal and Hutter 2023, https://arxiv.org/abs/2304.10255 (PED-ANOVA).
    """
    if len(scored) < FEWEST_RANKED or len({trial.value for trial in scored}) == 1:
        return {}
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {key: round(share, 4) for key, share in found.items()}


def draw_history(proposal: Proposal, file: Path) -> None:
    """Draw each trial's loss, the best so far, and today's parameters."""
    scored = [(trial.number, trial.loss) for trial in proposal.trials if trial.loss is not None]
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    if scored:
        numbers, losses = zip(*scored, strict=True)
        axes.plot(numbers, losses, "o", markersize=4, label="trial")
        axes.step(numbers, np.minimum.accumulate(losses), where="post", label="best so far")
    axes.axhline(proposal.current_loss, color="0.5", linestyle=":", label="params.yaml as it is")
    axes.set(xlabel="trial", ylabel="validation loss, nats", title="Search")
    axes.legend()
    save_svg(figure, file)
