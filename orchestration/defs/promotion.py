"""Which model is in use: an action, not a stage, since it remembers and changes what is served."""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from mm_assets.contracts.errors import MMAssetsError
from mm_assets.contracts.workspace import Workspace
from mm_assets.registry.promotion import Outcome, promote, roll_back
from mm_assets.registry.record import GATES, Claim, Gate
from orchestration.components.events import make_table
from orchestration.dvc_stages import project_root, read_stages
from orchestration.retraining.promotion import promote_retrained
from orchestration.retraining.run import OUTCOME, enter, is_retraining

ACTIONS = "actions"  # the group of assets that no run of the whole pipeline materializes
CHAMPION = "champion"
JUDGED = ("evaluate", "export", "card")  # stages whose outs a candidate is


def build_champion(deps: Iterable[str]) -> dg.AssetsDefinition:
    """Make the asset whose materialization runs the promotion; a refusal fails no run.

    Args:
        deps: The assets that a candidate is made of.
    """

    @dg.asset(
        key=CHAMPION,
        deps=list(deps),
        group_name=ACTIONS,
        kinds={"onnx"},
        owners=["team:ml"],
        description="The model in use. Materializing it promotes what the pipeline made, if every "
        "gate holds; else that is kept in `registry/`, and its checks say why.\n\n`mm promote`",
        check_specs=[
            dg.AssetCheckSpec(name, asset=CHAMPION, description=text)
            for name, text in GATES.items()
        ],
    )
    def run(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        yield materialize(context)

    return run


def materialize(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """Promote what this run's pipeline made, and tell what came of it.

    Raises:
        dagster.Failure: There is no candidate, or nothing to compare it on.
    """
    run, root, log = context.run, project_root(), context.log.info
    try:
        if is_retraining(run):
            outcome = promote_retrained(root, enter(root, context), log)
            # So that the list of runs says it, too.
            context.instance.add_run_tags(run.run_id, {OUTCOME: outcome.what})
        else:
            outcome = promote(root)
    except MMAssetsError as error:
        raise dg.Failure(str(error)) from None
    log(outcome.explain())
    verdict = outcome.model.verdict
    return dg.MaterializeResult(
        metadata=describe(outcome),
        check_results=[check(gate) for gate in verdict.gates] if verdict else [],
        data_version=dg.DataVersion(outcome.champion or "none"),
    )


@dg.op(
    config_schema={
        "model": dg.Field(str, is_required=False, description="Id of an earlier champion."),
        "reason": dg.Field(str, default_value="", description="For the history."),
    }
)
def put_back(context: dg.OpExecutionContext) -> None:
    """Put the previous champion, or the one that is named, back in its place.

    Raises:
        dagster.Failure: There is none, or its files cannot be had.
    """
    try:
        outcome = roll_back(
            project_root(), context.op_config.get("model"), reason=context.op_config["reason"]
        )
    except MMAssetsError as error:
        raise dg.Failure(str(error)) from None
    context.log.info(outcome.explain())
    context.log_event(
        dg.AssetMaterialization(
            CHAMPION,
            description=outcome.explain(),
            metadata=describe(outcome),
            tags={"dagster/data_version": outcome.name},
        )
    )


@dg.job(description="`mm rollback`: the previous champion again, in one step.")
def rollback() -> None:
    """Run the one op."""
    put_back()


def describe(outcome: Outcome) -> dict[str, dg.MetadataValue[Any]]:
    """Make the champion's metadata: what came of it, and every claim of every gate."""
    found: dict[str, dg.MetadataValue[Any]] = {
        "outcome": dg.MetadataValue.md(outcome.explain()),
        "candidate": dg.MetadataValue.text(outcome.name),
        "champion": dg.MetadataValue.text(outcome.champion or "none"),
        "served from": dg.MetadataValue.path(Workspace(project_root()).registry / CHAMPION),
    }
    if verdict := outcome.model.verdict:
        left_out = ", ".join(f"{count} {reason}" for reason, count in verdict.left_out.items())
        found |= {
            "compared with": dg.MetadataValue.text(verdict.champion or "no champion yet"),
            "test rows": dg.MetadataValue.int(verdict.rows),
            "test rows left out": dg.MetadataValue.text(left_out or "none"),
            "gates": tabulate(verdict.gates),
        }
    return found


def check(gate: Gate) -> dg.AssetCheckResult:
    """Make a gate's check; one that does not hold warns, for the champion stays as good as it was."""
    return dg.AssetCheckResult(
        check_name=gate.name,
        passed=gate.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(claim.explain() for claim in gate.claims if not claim.passed)
        or gate.description,
        metadata={"claims": tabulate([gate])},
    )


def tabulate(gates: Iterable[Gate]) -> dg.TableMetadataValue:
    """Show claims with both values and their threshold, one a row."""
    columns = list(Claim.model_fields)
    rows = [[gate.name, *claim.model_dump().values()] for gate in gates for claim in gate.claims]
    return make_table(["gate", *columns], rows)


@dg.definitions
def defs() -> dg.Definitions:
    """Offer both actions where the pipeline makes a candidate."""
    assets = {stage.target: stage.asset for stage in read_stages(project_root())}
    if not set(JUDGED) <= assets.keys():
        return dg.Definitions()
    return dg.Definitions(
        assets=[build_champion(assets[target] for target in JUDGED)], jobs=[rollback]
    )
