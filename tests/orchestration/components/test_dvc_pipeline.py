import re

import dagster as dg
import pytest

pytestmark = pytest.mark.slow  # each runs DVC or Dagster on a small project


def failed_steps(result):
    return [event.step_key for event in result.all_events if event.is_step_failure]


def evaluations(result):
    return {e.check_name: e for e in result.get_asset_check_evaluations()}


def test_assets_carry_what_dvc_yaml_says(shell, dagster):
    graph = dagster.definitions().resolve_asset_graph()
    node = graph.get(dg.AssetKey("validated"))
    assert node.description.startswith("Rows that are words.")
    assert "Its page: `artifacts/pages/validate.html`" in node.description
    assert node.group_name == "data"
    assert list(node.owners) == ["team:data"]
    assert "dagster/kind/python" in node.tags
    assert node.code_version
    assert {key.name for key in node.check_keys} == {"rows_are_words"}
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey("train")).parent_keys}
    assert parents == {"left_lengths", "right_lengths"}
    assert graph.get(dg.AssetKey("left_lengths")).parent_keys == {dg.AssetKey("validated")}


def test_checks_block_what_comes_after(shell, dagster):
    graph = dagster.definitions().resolve_asset_graph()
    specs = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    assert specs
    assert all(spec.blocking for spec in specs)


def test_after_a_run_at_the_shell_dagster_runs_no_stage(finished, dagster):
    """(a) of the two doors."""
    result = dagster.materialize_all()
    assert result.success
    assert finished.runs() == []
    assert set(dagster.staleness().values()) == {"FRESH"}


def test_a_changed_parameter_runs_what_depends_on_it_and_leaves_dvc_nothing(finished, dagster):
    """(b) of the two doors."""
    dagster.materialize_all()
    before = dagster.last("left_lengths").tags["dagster/data_version"]
    finished.edit("params.yaml", "left: {scale: 1}", "left: {scale: 5}")
    assert dagster.materialize_all().success
    assert finished.runs() == ["embed@left", "train"]
    assert dagster.last("left_lengths").tags["dagster/data_version"] != before
    assert "up to date" in finished.dvc("status")
    assert "up to date" in finished.dvc("repro")
    assert finished.runs() == []


def test_a_gate_that_is_passed_fails_a_blocking_check_and_stops_both_doors(finished, dagster):
    """(d) of the two doors."""
    finished.edit("params.yaml", "gate: 0.5", "gate: 0.1")
    result = dagster.materialize_all()
    assert not result.success
    assert failed_steps(result) == ["validated"]
    assert finished.runs() == ["validate"]
    check = evaluations(result)["rows_are_words"]
    assert not check.passed
    assert check.blocking
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert dagster.last("left_lengths") is None
    [failure] = [e for e in result.all_events if e.is_step_failure]
    reason = failure.step_failure_data.user_failure_data.description
    assert "rows_are_words: expected: at most gate (word); got more" in reason
    assert "'validate'" in finished.dvc("repro", status=255)
    assert finished.runs() == ["validate"]


def explode(root):
    (root / "data" / "rows.txt").write_text("boom")


def lose_code(root):
    (root / "steps.py").unlink()  # DVC stops before it deletes the old report


@pytest.mark.parametrize(
    ("crash", "reason"), [(explode, "rows.txt explodes"), (lose_code, "No such file or directory")]
)
def test_a_crash_shows_its_output_and_no_check_of_an_earlier_run(finished, dagster, crash, reason):
    finished.edit("params.yaml", "gate: 0.5", "gate: 0.1")
    finished.dvc("repro", "validate", status=255)  # leaves a report whose suite failed
    crash(finished.root)
    result = dagster.materialize_all()
    assert failed_steps(result) == ["validated"]
    assert evaluations(result) == {}
    [failure] = [e for e in result.all_events if e.is_step_failure]
    assert reason in failure.step_failure_data.user_failure_data.description


def test_a_warning_is_shown_and_stops_nothing(finished, dagster):
    finished.edit("params.yaml", "left: {scale: 1}", "left: {scale: -1}")
    result = dagster.materialize_all()
    assert result.success
    checks = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert [(e.asset_key.to_user_string(), e.severity) for e in checks] == [
        ("left_lengths", dg.AssetCheckSeverity.WARN)
    ]
    assert "train" in finished.runs()


def test_a_report_shows_as_rows_metrics_tables_and_plots_after_a_skip_too(finished, dagster):
    dagster.materialize_all()
    metadata = dagster.last("validated").metadata
    assert metadata["dagster/row_count"].value == 3
    assert metadata["rows_in"].value == 4
    assert metadata["bad_share"] == dg.MetadataValue.float(0.25)
    assert metadata["language"] == dg.MetadataValue.text("none")
    assert metadata["dot"].value.startswith("![dot](data:image/png;base64,iVBORw0KGgo")
    assert [record.data for record in metadata["reasons"].records] == [
        {"reason": "not a word", "rows": 1},
        {"reason": None, "rows": 0},
    ]
    assert re.fullmatch(
        r"http://127\.0\.0\.1:3001/[0-9a-f]{32}\.dir/page\.html", metadata["page: page"].value
    )


def test_a_suite_that_dvc_yaml_does_not_name_is_an_error(finished, dagster):
    finished.edit("dvc.yaml", "checks: [rows_are_words]", "checks: [rows_are_many]")
    result = dagster.materialize_all()
    [failure] = [e for e in result.all_events if e.is_step_failure]
    message = failure.step_failure_data.error_display_string
    assert "names the checks ['rows_are_many'] for stage 'validate'" in message
    assert "suites ['rows_are_words']" in message


@pytest.mark.parametrize("selection", ["*", "key:train", "group:data", "+train", "key:*_lengths"])
def test_selection_strings_of_dagster_work_beside_dvc(shell, dagster, selection):
    """(e): dvc alone would bring an antlr that breaks every one of them (dagster#27487)."""
    graph = dagster.definitions().resolve_asset_graph()
    assert dg.AssetSelection.from_string(selection).resolve(graph)
    assert dg.define_asset_job("chosen", selection=selection).selection.resolve(graph)


def test_a_modality_added_to_the_parameters_is_one_more_asset(shell, dagster):
    shell.edit("params.yaml", "right: {scale: 2}", "right: {scale: 2}, up: {scale: 1}")
    keys = {key.to_user_string() for key in dagster.definitions().resolve_all_asset_keys()}
    assert "up_lengths" in keys
