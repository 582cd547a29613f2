"""What DVC has to do with it: each test starts it several times."""

import shutil
import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from mm_assets.contracts.errors import RegistryError
from mm_assets.registry.folders import digest_files, ignore_files, model_folder
from mm_assets.registry.promotion import promote, publish_champion, recover
from mm_assets.registry.record import read_registry, write_registry

pytestmark = pytest.mark.slow
STAGES = {
    name: {"cmd": "true", "params": ["seed"]} for name in ("train", "evaluate", "export", "card")
}


def dvc(root, *arguments):
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def tracked(pipeline):
    """The same pipeline under DVC; its stages make nothing, and are up to date."""
    pipeline.params["seed"] = 0
    pipeline.write()
    pipeline.export()
    YAML().dump({"stages": STAGES}, pipeline.root / "dvc.yaml")
    dvc(pipeline.root, "init", "-q", "--no-scm")
    dvc(pipeline.root, "config", "core.analytics", "false")
    dvc(pipeline.root, "repro", "-q")
    return pipeline


def test_a_clone_gets_the_champion_back_from_dvc(tracked):
    name = promote(tracked.root).name
    folder = model_folder(tracked.workspace, name)
    assert folder.with_name(f"{name}.dvc").is_file()
    assert dvc(tracked.root, "status", "--json").strip() == "{}"
    shutil.rmtree(folder)
    (tracked.workspace.registry / "champion").unlink()

    assert publish_champion(tracked.root) == name
    files = read_registry(tracked.workspace.registry).models[name].files
    assert digest_files(tracked.workspace.registry / "champion") == files


def test_what_a_kill_left_of_a_link_is_git_s_never_and_goes_with_the_next_one(pipeline):
    pipeline.export()
    left = pipeline.workspace.registry / ".champion.4711"
    left.parent.mkdir()
    left.symlink_to("models/nowhere")
    ignore_files(pipeline.workspace)
    subprocess.run(["git", "init", "-q"], cwd=pipeline.root, check=True)
    told = ["git", "status", "--porcelain", "--untracked-files=all", "registry"]
    said = subprocess.run(told, cwd=pipeline.root, capture_output=True, text=True, check=True)
    assert said.stdout == "?? registry/.gitignore\n"
    promote(pipeline.root)
    assert not left.is_symlink()


def test_a_stale_pipeline_has_no_candidate(tracked):
    tracked.params["seed"] = 1
    tracked.write()
    with pytest.raises(RegistryError, match=r"up to date.*card, evaluate, export would run again"):
        promote(tracked.root)


def test_what_a_kill_left_before_dvc_was_done_is_completed_or_undone(tracked):
    first = promote(tracked.root).name
    tracked.export(left=1, right=1)
    second = promote(tracked.root).name
    pointers = {
        name: model_folder(tracked.workspace, name).with_name(f"{name}.dvc")
        for name in (first, second)
    }
    pointers[second].unlink()
    recover(tracked.workspace)
    assert pointers[second].is_file()

    registry = read_registry(tracked.workspace.registry)
    write_registry(tracked.workspace.registry, registry.change(second, "candidate"))
    pointers[second].unlink()
    (model_folder(tracked.workspace, second) / "model.onnx").unlink()
    recover(tracked.workspace)
    assert list(read_registry(tracked.workspace.registry).models) == [first]
    assert not model_folder(tracked.workspace, second).exists()


def test_files_that_nobody_recorded_are_removed_and_those_of_another_branch_kept(tracked):
    promote(tracked.root)
    models = tracked.workspace.registry / "models"
    for name in ("half", "theirs"):
        (models / name).mkdir()
    (models / "theirs.dvc").write_text("outs: []")
    recover(tracked.workspace)
    assert not (models / "half").exists()
    assert (models / "theirs").exists()
