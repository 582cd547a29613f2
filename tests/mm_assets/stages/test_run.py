import json
import shutil
from pathlib import Path

import pytest

from mm_assets.contracts.errors import ConfigError, StageError
from mm_assets.stages.project import load_project
from mm_assets.stages.run import (
    Declared,
    fingerprint,
    read_declared,
    remove_stale_modalities,
    run_stage,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path):
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "name: minilm",
            "name: minlm",
            r"`modalities.text.encoder.name` must be an encoder for text \(.*minilm.*\), got 'minlm'",
        ),
        (
            "name: minilm",
            "name: efficientnet_lite0",
            r"'efficientnet_lite0' reads image, but the modality is of kind text",
        ),
        (
            "name: minilm",
            "name: minilm, max_tokens: many",
            r"`modalities.text.encoder.max_tokens`: .*got 'many' \(str\)",
        ),
        (
            "name: minilm",
            "name: minilm, tokens: 3",
            r"`modalities.text.encoder.tokens` is not a known key",
        ),
        (
            "kind: text",
            "kind: txt",
            r"`modalities.text.kind` must be one of audio, events, .*, text, video, got 'txt'",
        ),
        ("name: late", "name: lat", r"`fusion.name` must be one of concat, .*, got 'lat'"),
        (
            "kind: multiclass",
            "kind: multi",
            r"`targets.sentiment.kind` must be one of .*multiclass.*, got 'multi'",
        ),
    ],
)
def test_a_wrong_name_or_option_stops_before_any_work(root, old, new, message):
    edit(root / "params.yaml", old, new)

    with pytest.raises(ConfigError, match=message):
        run_stage(root, "validate")
    assert not (root / "artifacts").exists()


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("embd", None, "no stage 'embd'; stages are validate"),
        ("embed", None, "embed with a modality"),
        ("embed", "smell", "no modality 'smell' in params.yaml; it has text, image, audio"),
    ],
)
def test_an_unknown_stage_is_refused(root, name, key, message):
    with pytest.raises(StageError, match=message):
        run_stage(root, name, key)


def test_a_stage_before_those_that_it_needs_says_what_to_run(root):
    needs = (
        r"stage augment needs artifacts/validated, which earlier .*`dvc repro augment`, which runs"
    )
    with pytest.raises(StageError, match=needs):
        run_stage(root, "augment")
    with pytest.raises(StageError, match="`dvc repro embed@text`, which runs those first"):
        run_stage(root, "embed", "text")


def test_a_stages_declaration_is_read_for_its_modality(root):
    declared = read_declared(root, "embed", "text")

    assert declared.params == ("seed", "targets", "modalities.text")
    assert "artifacts/augmented" in declared.deps


def test_a_fingerprint_moves_with_a_file_or_a_declared_parameter_and_nothing_else(root):
    declared = Declared(deps=("data",), params=("train",))
    (root / "data").mkdir()
    (root / "data/a.txt").write_text("1")
    first = fingerprint(root, declared)

    edit(root / "params.yaml", "seed: 34", "seed: 8")
    assert fingerprint(root, declared) == first
    edit(root / "params.yaml", "train: {}", "train: {epochs: 3}")
    assert fingerprint(root, declared) != first
    edit(root / "params.yaml", "train: {epochs: 3}", "train: {}")
    assert fingerprint(root, declared) == first
    (root / "data/a.txt").write_text("22")
    assert fingerprint(root, declared) != first


def test_a_modality_taken_out_leaves_no_folder_and_no_report(root):
    project = load_project(root)
    for key in ("text", "smell"):
        folder = project.workspace.embeddings(key)
        folder.mkdir(parents=True)
        for file in (
            project.workspace.report(f"embed@{key}"),
            project.workspace.page(f"embed@{key}"),
        ):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")

    remove_stale_modalities(project)

    assert project.workspace.embeddings("text").is_dir()
    assert project.workspace.report("embed@text").is_file()
    assert project.workspace.page("embed@text").is_file()
    assert not project.workspace.embeddings("smell").exists()
    assert not project.workspace.report("embed@smell").exists()
    assert not project.workspace.page("embed@smell").exists()


def test_input_that_moves_during_a_stage_fails_it(root, monkeypatch):
    import mm_assets.stages.validate as module

    def validate(project):
        (root / "data/samples.csv").write_text("moved")
        return None

    (root / "data").mkdir()
    (root / "data/samples.csv").write_text("id\n")
    monkeypatch.setattr(module, "validate", validate)

    with pytest.raises(
        StageError, match=r"validate read inputs that changed while it ran \(data/samples.csv\)"
    ):
        run_stage(root, "validate")
    assert not (root / "artifacts/reports").exists()


def test_a_breach_of_the_table_writes_the_report_and_then_fails(root):
    from mm_assets.contracts.errors import SuiteFailedError

    (root / "data").mkdir()
    (root / "data/samples.csv").write_text("id,customer\n1,a\n")

    with pytest.raises(
        SuiteFailedError,
        match=r"(?s)table_is_well_formed.*message.*about it: artifacts/pages/validate.html",
    ):
        run_stage(root, "validate")
    report = json.loads((root / "artifacts/reports/validate.json").read_text())
    assert [suite["name"] for suite in report["suites"]] == ["table_is_well_formed"]
    assert "Stopped: " in (root / "artifacts/pages/validate.html").read_text()
