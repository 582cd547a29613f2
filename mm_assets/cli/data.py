"""Commands about data: looking at a folder of one's own, and putting data in place."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mm_assets.contracts.errors import ConfigError

if TYPE_CHECKING:
    from mm_assets.contracts.config import Config
    from mm_assets.sources.folder import Column, Role, Survey

SHOWN_UNSURE = 20  # lines of the closing list
NO_COLUMN = "none"


class UseCommand(click.Command):
    """A command whose help lists the project's recipes."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line per recipe."""
        from mm_assets.sources.recipes import list_recipes

        with formatter.section("Recipes"):
            formatter.write_dl(
                list(list_recipes(Path.cwd()).items()) or [("(none)", "in recipes/")]
            )


@click.command(cls=UseCommand)
@click.argument("name")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the data is; the sample needs none.",
)
@click.option("--force", is_flag=True, help="Replace data/ even where DVC has no copy of it.")
def use(name: str, data: Path | None, force: bool) -> None:
    """Put recipe NAME in place: write params.yaml, fill data/ and record it with `dvc add data`."""
    from mm_assets.sources.recipes import use_recipe

    use_recipe(Path.cwd(), name, data=data, force=force)
    click.echo(f"params.yaml and data/ now hold recipe {name}; next: dvc repro")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--table", metavar="FILE", help="Which table; by default the largest.")
@click.option(
    "--as",
    "given",
    multiple=True,
    metavar="COLUMN=ROLE",
    help="What a column is used for: id, group, split, text, image, audio, features, numeric, "
    "categorical, binary, multiclass, multilabel, regression or unused.",
)
@click.option("--yes", is_flag=True, help="Ask nothing: mark what is unsure and go on.")
def init(folder: Path, table: str | None, given: tuple[str, ...], yes: bool) -> None:
    """Look at FOLDER, a table and media of your own, and write a commented params.yaml for it.

    What it is unsure of is asked, or else marked `# UNSURE` in params.yaml. FOLDER is left as it is.
    """
    from mm_assets.contracts.config import read_config
    from mm_assets.sources.folder import survey_folder
    from mm_assets.sources.proposal import write_proposal
    from mm_assets.sources.recipes import replace_params

    root = Path.cwd()
    survey = survey_folder(folder, table=table, roles=_read_roles(given))
    if sys.stdin.isatty() and not yes:
        survey = _ask(survey, _read_roles(given))
    before: Config | None = None
    with contextlib.suppress(ConfigError):  # none yet, or one that no run has used
        before = read_config(root / "params.yaml")
    text = write_proposal(survey, before=before)
    _require_valid(text, root)
    replace_params(root, text)
    _show(survey)
    _say_next(folder, root)


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace data/ even where DVC has no copy of it.")
def import_(folder: Path, force: bool) -> None:
    """Copy FOLDER, a table and its media, into data/ and record it with `dvc add data`."""
    from mm_assets.sources.recipes import import_folder

    import_folder(Path.cwd(), folder, force=force)
    click.echo(f"data/ now holds {folder}, and data.dvc its version; next: make run")


def _read_roles(given: tuple[str, ...]) -> dict[str, Role]:
    """Read ``COLUMN=ROLE``.

    Raises:
        BadParameter: It is not of that form, or there is no such role.
    """
    from mm_assets.sources.folder import ROLES

    roles: dict[str, Role] = {}
    for item in given:
        column, _, name = item.rpartition("=")
        role = next((known for known in ROLES if known == name), None)
        if not column or role is None:
            raise click.BadParameter(
                f"--as needs COLUMN=ROLE with a role of {', '.join(ROLES)}; got {item!r}"
            )
        roles[column] = role
    return roles


def _ask(survey: Survey, roles: dict[str, Role]) -> Survey:
    """Ask about the table, each unsure column and what is missing; an answer may settle others."""
    from mm_assets.sources.columns import quote
    from mm_assets.sources.folder import ROLES, TARGETS, reconsider, survey_folder

    if survey.others:
        names = [path.name for path in (survey.table, *survey.others)]
        name = click.prompt("which table", default=names[0], type=click.Choice(names))
        if name != survey.table.name:
            survey = survey_folder(survey.folder, table=name, roles=roles)
        survey = replace(survey, others=())
    for note in survey.notes:
        click.echo(f"note: {note}")
    while (column := _next_question(survey, roles)) is not None:
        values = survey.frame[column.name].dropna()
        click.echo(f"\n{column.name}: {column.reason}")
        if len(values):
            click.echo(f"  such as {', '.join(quote(value) for value in values.iloc[:3])}")
        roles[column.name] = click.prompt(
            "  use it as", default=column.role, type=click.Choice(ROLES)
        )
        survey = reconsider(survey, roles)
    names = [column.name for column in survey.columns]
    if not survey.having("id"):
        name = click.prompt(
            f"\nwhich column names the rows ({NO_COLUMN}: by their content)",
            type=click.Choice([*names, NO_COLUMN]),
            default=NO_COLUMN,
        )
        if name != NO_COLUMN:
            roles[name] = "id"
            survey = reconsider(survey, roles)
    columns = click.Choice(names)
    if not survey.having(*TARGETS):
        name = click.prompt("\nwhich column is to be predicted", type=columns)
        roles[name] = click.prompt("  of which kind", type=click.Choice(TARGETS))
        survey = reconsider(survey, roles)
    return survey


def _next_question(survey: Survey, answered: Mapping[str, Role]) -> Column | None:
    return next((column for column in survey.unsure if column.name not in answered), None)


def _require_valid(text: str, root: Path) -> None:
    """Validate as every stage does, before anything is written.

    Raises:
        ConfigError: What was written is no project; nothing is left behind.
    """
    from ruamel.yaml import YAML

    from mm_assets.contracts.config import parse_config
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.stages.project import build_project

    build_project(parse_config(YAML(typ="safe").load(text)), Workspace(root))


def _show(survey: Survey) -> None:
    """Say what was proposed, and apart what needs a look."""
    rows, columns = survey.frame.shape
    click.echo(f"{survey.table.name}: {rows} rows, {columns} columns")
    width = max(len(column.name) for column in survey.columns)
    for column in survey.columns:
        click.echo(f"  {column.name:<{width}}  {column.role:<11}  {column.reason}")
    unsure = [
        *(["several tables"] if survey.others else []),
        *(
            []
            if survey.having("id")
            else ["no column names the rows: each is named by its content"]
        ),
        *survey.notes,
        *(f"{column.name} as {column.role}" for column in survey.unsure),
    ]
    if unsure:
        click.echo("\nlook at these, marked `# UNSURE` in params.yaml:")
        for line in unsure[:SHOWN_UNSURE]:
            click.echo(f"  {line}")
        if len(unsure) > SHOWN_UNSURE:
            click.echo(f"  and {len(unsure) - SHOWN_UNSURE} more")


def _say_next(folder: Path, root: Path) -> None:
    inside = folder.resolve() == (root / "data").resolve()
    name = shlex.quote(str(folder))
    record = (
        ("dvc add data", "record its version")
        if inside
        else (f"mm import {name}", "copy it into data/ and record its version")
    )
    steps = [
        ("params.yaml", "is written: read it, and change what you know better"),
        (f"mm check {name}", "validate the folder where it lies"),
        record,
        ("make run", "the whole pipeline"),
    ]
    width = max(len(command) for command, _ in steps)
    click.echo("\nnext:")
    for command, what in steps:
        click.echo(f"  {command:<{width}}  {what}")
