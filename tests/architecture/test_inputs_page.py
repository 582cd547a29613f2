"""docs/inputs.md names every option of every kind of input, with its default."""

import importlib
import json
import re
from pathlib import Path

import pytest

from mm_assets.modalities.base import list_kinds

PAGE = (Path(__file__).parents[2] / "docs/inputs.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
SPECIAL = {("tabular", "columns")}  # stands beside `kind`
SHARED = {"video": "image"}  # takes what another kind takes


def list_rows(kind, heading):
    """Give options with their default as the section's tables under a heading write them."""
    found = {}
    for title, table in re.findall(
        r"^\| (\w+) \| default \|.*?\n(.*?)\n\n", SECTIONS[kind] + "\n", re.DOTALL | re.MULTILINE
    ):
        if title != heading:
            continue
        for line in table.splitlines()[1:]:
            names, default = (cell.strip() for cell in line.split("|")[1:3])
            names = re.findall(r"`(\w+)`", names)
            defaults = (
                default.split(", ")
                if len(names) > 1 and ", " in default
                else [default] * len(names)
            )
            found |= dict(zip(names, defaults, strict=True))
    return found


def write(field):
    if field.is_required():
        return "must be given"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, float):
        return f"{default:g}".replace("e+", "e")
    return json.dumps(default).strip('"')


@pytest.mark.parametrize("kind", list_kinds())
@pytest.mark.parametrize("heading", ["option", "augment"])
def test_every_option_is_named_with_its_default(kind, heading):
    modality = importlib.import_module(f"mm_assets.modalities.{kind}").MODALITY
    model = modality.options_model if heading == "option" else modality.augment_model
    told = list_rows(kind, heading)
    if heading == "augment" and kind in SHARED:
        told |= list_rows(SHARED[kind], heading)
    fields = {
        name: write(f) for name, f in model.model_fields.items() if (kind, name) not in SPECIAL
    }
    assert told == fields


@pytest.mark.parametrize("kind", list_kinds())
def test_limits_are_marked(kind):
    modality = importlib.import_module(f"mm_assets.modalities.{kind}").MODALITY
    marked = {
        name
        for line in SECTIONS[kind].splitlines()
        if "*limit" in line
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert marked == modality.options_model.limits
