"""The sample's files come with a clone, through a DVC remote inside the repository."""

import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mm_assets.sources.sample import generate_sample

ROOT = Path(__file__).parents[3]


def is_bound():
    (out,) = YAML().load((ROOT / "data.dvc").read_text(encoding="utf-8"))["outs"]
    return out.get("remote") == "sample"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_bound(), reason="data.dvc holds other data than the sample"),
]


def run(root, *command):
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def dvc(root, *arguments):
    return run(root, sys.executable, "-m", "dvc", *arguments)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A fresh clone with its data pulled and nothing else."""
    root = tmp_path_factory.mktemp("clone") / "project"
    run(ROOT, "git", "clone", "--quiet", str(ROOT), str(root))
    (root / "data.dvc").write_bytes((ROOT / "data.dvc").read_bytes())
    dvc(root, "pull", "--quiet", "data.dvc")
    return root


def test_a_fresh_clone_pulls_the_data_without_any_cache(clone):
    assert (clone / "data/samples.csv").stat().st_size > 100_000
    assert dvc(clone, "status", "--json", "data.dvc").strip() == "{}"


def test_the_store_takes_little_room_in_git(clone):
    files = run(ROOT, "git", "ls-files", ".dvc/sample").splitlines()
    assert sum((ROOT / name).stat().st_size for name in files) < 12e6


def read_files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_generating_the_sample_again_gives_the_files_that_came(clone, tmp_path):
    generate_sample(tmp_path / "data")
    assert read_files(tmp_path / "data") == read_files(clone / "data")


def test_pushing_changed_data_adds_nothing_to_git(clone, tmp_path):
    dvc(clone, "remote", "add", "--local", "--default", "mine", str(tmp_path / "mine"))
    (clone / "data/samples.csv").unlink()  # it may be a read-only link into the cache
    (clone / "data/samples.csv").write_text("id,customer\n1,1\n", encoding="utf-8")

    dvc(clone, "add", "--quiet", "data")
    dvc(clone, "push", "--quiet")

    assert "remote: sample" in (clone / "data.dvc").read_text(encoding="utf-8")
    assert run(clone, "git", "status", "--porcelain", "--", ".dvc") == ""
    stored = (clone / ".dvc/sample").rglob("*.dir")
    assert len(list(stored)) == 2  # it did go to the store
