import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from mm_assets.cli.main import mm
from mm_assets.contracts.config import read_config
from mm_assets.contracts.errors import ConfigError, SourceError
from mm_assets.contracts.workspace import Workspace
from mm_assets.sources.raw_data import bind_remote, record_data
from mm_assets.sources.recipes import import_folder, list_recipes, replace_params, use_recipe
from mm_assets.sources.sample.answer import tabulate_bounds
from mm_assets.stages.project import build_project

ROOT = Path(__file__).parents[3]
RECIPE = """# Notes of a clinic: text alone.
version: 2
modalities: {note: {kind: text, column: note, encoder: {name: minilm}}}
targets: {urgent: {kind: multiclass, column: urgent, classes: ["no", "yes"]}}
"""


def dvc(root, *arguments):
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path):
    """A git and DVC project with one recipe of its own, `clinic`."""
    root = tmp_path / "project"
    (root / "recipes").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (root / ".gitignore").write_text("/data\n")
    (root / "recipes/clinic.yaml").write_text(RECIPE)
    return root


@pytest.fixture
def clinic(tmp_path):
    folder = tmp_path / "clinic"
    folder.mkdir()
    (folder / "samples.csv").write_text("id,note,urgent\n1,chest pain,yes\n")
    return folder


def read_pointer(root):
    (out,) = YAML().load((root / "data.dvc").read_text())["outs"]
    return out


@pytest.mark.parametrize("name", list(list_recipes(ROOT)))
def test_every_shipped_recipe_is_a_project_and_says_what_it_is(name):
    config = read_config(ROOT / f"recipes/{name}.yaml")
    assert build_project(config, Workspace(ROOT)).config.modalities
    assert len(list_recipes(ROOT)[name]) > 30


@pytest.mark.slow
def test_a_recipe_of_ones_own_is_put_in_place_with_its_folder(project, clinic):
    use_recipe(project, "clinic", data=clinic)

    assert (project / "params.yaml").read_text() == RECIPE
    assert (project / "data/samples.csv").read_text().endswith("chest pain,yes\n")
    assert dvc(project, "status", "--json").strip() == "{}"
    assert "remote" not in read_pointer(project)


@pytest.mark.slow
def test_data_that_is_there_already_may_stay(project, clinic):
    clinic.rename(project / "data")
    use_recipe(project, "clinic")
    assert dvc(project, "status", "--json").strip() == "{}"


@pytest.mark.slow
def test_data_that_dvc_has_no_copy_of_is_not_replaced(project, clinic):
    (project / "data").mkdir()
    mine = project / "data/mine.csv"
    mine.write_text("never added")

    with pytest.raises(SourceError, match=r"no copy of.*keep them with `dvc add data`.*--force"):
        use_recipe(project, "clinic", data=clinic)
    assert mine.read_text() == "never added"
    assert not (project / "params.yaml").exists()

    dvc(project, "add", "data")
    mine.write_text("changed since")
    with pytest.raises(SourceError, match="no copy of"):
        use_recipe(project, "clinic", data=clinic)

    use_recipe(project, "clinic", data=clinic, force=True)
    assert not mine.exists()


@pytest.mark.slow
def test_data_that_dvc_has_can_be_replaced_and_brought_back(project, clinic):
    (project / "data").mkdir()
    (project / "data/mine.csv").write_text("added")
    dvc(project, "add", "data")
    before = (project / "data.dvc").read_text()

    use_recipe(project, "clinic", data=clinic)
    assert [p.name for p in (project / "data").iterdir()] == ["samples.csv"]

    (project / "data.dvc").write_text(before)
    dvc(project, "checkout", "data.dvc")
    assert (project / "data/mine.csv").read_text() == "added"


@pytest.mark.slow
def test_an_edited_params_file_is_kept_beside_and_a_recipe_is_not(project, clinic, capsys):
    use_recipe(project, "clinic", data=clinic)
    assert not (project / "params.yaml.bak").exists()

    edited = (project / "params.yaml").read_text() + "\n# mine\n"
    (project / "params.yaml").write_text(edited)
    use_recipe(project, "clinic")

    assert (project / "params.yaml.bak").read_text() == edited
    assert "your params.yaml is kept as params.yaml.bak" in capsys.readouterr().err


def test_what_was_kept_before_is_kept(tmp_path, capsys):
    params = tmp_path / "params.yaml"
    for text in ("one", "two", "two", "three"):
        replace_params(tmp_path, text)
    kept = {path.name: path.read_text() for path in tmp_path.glob("params.yaml.bak*")}
    assert (kept, params.read_text()) == (
        {"params.yaml.bak": "one", "params.yaml.bak2": "two"},
        "three",
    )
    assert capsys.readouterr().err.endswith("kept as params.yaml.bak2\n")


@pytest.mark.slow
def test_cmu_mosi_is_read_from_its_own_layout(project):
    released = ROOT / "../shared/data/cmu_mosi"
    if not released.is_dir():
        pytest.skip("CMU-MOSI is not on this machine")
    (project / "recipes/cmu_mosi.yaml").write_text((ROOT / "recipes/cmu_mosi.yaml").read_text())
    use_recipe(project, "cmu_mosi", data=released)
    assert {p.name for p in (project / "data").iterdir()} == {"samples.parquet", "card.json"}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "clinik",
            None,
            r"no recipe 'clinik' in .*; there are clinic, cmu_mosi, sample, sample_zh",
        ),
        ("clinic", None, r"recipe clinic needs a folder to read; give it with --data FOLDER"),
        ("cmu_mosi", None, r"recipe cmu_mosi needs a folder to read"),
        ("clinic", Path("nowhere"), r"--data must be a folder that exists, got nowhere"),
        ("sample", Path("here"), r"sample makes its own data; leave out --data here"),
        ("sample_zh", Path("here"), r"sample_zh makes its own data; leave out --data here"),
    ],
)
def test_an_unclear_wish_stops_before_any_work(project, name, data, message):
    for shipped in ("sample", "sample_zh", "cmu_mosi"):
        (project / f"recipes/{shipped}.yaml").write_text(RECIPE)
    with pytest.raises(SourceError, match=message):
        use_recipe(project, name, data=data)
    assert not (project / "data").exists()


