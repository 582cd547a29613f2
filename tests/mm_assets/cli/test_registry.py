"""The commands, on the pipeline of the registry's tests."""

import importlib.util
from pathlib import Path

import pytest
from click.testing import CliRunner

from mm_assets.cli.main import mm
from mm_assets.contracts.errors import RegistryError

pytestmark = pytest.mark.slow
SPEC = importlib.util.spec_from_file_location(
    "registry_conftest", Path(__file__).parents[1] / "registry" / "conftest.py"
)
registry_conftest = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(registry_conftest)


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return registry_conftest.Pipeline(tmp_path)


def test_promote_refuse_roll_back_and_look(pipeline, run):
    assert "no model yet" in run("registry", "ls")
    pipeline.export()
    told = run("promote")
    assert (
        "  holds  candidate_is_not_worse\n    mood: accuracy: candidate 0.9, champion 0.5" in told
    )
    first = told.split(" is the champion now")[0].split()[-1]
    assert "nothing to do" in run("promote")

    pipeline.export(left=1, right=1)
    refused = CliRunner().invoke(mm, ["promote"])
    assert refused.exit_code == 1
    assert isinstance(refused.exception, RegistryError)
    assert f"the champion is still {first}\n  candidate_is_not_worse: " in str(refused.exception)
    assert "  FAILS  candidate_is_not_worse\n    ! mood: accuracy: candidate 0.7" in refused.stdout
    again = CliRunner().invoke(mm, ["promote", "--id"])
    assert again.exit_code == 0
    assert again.stdout.strip() not in ("", first)
    assert "against its gates" in run("promote", "--force", "a trial")

    assert f"{first} is the champion again" in run("rollback", "--reason", "it was a trial")
    listed = run("registry", "ls")
    assert f"* {first}  champion" in listed
    assert "taken_back" in listed
    assert ": it was a trial" in listed
    shown = run("registry", "show")
    assert shown.startswith(first)
    assert "judged without a champion on 200 test rows" in shown
    assert run("registry", "publish") == f"registry/champion is {first}\n"
    asked = run("predict", "--model", "registry/champion", "--left", "[1, 1]", "--json")
    assert '"mood"' in asked


def test_there_is_no_champion_to_show_at_first(pipeline):
    shown = CliRunner().invoke(mm, ["registry", "show"])
    assert shown.exit_code == 1
    assert "no champion yet" in str(shown.exception)
