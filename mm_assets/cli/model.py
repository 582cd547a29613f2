"""Commands about models: asking the exported one, and fetching published weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from mm_assets.contracts.errors import ServingError

DEFAULT_MODEL = Path("artifacts/onnx")
# What an option of each kind takes that is no file; a mapping is JSON, such as '{"age": 30}'.
CELLS = {"text": "TEXT", "features": "LIST", "events": "LIST", "tabular": "MAPPING"}


class PredictCommand(click.Command):
    """A command with one more option for each modality of the exported model."""

    folder = DEFAULT_MODEL

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the model first: it decides which options there are."""
        self.folder = DEFAULT_MODEL
        for at, arg in enumerate(args):
            if arg == "--model" and at + 1 < len(args):
                self.folder = Path(args[at + 1])
            elif arg.startswith("--model="):
                self.folder = Path(arg.partition("=")[2])
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Add `--KEY` for each modality; help works without a model too.

        Raises:
            ServingError: There is no exported model.
        """
        from mm_assets.serving.predictor import read_signature

        params = super().get_params(ctx)
        try:
            modalities = read_signature(self.folder)["modalities"]
        except ServingError:
            if ctx.resilient_parsing or {"-h", "--help"} & set(sys.argv):
                return params
            raise
        found: list[click.Parameter] = []
        for entry in modalities:
            key = entry["name"]
            found.append(
                click.Option(
                    [f"--{key.replace('_', '-')}", key],
                    metavar=CELLS.get(entry["kind"], "FILE"),
                    help=f"The {entry['kind']} of the sample.",
                )
            )
        return found + params


# A backspace tells click to leave the lines as they are.
EXAMPLES = """\b
mm predict --text "The parcel never came, I am furious" --image photo.jpg --audio voice.ogg
mm predict --text "Thank you, it works again"
"""


@click.command(cls=PredictCommand, epilog=EXAMPLES)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=DEFAULT_MODEL,
    show_default=True,
    help="Folder of the exported model; registry/champion is the one in use.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def predict(model: Path, as_json: bool, **cells: str | None) -> None:
    """Ask the exported model about one sample.

    It runs in ONNX Runtime; no torch is imported. Give any of the model's modalities and leave out
    the others, which then count as missing. Classes come with calibrated probabilities, label sets
    with yes or no for each label, numbers in the unit of their column.
    """
    from mm_assets.serving.predictor import Predictor

    predictor = Predictor(model)
    outputs = predictor.compute([cells])
    if as_json:
        (answer,) = predictor.explain(outputs)
        click.echo(json.dumps(answer, ensure_ascii=False))
        return
    for name, target in predictor.targets.items():
        click.secho(name, bold=True)
        for line in target.as_lines(outputs[name][0]):
            click.echo(f"  {line}")


@click.command()
@click.argument("names", nargs=-1)
def weights(names: tuple[str, ...]) -> None:
    """Fetch the published weights of encoders, NAMES or all; what is there and whole is kept."""
    from mm_assets.contracts.workspace import Workspace
    from mm_assets.encoders.weights import fetch_weights

    folder = Workspace(Path.cwd()).weights
    fetched = fetch_weights(folder, names or None)
    click.echo(f"fetched {', '.join(fetched)}" if fetched else f"weights in {folder} are complete")