@pytest.mark.slow
def test_a_folder_is_imported_under_the_params_that_are_there(project, clinic):
    (project / "params.yaml").write_text(RECIPE)
    (clinic / "photo/deep").mkdir(parents=True)
    (clinic / "photo/deep/a.png").write_bytes(b"png")
    (clinic / ".DS_Store").touch()
    import_folder(project, clinic)

    copied = {str(p.relative_to(project / "data")) for p in (project / "data").rglob("*.*")}
    assert copied == {"samples.csv", "photo/deep/a.png"}
    assert (project / "params.yaml").read_text() == RECIPE
    assert dvc(project, "status", "--json").strip() == "{}"

    (project / "data/mine.csv").write_text("never added")
    with pytest.raises(SourceError, match=r"no copy of.*keep them with `dvc add data`.*--force"):
        import_folder(project, clinic)
    assert (project / "data/mine.csv").is_file()


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", r"FOLDER must be a folder that exists, got .*nowhere"),
        (
            "empty",
            r"`data\.table` in params\.yaml is samples\.csv, and .*empty has no such file; run ",
        ),
        ("project/data", r"lies in data/ already; record its version with `dvc add data`"),
        (".", r"holds this project, which cannot be copied into its own data/; move the table"),
    ],
)
def test_a_folder_that_cannot_be_imported_is_refused(project, clinic, folder, message):
    (project / "params.yaml").write_text(RECIPE)
    for place in (project / "data", project.parent / "empty", project.parent):
        place.mkdir(exist_ok=True)
        if place.name != "empty":
            (place / "samples.csv").write_text("id,note,urgent\n")
    with pytest.raises(SourceError, match=message):
        import_folder(project, project.parent / folder)


def test_import_needs_params(project, clinic):
    with pytest.raises(ConfigError, match=r"params\.yaml not found in "):
        import_folder(project, clinic)


def test_an_invalid_recipe_stops_before_any_work(project, clinic):
    (project / "recipes/clinic.yaml").write_text(RECIPE.replace("column: note", "colum: note"))
    with pytest.raises(ConfigError, match=r"did you mean `column`"):
        use_recipe(project, "clinic", data=clinic)
    assert not (project / "data").exists()


@pytest.mark.slow
def test_a_failure_of_dvc_is_passed_on(project, clinic):
    (project / "dvc.yaml").write_text("stages: {a: {cmd: touch data, outs: [data]}}\n")
    with pytest.raises(SourceError, match=r"`dvc add data` failed in .*: ERROR"):
        use_recipe(project, "clinic", data=clinic)


@pytest.mark.slow
def test_the_samples_remote_is_bound_to_what_it_holds(project, clinic):
    dvc(project, "remote", "add", "sample", ".dvc/sample")
    clinic.rename(project / "data")
    dvc(project, "add", "data")

    assert not bind_remote(project)
    assert "remote" not in read_pointer(project)

    dvc(project, "push", "--remote", "sample")
    assert not bind_remote(project)
    assert read_pointer(project)["remote"] == "sample"
    assert not bind_remote(project)  # once is enough
    assert read_pointer(project)["remote"] == "sample"

    (project / "data/samples.csv").write_text("id,note,urgent\n1,a,no\n")
    assert record_data(project)
    assert "remote" not in read_pointer(project)

    (project / "data/samples.csv").write_text("id,note,urgent\n")
    use_recipe(project, "clinic")
    assert "remote" not in read_pointer(project)


@pytest.mark.slow
def test_the_chinese_sample_is_generated_and_has_the_same_answer(project):
    for name in ("sample", "sample_zh"):
        (project / f"recipes/{name}.yaml").write_text((ROOT / f"recipes/{name}.yaml").read_text())
    use_recipe(project, "sample_zh")
    card = json.loads((project / "data/card.json").read_text())
    assert card["title"] == "Messages to a service desk, in Chinese (generated sample)"
    assert card["upper_bounds"] == tabulate_bounds()
    first = (project / "data/samples.csv").read_text(encoding="utf-8").splitlines()[1]
    assert "的" in first
    english, chinese = (read_config(project / f"recipes/{n}.yaml") for n in ("sample", "sample_zh"))
    assert chinese.modalities["text"].encoder.name == "hashed_ngrams"
    assert chinese.targets == english.targets


def test_help_lists_the_recipes(project, monkeypatch):
    monkeypatch.chdir(project)
    shown = CliRunner().invoke(mm, ["use", "--help"]).output
    assert "clinic  Notes of a clinic: text alone." in shown


@pytest.mark.slow
def test_the_command_says_what_to_type_next(project, clinic, monkeypatch):
    monkeypatch.chdir(project)
    shown = CliRunner().invoke(mm, ["use", "clinic", "--data", str(clinic)]).stdout
    assert shown == "params.yaml and data/ now hold recipe clinic; next: dvc repro\n"
