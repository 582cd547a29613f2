"""Looking for better parameters: an action, since it remembers, and a person takes what it proposes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg

from mm_assets.contracts.errors import MMAssetsError
from mm_assets.contracts.workspace import Workspace
from mm_assets.search.proposal import HISTORY_FILE, PROPOSAL_FILE, Proposal
from orchestration.components.events import make_table
from orchestration.components.evidence import IMAGE_TYPES, show_picture
from orchestration.defs.promotion import ACTIONS
from orchestration.dvc_stages import Stage, project_root, read_stages

PROPOSAL = "hyperparameter_search"


class SearchRun(dg.Config):
    """What may be said when it is launched."""

    trials: int | None = None


def build_proposal(deps: Iterable[str]) -> dg.AssetSpec:
    """Make the asset that shows what the last search proposes; job `search` makes it, and no other run.

    Args:
        deps: The assets that trials are trained on.
    """
    return dg.AssetSpec(
        PROPOSAL,
        deps=list(deps),
        group_name=ACTIONS,
        kinds={"optuna", "pytorch"},
        owners=["team:ml"],
        description="Better parameters, looked for on validation rows and proposed. To look for "
        "them, launch job `search`; `mm search --apply` takes what it proposes.",
    )


@dg.op(name=PROPOSAL)
def look(context: dg.OpExecutionContext, config: SearchRun) -> None:
    """Search, and show what came of it; params.yaml stays as it is.

    Raises:
        dagster.Failure: The stages before it have not run, or params.yaml is wrong.
    """
    from mm_assets.search.trials import search  # brings torch, which loading definitions must not

    root = project_root()
    try:
        proposal = search(root, config.trials, tell=context.log.info)
    except MMAssetsError as error:
        raise dg.Failure(str(error)) from None
    context.log.info(proposal.explain())
    metadata = describe(proposal, Workspace(root).search)
    context.log_event(dg.AssetMaterialization(PROPOSAL, metadata=metadata))


@dg.job(
    name="search",
    description="Looks for better parameters on validation rows and proposes a change of params.yaml. "
    "One that was stopped goes on where it was. `trials` in the launchpad says how many in all, else "
    "`search.trials` of params.yaml.\n\n`mm search`",
)
def search_job() -> None:
    """Run the one op."""
    look()


def describe(proposal: Proposal, folder: Path) -> dict[str, dg.MetadataValue[Any]]:
    """Make the metadata: what is proposed, every trial, and the picture of both."""
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
        "history": show_picture(
            "history", IMAGE_TYPES[".svg"], (folder / HISTORY_FILE).read_bytes()
        ),
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
    return dg.Definitions(assets=[build_proposal(list_deps(stages))], jobs=[search_job])
