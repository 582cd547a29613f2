import json

import pytest

from mm_assets.contracts.config import parse_config
from mm_assets.contracts.errors import StageError
from mm_assets.evaluation.card import PageParts
from mm_assets.evaluation.evidence import EVIDENCE_VERSION, read_evidence
from mm_assets.evaluation.lines import list_lines

CONFIG = parse_config(
    {
        "version": 2,
        "modalities": {
            key: {"kind": "text", "column": key, "encoder": {"name": "minilm"}}
            for key in ("zebra", "apple")
        },
        "targets": {"mood": {"kind": "multiclass", "column": "mood"}},
    }
)
SCORES = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "rows": 9}
FOUND = {
    "headline": "accuracy",
    "majority": {**SCORES, "answer": "glad"},
    "as_given": SCORES,
    "subsets": {"apple": SCORES, "zebra": SCORES, "zebra+apple": SCORES},
}


def write(folder, evidence):
    (folder / "evidence.json").write_text(
        json.dumps({"schema_version": EVIDENCE_VERSION, "targets": evidence})
    )
    return folder


def test_subsets_come_in_the_order_of_the_modalities(tmp_path):
    found = read_evidence(write(tmp_path, {"other": {}, "mood": FOUND}), CONFIG)
    assert list(found) == ["mood"]
    assert list(found["mood"]["subsets"]) == ["zebra", "apple", "zebra+apple"]


def test_lines_go_from_the_majority_answer_to_the_rows_as_given(tmp_path):
    found = read_evidence(write(tmp_path, {"mood": FOUND}), CONFIG)["mood"]
    assert [label for label, _ in list_lines(found)] == [
        "always 'glad'", "zebra", "apple", "zebra + apple", "rows as given",
    ]  # fmt: skip


def test_a_single_modality_has_no_line_for_all_together():
    found = {**FOUND, "subsets": {"apple": SCORES}}
    assert [label for label, _ in list_lines(found)] == ["always 'glad'", "apple", "rows as given"]


def test_evidence_of_other_targets_say_what_to_run(tmp_path):
    with pytest.raises(StageError, match=r"lacks 'mood'.*run its stage: `dvc repro evaluate`"):
        read_evidence(write(tmp_path, {"other": FOUND}), CONFIG)


def test_absent_evidence_say_what_to_run(tmp_path):
    with pytest.raises(StageError, match=r"evidence\.json not found; run its stage: `dvc repro"):
        read_evidence(tmp_path, CONFIG)


def test_parts_of_a_page_are_its_sections_and_what_it_loads():
    parts = PageParts(
        '<link href="a.css"><section id="one"><h3 data-report="train">x</h3></section>'
        '<a href="followed.html">x</a><img src="b.png" srcset="c.png 2x"><object data="d.pdf">'
    )
    assert parts.sections == ["one"]
    assert parts.reports == ["train"]
    assert parts.resources == ["a.css", "b.png", "c.png 2x", "d.pdf"]


def test_evidence_of_another_release_is_made_again(tmp_path):
    (tmp_path / "evidence.json").write_text('{"schema_version": 0, "targets": {}}')
    with pytest.raises(StageError, match=r"schema version 0, this release reads \d; run its stage"):
        read_evidence(tmp_path, CONFIG)
