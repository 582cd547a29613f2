"""What there is to choose from for `modalities.KEY.encoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mm_assets.contracts.errors import ConfigError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from mm_assets.encoders.base import Encoder


# A backspace tells click to leave the lines as they are.
EXAMPLES = """\b
mm encoders
mm encoders audio
mm encoders mel_cnn
"""


@click.command(epilog=EXAMPLES)
@click.argument("name", required=False)
def encoders(name: str | None) -> None:
    """List the encoders, those of one kind of input, or all about one of them.

    NAME is a kind (text, image, ...) or an encoder. What it prints as an option goes beside `name`
    in params.yaml.
    """
    from mm_assets.encoders.base import find_encoder, list_encoders
    from mm_assets.modalities.base import list_kinds

    names = list_encoders()
    if name in names and name not in list_kinds():
        _describe(find_encoder(name))
        return
    found = [find_encoder(one) for one in names]
    for kind in list_kinds() if name is None else [_require_kind(name)]:
        click.secho(kind, bold=True)
        for encoder in found:
            if encoder.kind == kind:
                click.echo(f"  {encoder.name:<22}{_summarize(encoder)}")
    if name in names:  # `tabular` is a kind and an encoder of it
        click.echo()
        _describe(find_encoder(name))


def _require_kind(name: str) -> str:
    """Give a kind's name.

    Raises:
        ConfigError: It is none, nor an encoder's.
    """
    from mm_assets.encoders.base import list_encoders
    from mm_assets.modalities.base import list_kinds

    if name not in list_kinds():
        raise ConfigError(
            f"{name!r} is neither a kind of input ({', '.join(list_kinds())}) nor an encoder "
            f"({', '.join(list_encoders())})"
        )
    return name


def _summarize(encoder: type[Encoder]) -> str:
    from mm_assets.encoders.learned import LearnedEncoder

    if issubclass(encoder, LearnedEncoder):
        learns = f"learns its network ({' or '.join(encoder.objectives)})"
    else:
        learns = "takes statistics of training rows" if encoder.fitted else "learns nothing"
    more = ("" if encoder.exportable else "; no ONNX") + ("; sequences" * encoder.sequential)
    return f"{learns}; {encoder.size}{more}"


def _describe(encoder: type[Encoder]) -> None:
    """Print all that an encoder states, and its options with their defaults."""
    said = (encoder.__doc__ or "").strip().split("\n\n")
    click.secho(f"{encoder.name}, for {encoder.kind}", bold=True)
    click.echo("  " + " ".join(said[0].split()))
    facts = {
        "takes": encoder.input_shape,
        "gives": encoder.output_shape,
        "learns": _summarize(encoder).split(";")[0],
        "size": encoder.size,
        "ONNX": "yes" if encoder.exportable else "no, so set `export.enabled: false`",
        "sequences": "yes, with `sequence: true` beside `name`" if encoder.sequential else "no",
        "licence": encoder.licence,
        "source": encoder.source,
        "version": str(encoder.version),
    }
    for fact, value in facts.items():
        click.echo(f"  {fact + ':':<11}{value}")
    fields = encoder.options_model.model_fields
    if fields:
        click.echo("  options:")
    for option, field in fields.items():
        click.echo(f"    {option}: {_default(field)}")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(must be given)"
    default = field.get_default(call_default_factory=True)
    return "null" if default is None else str(default)
