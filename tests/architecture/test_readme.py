"""What the READMEs and CONTRIBUTING.md tell a reader to type and to open exists."""

import re
from pathlib import Path

import click
import pytest

from mm_assets.cli.main import mm

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text() for name in ("README.md", "README.zh.md"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def list_blocks(page):
    return re.findall(r"^```(\w*)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def list_commands(page):
    """Take commands from shell blocks, without their comments, and from inline code."""
    lines = [
        line for kind, text in list_blocks(page) if kind == "bash" for line in text.split("\n")
    ]
    commands = {line.split("  #")[0].strip() for line in lines if line.strip()}
    return commands | set(re.findall(r"`((?:make|mm|dvc) [^`]+)`", page))


COMMANDS = list_commands(ENGLISH) | list_commands(CHINESE) | list_commands(CONTRIBUTING)


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
    if isinstance(found, click.Group) and arguments:
        found = found.get_command(click.Context(found), arguments[0])
        assert found is not None
    options = {option for parameter in found.params for option in parameter.opts}
    given = {argument for argument in arguments if argument.startswith("--")}
    if name != "predict":  # its options are the model's modalities
        assert given <= options | {"--help"}
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


@pytest.mark.parametrize(
    "path", re.findall(r"\]\((?!http)([^)#]+)\)", ENGLISH + CHINESE + CONTRIBUTING)
)
def test_linked_files_exist(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+/[a-z_]+\.py)`", CONTRIBUTING))))
def test_files_that_a_newcomer_is_sent_to_exist(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("page", [ENGLISH, CHINESE])
def test_the_reader_is_shown_the_two_commands_first(page):
    assert page.index("make run") < page.index("make test") < page.index("dvc repro")


def test_the_two_readmes_say_the_same_commands_in_the_same_order():
    """Comments are translated; what is typed or written is not."""

    def strip(kind, text):
        if kind not in {"bash", "yaml"}:
            return text
        return [line.split("  #")[0].rstrip() for line in text.splitlines()]

    english = [(kind, strip(kind, text)) for kind, text in list_blocks(ENGLISH)]
    chinese = [(kind, strip(kind, text)) for kind, text in list_blocks(CHINESE)]

    assert [kind for kind, _ in english] == [kind for kind, _ in chinese]
    for (kind, theirs), (_, ours) in zip(english, chinese, strict=True):
        if kind in {"bash", "yaml"}:
            assert theirs == ours


def test_the_two_readmes_have_the_same_sections_and_links():
    def outline(page):
        return (
            [len(marks) for marks in re.findall(r"^(#+) ", page, re.MULTILINE)],
            set(re.findall(r"\]\(([^)]+)\)", page)) - {"README.md", "README.zh.md"},
            page.count("\n| "),
        )

    assert outline(ENGLISH) == outline(CHINESE)
