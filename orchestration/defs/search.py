"""Looking for better parameters: an action, since it remembers, and a person takes what it proposes."""

import base64
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from mm_assets.contracts.errors import MMAssetsError
from mm_assets.contracts.workspace import Workspace
from mm_assets.search.proposal import HISTORY_FILE, PROPOSAL_FILE, Proposal
from orchestration.components.events import make_table
from orchestration.dvc_stages import Stage, project_root, read_stages

ACTIONS = "actions"  # the group of assets that no run of the whole pipeline materializes


class SearchRun(dg.Config):
    """What may be said when it is launched."""

    trials: int | None = None


def build_search(deps: Iterable[str]) -> dg.AssetsDefinition:
    """Make the asset whose materialization runs a search; params.yaml stays as it is.

    Args:
        deps: The assets that trials are trained on.
    """

    @dg.asset(
        key="hyperparameter_search",
        deps=list(deps),
        group_name=ACTIONS,
        kinds={"optuna", "pytorch"},
        owners=["team:ml"],
        description="Better parameters, looked for on validation rows and proposed. A search that "
        "was stopped goes on where it was. `trials` in the launch configuration says how many in "
        "all, else `search.trials` of params.yaml.\n\n`mm search`, and `mm search --apply` to take "
        "what it proposes",
    )
    def run(
        context: dg.AssetExecutionContext, config: SearchRun
    ) -> Iterator[dg.MaterializeResult[None]]:
        yield materialize(config.trials, context.log.info)

    return run


def materialize(trials: int | None, log: Callable[[str], None]) -> dg.MaterializeResult[None]:
    """Search, and tell what came of it.

    Raises:
        dagster.Failure: The stages before it have not run, or params.yaml is wrong.
    """
    from mm_assets.search.trials import search  # brings torch, which loading definitions must not

    try:
        proposal = search(project_root(), trials, tell=log)
    except MMAssetsError as error:
        raise dg.Failure(str(error)) from None
    log(proposal.explain())
    return dg.MaterializeResult(metadata=describe(proposal, Workspace(project_root()).search))


def describe(proposal: Proposal, folder: Path) -> dict[str, dg.MetadataValue[Any]]:
    """Make the metadata: what is proposed, every trial, and the picture of both."""
    picture = base64.b64encode((folder / HISTORY_FILE).read_bytes()).decode()
    keys = list(dict.fromkeys(key for trial in proposal.trials for key in trial.values))
    found: dict[str, dg.MetadataValue[Any]] = {
        "outcome": dg.MetadataValue.md(proposal.explain()),
        "proposal": make_table(
            ["key", "old", "new"],
            [[key, str(change.old), str(change.new)] for key, change in proposal.changes.items()],
        ),
        "trials": make_table(
            ["trial", "loss_nats", *keys, "stopped"],
            [
                [
                    trial.number,
                    trial.loss,
                    *(trial.values.get(key) for key in keys),
                    trial.stopped,
                ]
                for trial in proposal.trials
            ],
        ),
        "what the loss depends on": make_table(
            ["key", "share"], [[key, share] for key, share in proposal.importance.items()]
        ),
        "history": dg.MetadataValue.md(f"![history](data:image/svg+xml;base64,{picture})"),
        "file": dg.MetadataValue.path(folder / PROPOSAL_FILE),
        "current_loss_nats": dg.MetadataValue.float(proposal.current_loss),
    }
    numbers = {"best_loss_nats": proposal.best_loss, "expected_gain_nats": proposal.expected_gain}
    return found | {
        name: dg.MetadataValue.float(value) for name, value in numbers.items() if value is not None
    }


def list_deps(stages: Iterable[Stage]) -> list[str]:
    """List the assets that a search reads: those that feed stage `train`, in a whole pipeline."""
    known = list(stages)
    train = next((stage for stage in known if stage.target == "train"), None)
    if train is None:
        return []
    return [stage.asset for stage in known if stage is not train and stage.feeds(train)]


@dg.definitions
def defs() -> dg.Definitions:
    """Offer the action where the pipeline trains a model on augmented samples."""
    stages = read_stages(project_root())
    if "augment" not in {stage.target for stage in stages}:
        return dg.Definitions()
    return dg.Definitions(assets=[build_search(list_deps(stages))])
