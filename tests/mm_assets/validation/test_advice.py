import ast
from pathlib import Path

import pytest

from mm_assets.contracts.errors import DataContractError
from mm_assets.validation.advice import ADVICE, advise

PACKAGE = Path(__file__).parents[3] / "mm_assets"
PLACES = {"BadSampleError": 0, "report": 2}  # of the reason among the arguments


def find_reasons():
    """Collect every reason that the code base gives, from its syntax tree."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        constants = read_constants(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = PLACES.get(node.func.id, len(node.args))
                for part in node.args[place : place + 1]:
                    names = [n.value for n in ast.walk(part) if isinstance(n, ast.Constant)]
                    names += [
                        constants.get(n.id) for n in ast.walk(part) if isinstance(n, ast.Name)
                    ]
                    found |= {n for n in names if isinstance(n, str) and "_" in n}
    return found


def read_constants(tree):
    """Give a module's texts by name, such as ``A = "x"`` and ``A, B = "x", "y"``."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            pairs = (
                zip(target.elts, node.value.elts, strict=True)
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                else [(target, node.value)]
            )
            found |= {
                name.id: value.value
                for name, value in pairs
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant)
            }
    return found


def test_every_reason_in_the_code_has_advice_and_none_is_left_over():
    reasons = find_reasons()
    assert {"image_truncated", "label_contradicted", "file_empty"} <= reasons  # both branches
    assert set(ADVICE) == reasons


def test_advice_is_for_a_person():
    assert "`--file MODALITY=PATH`" in advise("image_truncated")
    assert all(len(text.split()) >= 5 for text in ADVICE.values())


def test_a_reason_that_no_rule_gives_is_refused():
    with pytest.raises(DataContractError, match=r"reason that a rule gives, got 'odd'; known are"):
        advise("odd")
