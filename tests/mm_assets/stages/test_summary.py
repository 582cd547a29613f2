import pytest
from ruamel.yaml import YAML

from mm_assets.contracts.report import ExpectationResult, StageReport, SuiteResult, Table
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import write_json
from mm_assets.evaluation.evidence import write_by_target
from mm_assets.stages.summary import write_summary

SCORES = {"accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75, "rows": 9, "groups": 3}
EVIDENCE = {
    "headline": "accuracy",
    "majority": {**SCORES, "answer": "glad"},
    "as_given": SCORES,
    "subsets": {"words": {**SCORES, "upper_bound": 0.875}},
}
WARNING = ExpectationResult(
    expectation="x", column="gain", success=False, severity="warning", expected="more", observed="0"
)


@pytest.fixture
def project(tmp_path):
    """Give a function that writes reports and evidence of a run with so many targets."""

    def write(*, targets=1, reasons=1, exported=True, results=()):
        names = [f"target{n}" for n in range(targets)]
        words = {"kind": "text", "column": "w", "encoder": {"name": "minilm"}}
        params = {
            "version": 2,
            "modalities": {"words": words},
            "targets": {name: {"kind": "multiclass", "column": name} for name in names},
            "evaluation": {"confidence": 0.9},
        }
        YAML().dump(params, tmp_path / "params.yaml")
        workspace = Workspace(tmp_path)
        write_by_target(workspace.evaluation / "evidence.json", dict.fromkeys(names, EVIDENCE))
        rows = tuple((f"reason{n}", 1, f"s{n}", "why") for n in range(reasons))
        columns = ("reason", "rows", "example", "detail")
        split_rows = {"train_rows": 70, "validation_rows": 15, "test_rows": 9}
        parity = {"parity_max_difference": 2e-6, "onnx_megabytes": 1.5}
        for report in (
            StageReport(
                stage="validate",
                rows_in=100,
                rows_out=94,
                tables=(Table(title="Why", columns=columns, rows=rows),),
                suites=(SuiteResult(name="s", results=tuple(results)),),
            ),
            StageReport(stage="augment", rows_in=94, rows_out=164, metrics=split_rows),
            StageReport(stage="export", rows_in=1, rows_out=1, metrics=parity if exported else {}),
        ):
            write_json(workspace.report(report.stage), report.model_dump(mode="json"))
        return workspace

    return write


def test_a_summary_reads_like_this(project):
    assert write_summary(project(results=[WARNING])) == (
        """\
Rows       100 in, 94 kept, 6 quarantined (6.0%)
               1  reason0, such as s0
Splits     70 train, 15 validation, 9 test

target0: accuracy on test rows
                   rows               90% interval   best possible
  always 'glad'       9    50.0%    25.0% -  75.0%
  words               9    50.0%    25.0% -  75.0%           87.5%
  rows as given       9    50.0%    25.0% -  75.0%

ONNX       largest difference from PyTorch 2.0e-06; 1.5 MB
Checks     0 failed, 1 with a warning, of 1 expectations
           warning: validate, gain: more; got 0
Card       artifacts/card/model_card.html

Next       make ui                           look at it in the Dagster web UI
           mm predict --words "..."          ask the exported model
           edit params.yaml, then dvc repro  run only what depends on the change
           mm promote                        put the model into use, if its gates hold"""
    )


def test_a_summary_fits_on_a_screen(project):
    summary = write_summary(project(targets=20, reasons=30, results=[WARNING] * 9))
    assert len(summary.splitlines()) <= 60
    assert "22 further reasons, see the card" in summary
    assert " more targets, see the card" in summary
    assert "Card       artifacts/card/model_card.html" in summary


def test_a_model_that_was_not_exported_is_said_to_be(project):
    assert "not exported (`export.enabled: false` in params.yaml)" in write_summary(
        project(exported=False)
    )


def test_one_group_of_test_rows_has_no_interval(project):
    workspace = project()
    alone = {**SCORES, "groups": 1}
    found = {**EVIDENCE, "as_given": alone, "subsets": {"words": alone}}
    write_by_target(workspace.evaluation / "evidence.json", {"target0": found})
    assert "  words               9    50.0%         one group\n" in write_summary(workspace)
