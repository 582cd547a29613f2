import errno
import shutil
import subprocess
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from mm_assets.cli import data as commands
from mm_assets.cli.main import mm
from mm_assets.contracts.config import read_config
from mm_assets.contracts.errors import DiskError, SourceError

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "../shared/data/av_digits"
ROWS = 60


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = tmp_path / "project"
    root.mkdir()
    shutil.copytree(ROOT / "recipes", root / "recipes")
    shutil.copy(root / "recipes/sample.yaml", root / "params.yaml")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    pd.DataFrame(
        {
            "key": [f"r{at}" for at in range(ROWS)],
            "text": [f"the service was not good on day {at} of it" for at in range(ROWS)],
            "score": [f"{at % 7}.{at % 3}" for at in range(ROWS)],
            "mood": ["glad", "sad"] * (ROWS // 2),
        }
    ).to_csv(folder / "rows.csv", index=False)
    return folder


def call(*arguments, typed=None):
    done = CliRunner().invoke(mm, list(map(str, arguments)), input=typed, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_init_writes_params_lists_what_is_unsure_and_says_what_is_next(project, folder):
    shown = call("init", folder)
    config = read_config(project / "params.yaml")
    assert config.data.table == "rows.csv"
    assert config.data.id == "key"
    assert list(config.targets) == ["score"]
    assert "  score  regression   perhaps what is to be predicted" in shown
    assert "look at these, marked `# UNSURE` in params.yaml:\n  score as regression\n" in shown
    assert f"  mm check {folder} " in shown
    assert f"  mm import {folder} " in shown
    assert "  make run " in shown
    assert not (project / "params.yaml.bak").exists(), "a recipe as it came needs no copy"
    assert [path.name for path in folder.iterdir()] == ["rows.csv"], "the folder stays as it is"


def test_what_is_next_can_be_pasted_whatever_the_folder_is_called(project, folder):
    folder = folder.rename(folder.with_name("meine Übung (1)"))
    assert f"  mm check '{folder}' " in call("init", folder)


def test_a_project_that_must_not_be_written_to_is_named(project, folder, monkeypatch):
    (project / "params.yaml").write_text("mine")

    def refuse(**_options):
        raise OSError(errno.EROFS, "Read-only file system", str(project / ".params.yaml.bak.x"))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(DiskError, match=rf"^{project} cannot be written to .*nothing was changed"):
        call("init", folder)
    assert (project / "params.yaml").read_text() == "mine"


def test_a_params_file_of_ones_own_is_kept(project, folder):
    (project / "params.yaml").write_text("mine")
    call("init", folder)
    assert (project / "params.yaml.bak").read_text() == "mine"


def test_what_a_column_is_for_can_be_said(project, folder):
    shown = call("init", folder, "--as", "mood=binary")
    assert list(read_config(project / "params.yaml").targets) == ["mood"]
    assert "UNSURE" not in shown + (project / "params.yaml").read_text()


@pytest.mark.parametrize("item", ["mood", "mood=target", "=binary"])
def test_a_role_that_is_none_is_refused(project, folder, item):
    done = CliRunner().invoke(mm, ["init", str(folder), "--as", item])
    assert done.exit_code == 2
    assert "--as needs COLUMN=ROLE with a role of id, group, split" in done.stderr


class Terminal:
    """`sys`, as the command sees it in a terminal."""

    class stdin:
        @staticmethod
        def isatty():
            return True


def test_in_a_terminal_it_asks_and_an_answer_leads_to_the_next_question(
    project, folder, monkeypatch
):
    monkeypatch.setattr(commands, "sys", Terminal)
    shown = call("init", folder, typed="unused\nnonsense\n\n")
    assert 'score: perhaps what is to be predicted: numbers from 0 to 6.2\n  such as "0.0"' in shown
    assert "'nonsense' is not one of 'id'" in shown
    assert list(read_config(project / "params.yaml").targets) == ["mood"]
    assert "UNSURE" not in (project / "params.yaml").read_text()


def test_in_a_terminal_the_table_and_what_is_missing_are_asked_for(project, folder, monkeypatch):
    monkeypatch.setattr(commands, "sys", Terminal)
    names = [f"n{at // 2}" for at in range(ROWS)]
    texts = [f"the train was late and I was not happy {at // 2}" for at in range(ROWS)]
    pd.DataFrame({"name": names, "text": texts}).to_csv(folder / "a.csv", index=False)
    typed = "a.csv\ncategorical\ntext\nname\ntext\nmulticlass\n"
    done = CliRunner().invoke(mm, ["init", str(folder)], input=typed)
    assert "which table (rows.csv, a.csv) [rows.csv]: a.csv" in done.stdout
    assert "names the rows (none: by their content) (name, text, none) [none]: name" in done.stdout
    assert "which column is to be predicted (name, text): text" in done.stdout
    assert "a.csv: no column is left to predict from" in str(done.exception)


def test_yes_asks_nothing_even_in_a_terminal(project, folder, monkeypatch):
    monkeypatch.setattr(commands, "sys", Terminal)
    call("init", folder, "--yes", typed="")
    assert "# UNSURE: perhaps" in (project / "params.yaml").read_text()


def test_a_folder_that_cannot_be_proposed_leaves_params_as_they_were(project, folder):
    before = (project / "params.yaml").read_text()
    (folder / "rows.csv").write_text("key,mood\n1,a\n2,b\n")
    with pytest.raises(SourceError, match=r"looks like a label|left to predict from"):
        call("init", folder)
    assert (project / "params.yaml").read_text() == before


@pytest.mark.slow
def test_a_folder_goes_all_the_way_into_data(project, folder):
    subprocess.run(["git", "init", "--quiet"], check=True)
    (project / ".dvc").mkdir()
    (project / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (project / ".gitignore").write_text("/data\n")
    call("init", folder)
    shown = call("import", folder)
    assert shown == f"data/ now holds {folder}, and data.dvc its version; next: make run\n"
    assert (project / "data/rows.csv").read_bytes() == (folder / "rows.csv").read_bytes()
    assert "  dvc add data " in call("init", "data"), "data/ itself needs no import"


def test_av_digits_is_proposed_as_its_recipe_has_it_but_for_encoders_that_learn(project):
    if not DIGITS.is_dir():
        pytest.skip("av_digits is not on this machine")
    call("init", DIGITS)
    proposed = read_config(project / "params.yaml")
    shipped = read_config(ROOT / "recipes/av_digits.yaml")
    seen, heard = shipped.modalities["image"], shipped.modalities["audio"]
    assert (seen.encoder.name, seen.options) == ("small_cnn", {})
    assert (heard.encoder.name, heard.options) == ("mel_cnn", {"trim_db": -20.0})
    modalities = {
        key: one.model_copy(update={"encoder": proposed.modalities[key].encoder, "options": {}})
        for key, one in shipped.modalities.items()
    }
    assert proposed == shipped.model_copy(update={"modalities": modalities})
