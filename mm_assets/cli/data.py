"""Commands about data: putting it in place."""

from __future__ import annotations

from pathlib import Path

import click


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
