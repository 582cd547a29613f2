"""`dvc.yaml` lists, for each stage, exactly the code that the stage imports."""

import ast
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

from mm_assets.contracts.config import Config

ROOT = Path(__file__).parents[2]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
# The harness looks names up for every stage alike; what it finds counts where a stage uses it.
HARNESS = "mm_assets.stages.project"
THROUGH_PROJECT = {
    "modalities": "mm_assets/modalities",
    "encoders": "mm_assets/encoders",
    "targets": "mm_assets/targets",
}


@pytest.fixture(scope="module")
def graph():
    # Imports under `if TYPE_CHECKING` run nothing; function-level imports do, and grimp sees them.
    return grimp.build_graph("mm_assets", exclude_type_checking_imports=True, cache_dir=None)


def collect_imports(graph, stage):
    """Follow imports from the stage's file, not through the harness."""
    found, queue = set(), [f"mm_assets.stages.{stage}"]
    while queue:
        module = queue.pop()
        if module in found or module == HARNESS:
            continue
        found.add(module)
        queue.extend(graph.find_modules_directly_imported_by(module))
    return found


def collect_through_project(stage):
    tree = ast.parse((ROOT / f"mm_assets/stages/{stage}.py").read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "project"
    }
    return {place for name, place in THROUGH_PROJECT.items() if name in used}


def to_place(module):
    """Name a layer by its folder and a stage by its file, as `dvc.yaml` does."""
    _, layer, *rest = [*module.split("."), ""]
    return f"mm_assets/stages/{rest[0]}.py" if layer == "stages" else f"mm_assets/{layer}"


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_what_the_stage_imports(graph, stage):
    declared = {
        dep
        for dep in STAGES[stage].get("do", STAGES[stage])["deps"]
        if dep.startswith("mm_assets/")
    }
    modules = {
        module
        for module in collect_imports(graph, stage)
        if module not in {"mm_assets", "mm_assets.stages"}
    }

    assert declared == {to_place(module) for module in modules} | collect_through_project(stage)


def test_every_stage_has_a_file_and_every_file_a_stage():
    files = {path.stem for path in (ROOT / "mm_assets/stages").glob("*.py")}

    assert files - {
        "__init__",
        "page",
        "project",
        "quarantine",
        "run",
        "shards",
        "summary",
        "trained",
    } == set(STAGES)


SECTIONS = set(Config.model_fields) - {"version"}
# The machine, not the result.
NEVER_DECLARED = {"compute"}
# `augment` takes one function of validation/rows.py; the one that reads `data` is validate's.
# `evaluate` writes evaluation/evidence.py's files; who reads them by `targets` is the card.
# Of stages/trained.py, `evaluate` and `export` take what reads no parameters of training.
READ_BY_ANOTHER = {
    "augment": {"data"},
    "evaluate": {"targets", "train"},
    "export": {"fusion", "train"},
}


def collect_sections(graph, stage):
    """Find the sections of `params.yaml` that the stage's code reads: `config.X`, `project.config.X`."""
    found = set()
    for module in collect_imports(graph, stage) - {"mm_assets.contracts.config"}:
        file = ROOT / (module.replace(".", "/") + ".py")
        tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([], [])
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in SECTIONS:
                owner = node.value
                named = isinstance(owner, ast.Name) and owner.id == "config"
                if named or (isinstance(owner, ast.Attribute) and owner.attr == "config"):
                    found.add(node.attr)
    # A modality's or encoder's own options come through the project.
    return found | ({"modalities"} if collect_through_project(stage) else set())


@pytest.mark.parametrize("stage", STAGES)
def test_no_section_is_read_that_the_stage_does_not_declare(graph, stage):
    declared = {name.split(".")[0] for name in STAGES[stage].get("do", STAGES[stage])["params"]}
    read = collect_sections(graph, stage)

    assert read, "the search finds nothing, so it would miss what is undeclared"
    assert read - NEVER_DECLARED - READ_BY_ANOTHER.get(stage, set()) <= declared


def test_bytecode_makes_no_stage_stale():
    ignored = (ROOT / ".dvcignore").read_text().splitlines()

    assert {"__pycache__/", "*.pyc"} <= set(ignored)
