"""What README.md tells a reader to type exists."""

import re
from pathlib import Path

import click
import pytest

from mm_assets.cli.main import mm

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = {
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
}
COMMANDS |= set(re.findall(r"`((?:make|mm|dvc) [^`]+)`", README))


def commands_of(program):
    return sorted(command for command in COMMANDS if command.split()[:1] == [program])


@pytest.mark.parametrize("command", commands_of("make"))
def test_make_targets_exist(command):
    makefile = (ROOT / "Makefile").read_text()

    assert re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", commands_of("mm"))
def test_mm_commands_and_recipes_exist(command):
    name, *arguments = command.split()[1:]
    found = mm.get_command(click.Context(mm), name)

    assert found is not None
    if name == "use" and arguments and arguments[0].islower():
        assert (ROOT / "recipes" / f"{arguments[0]}.yaml").is_file()


@pytest.mark.parametrize("command", commands_of("dvc"))
def test_dvc_commands_name_stages_that_exist(command):
    stages = re.findall(r"^  (\w+):$", (ROOT / "dvc.yaml").read_text(), re.MULTILINE)
    _, name, *targets = command.split()

    assert name in {"repro", "status", "metrics", "plots", "pull", "add", "push"}
    if name == "repro":
        assert {target.split("@")[0] for target in targets if not target.startswith("-")} <= set(
            stages
        )


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_linked_files_exist(path):
    assert (ROOT / path).is_file()


def test_the_reader_is_shown_the_two_commands_first():
    assert README.index("make run") < README.index("make test") < README.index("dvc repro")
