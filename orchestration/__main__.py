"""`python -m orchestration`: the pipeline in this process; `retrain`; `ui` with web UI and daemon."""

import gc
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import click
import dagster as dg
from dagster._core.utils import make_new_run_id
from dvc.exceptions import DvcException
from sqlalchemy.exc import OperationalError

from mm_assets.contracts.errors import MMAssetsError
from mm_assets.contracts.workspace import Workspace
from orchestration.databases import hold_databases
from orchestration.dvc_stages import project_root
from orchestration.pages import PagesError, start_pages
from orchestration.reconcile import reconcile_runs, tag_process


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--select", help="Dagster's asset selection, such as +fusion_model.")
@click.pass_context
def main(context: click.Context, select: str | None) -> None:
    """Materialize the asset graph here and now; what is up to date is skipped."""
    prepare_home()
    if context.invoked_subcommand is None:
        run_job("pipeline", select)


@main.command()
def retrain() -> None:
    """Retrain from what is committed, in a worktree beside, and promote what is better.

    As the schedule and the sensors do; your own files stay as they are. It ends with one commit on
    the branch `retraining`.
    """
    run_job("retrain")


@main.command()
@click.option("--port", default=3000, show_default=True)
@click.option("--pages-port", type=int, help="Of the stages' HTML pages; by default the next one.")
def ui(port: int, pages_port: int | None) -> None:
    """Serve the web UI on 127.0.0.1, with the daemon that runs schedules and sensors."""
    try:
        start_pages(pages_port or port + 1)
    except PagesError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
    with dg.DagsterInstance.get() as instance:
        reconcile_runs(instance)
    os.chdir(Path(__file__).parents[1])  # where pyproject.toml names the definitions
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)]
    os.execv(sys.executable, command)


def prepare_home() -> Path:
    """Make the folder in which Dagster keeps runs and events: `DAGSTER_HOME`, else `.dagster/`."""
    home = Path(os.environ.get("DAGSTER_HOME") or project_root() / ".dagster").resolve()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)  # for the processes that we start
    if not (home / "dagster.yaml").exists():
        shutil.copy(Path(__file__).with_name("dagster.yaml"), home)
    return home


def run_job(name: str, select: str | None = None) -> NoReturn:
    """Run a job and end this process with its status."""
    try:
        sys.exit(materialize(name, select))
    except (MMAssetsError, DvcException, dg.DagsterError) as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
    except OperationalError as error:
        home = os.environ["DAGSTER_HOME"]
        click.secho(
            f"error: Dagster cannot write its database in {home} ({error.orig}); see whether that "
            "disk is full or read-only, and run the same command again: what is done is kept",
            fg="red",
            err=True,
        )
        sys.exit(1)


def materialize(name: str, select: str | None = None) -> int:
    """Materialize a job's assets one after another and say how it went.

    Args:
        name: Of the job.
        select: Dagster's asset selection; none for all.

    Returns:
        The exit status: 0 when every selected asset is up to date, else 1.
    """
    job = load_job(name)
    selection = dg.AssetSelection.from_string(select) if select else dg.AssetSelection.all()
    chosen = selection.resolve(job.asset_layer.asset_graph)
    with dg.DagsterInstance.get() as instance:
        reconcile_runs(instance)
        run_id = make_new_run_id()
        with hold_databases(instance, run_id):
            result = job.execute_in_process(
                instance=instance,
                asset_selection=sorted(chosen),
                raise_on_error=False,
                run_config={"loggers": {"compact": {}}},
                run_id=run_id,
                tags=tag_process(run_id),
            )
    if not result.success:
        click.secho(
            explain_failures(result, {key.to_user_string() for key in chosen}), fg="red", err=True
        )
        return 1
    if name == "pipeline" and select is None:
        from mm_assets.stages.summary import write_summary

        click.echo(f"\n{write_summary(Workspace(project_root()))}")
    return 0


def load_job(name: str) -> dg.JobDefinition:
    """Load the definitions; Dagster wraps what goes wrong in them, and here it is unwrapped."""
    gc.disable()  # all that is made here stays; to look through it again and again takes half a second
    try:
        from orchestration.definitions import defs

        return defs().resolve_job_def(name)
    except Exception as error:  # Dagster's own wrapper has no public name; all else is raised again
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, MMAssetsError | DvcException):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None
    finally:
        gc.freeze()
        gc.enable()


def explain_failures(result: dg.ExecuteInProcessResult, chosen: set[str]) -> str:
    """Name each asset that failed with its reason, and those that wait for it."""
    blocks = {}
    for event in result.all_events:
        if event.is_step_failure and event.step_key:
            data = event.step_failure_data
            reason = data.user_failure_data and data.user_failure_data.description
            blocks[event.step_key] = reason or data.error_display_string
    done = {
        event.asset_key.to_user_string()
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    lines = [f"\n{asset} failed\n{reason}" for asset, reason in blocks.items()]
    if waiting := sorted(chosen - done - blocks.keys()):
        lines.append(f"not run: {', '.join(waiting)}")
    lines.append("Finished assets are kept: run the same command again once mended.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
