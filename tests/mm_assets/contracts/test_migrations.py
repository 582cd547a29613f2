"""A params.yaml of an older release goes on working: `version_1/` holds real ones."""

import difflib
from pathlib import Path

import pytest
from click.testing import CliRunner

from mm_assets.cli.main import mm
from mm_assets.contracts.config import SCHEMA_VERSION, parse_config, read_config
from mm_assets.contracts.errors import ConfigError
from mm_assets.contracts.migrations import STEPS, upgrade_params

OLD, NEW = (Path(__file__).parent / f"version_{version}" for version in (1, 2))
BARE = """\
version: 1 # of old
# what to predict
targets:
  mood: # no kind: it was multiclass
    column: 'feeling'
    classes: [no, yes] # words in YAML 1.2
modalities:
  text: {kind: text, column: words, encoder: {name: minilm}}
"""


@pytest.mark.parametrize("recipe", ["sample", "cmu_mosi"])
def test_a_real_file_of_version_1_means_the_same_and_keeps_every_other_line(recipe):
    old = (OLD / f"{recipe}.yaml").read_text()
    with pytest.raises(ConfigError, match=r"`version` must be 2 .*got 1; `mm upgrade` rewrites"):
        read_config(OLD / f"{recipe}.yaml")

    new, changes = upgrade_params(old)

    differing = [
        line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[0] in "+-"
    ]
    assert differing == [
        "- version: 1",
        "+ version: 2",
        "+ expectations: {}",
        "- evaluation: {bootstrap: 1000}",
        "+ evaluation: {bootstrap: 1000, slices: []}",
    ]
    assert changes == [
        "`expectations` is new: further expectations of a column, none for now",
        "`evaluation.slices` is new: columns to look at test rows by, none for now",
        "`version` is now 2",
    ]
    config = parse_config_text(new)
    # The same file, as its authors rewrote it by hand for version 2.
    assert config == read_config(NEW / f"{recipe}.yaml")


def parse_config_text(text):
    from ruamel.yaml import YAML

    return parse_config(YAML(typ="safe").load(text))


def test_a_default_that_changed_is_written_down_and_comments_stay():
    new, changes = upgrade_params(BARE)

    assert changes[0] == "`targets.mood.kind` is multiclass, as it was by default"
    assert parse_config_text(new).targets["mood"].kind == "multiclass"
    assert parse_config_text(new).targets["mood"].classes == ["no", "yes"]
    for comment in ("# of old", "# what to predict", "# no kind", "# words in YAML 1.2"):
        assert comment in new
    assert "column: 'feeling'" in new
    assert list(parse_order(new)) == [
        "version",
        "targets",
        "expectations",
        "modalities",
        "evaluation",
    ]


def parse_order(text):
    return [line.split(":")[0] for line in text.splitlines() if line and line[0].isalpha()]


def test_a_second_upgrade_changes_nothing():
    new, _ = upgrade_params(BARE)
    assert upgrade_params(new) == (new, [])


def test_every_older_version_has_a_step():
    assert list(STEPS) == list(range(1, SCHEMA_VERSION))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 3", r"must be one of 1, 2 to be upgraded, got 3; a newer release wrote it, so"),
        ("version: 0", r"got 0; start from a recipe \(`mm use NAME`\) or write `version: 1`"),
        ("version: '1'", r"got '1'; start from a recipe"),
        ("version: true", r"got True; start from a recipe"),
        ("seed: 1", r"got None; start from a recipe .* if it is of the first release"),
        ("- 1", r"must hold a mapping of sections, got CommentedSeq"),
        ("a: [", r"is not valid YAML"),
        (
            "version: 1\nseeed: 3",
            r"`modalities` is missing.*`seeed` is not a known key; did you",
        ),
    ],
)
def test_what_cannot_be_upgraded_is_named(text, message):
    with pytest.raises(ConfigError, match=f"(?s)^old.yaml.*{message}"):
        upgrade_params(text, name="old.yaml")


def test_a_newer_file_is_not_told_to_be_upgraded():
    with pytest.raises(ConfigError, match=r"got 3; install the newer release$"):
        parse_config({"version": 3})


def test_the_command_keeps_the_old_file_and_says_what_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(BARE)

    done = CliRunner().invoke(mm, ["upgrade"], catch_exceptions=False)

    assert done.output.splitlines() == [
        "params.yaml upgraded (the old file is kept as params.yaml.bak):",
        "  `targets.mood.kind` is multiclass, as it was by default",
        "  `expectations` is new: further expectations of a column, none for now",
        "  `evaluation.slices` is new: columns to look at test rows by, none for now",
        "  `version` is now 2",
    ]
    assert Path("params.yaml.bak").read_text() == BARE
    assert read_config(Path("params.yaml")).version == 2
    again = CliRunner().invoke(mm, ["upgrade", "params.yaml"], catch_exceptions=False)
    assert again.output == "params.yaml is of the current version already; nothing to do\n"
    assert Path("params.yaml.bak").read_text() == BARE


def test_a_file_that_cannot_be_upgraded_stays_as_it_is(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\n")
    assert isinstance(CliRunner().invoke(mm, ["upgrade", str(file)]).exception, ConfigError)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]
    missing = CliRunner().invoke(mm, ["upgrade", str(tmp_path / "no.yaml")])
    assert "no.yaml not found in" in str(missing.exception)
