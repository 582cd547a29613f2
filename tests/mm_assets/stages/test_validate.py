import json

import pandas as pd
import pytest

from mm_assets.contracts.errors import ConfigError, SourceError
from mm_assets.stages.validate import validate


def read(project, name):
    return pd.read_parquet(project.workspace.validated / f"{name}.parquet")


def test_good_rows_all_stay_with_their_measurements(small):
    project = small.load()
    report = validate(project)
    samples, probes = read(project, "samples"), read(project, "probes")
    assert (report.rows_in, report.rows_out, report.blocks) == (60, 60, False)
    assert list(samples.columns) == ["id", "group", "text", "photo", "scan", "mood"]
    assert samples["id"].tolist() == small.table["id"].tolist()
    assert samples["text"].isna().sum() == report.metrics["text_missing"] == 12
    assert len(probes) == samples[["text", "photo", "scan"]].notna().sum().sum()
    assert set(probes.loc[probes["modality"] == "photo", "width_px"]) == {16}
    assert read(project, "quarantine").empty


def test_bad_rows_are_quarantined_with_reason_and_modality(small):
    table = small.table
    (small.root / "data/3.png").write_bytes((small.root / "data/3.png").read_bytes()[:200])
    table.loc[4, "words"] = " "
    table.loc[5, "vector"] = "[1, 2]"
    table.loc[6, "feeling"] = "odd"
    table.loc[8, "id"] = "s7"
    table.loc[9, ["words", "file", "vector"]] = None
    table.loc[11, ["words", "file", "vector"]] = table.loc[10, ["words", "file", "vector"]]
    table.loc[12, ["words", "file", "vector", "feeling"]] = table.loc[
        13, ["words", "file", "vector", "feeling"]
    ]
    small.params["gates"] = {"quarantined_share": 0.2}
    project = small.load()
    report = validate(project)

    quarantine = read(project, "quarantine")
    found = {
        (row.row, row.reason): None if pd.isna(row.modality) else row.modality
        for row in quarantine.itertuples()
    }
    assert found == {
        (4, "image_truncated"): "photo",
        (5, "text_empty"): "text",
        (6, "vector_length"): "scan",
        (7, "label_unknown"): None,
        (9, "id_duplicated"): None,
        (10, "no_modality"): None,
        (11, "label_contradicted"): None,
        (12, "label_contradicted"): None,
        (14, "content_duplicated"): None,
    }
    assert (report.rows_in, report.rows_out) == (60, 51)
    assert report.metrics["quarantined_share"] == 0.15
    assert not report.blocks
    (reasons,) = report.tables
    assert reasons.rows[0] == (
        "label_contradicted",
        2,
        "s10",
        "later rows repeat it, labelled otherwise",
    )
    kept = set(read(project, "samples")["id"])
    lost = {f"s{n}" for n in (3, 4, 5, 6, 8, 9, 10, 11, 13)}  # the second s7 was s8
    assert kept == {f"s{n}" for n in range(60)} - lost
    assert set(read(project, "probes")["id"]) == kept


def test_a_row_with_two_bad_cells_counts_once(small):
    small.table.loc[3, ["file", "vector"]] = ["gone.png", "[]"]
    project = small.load()
    report = validate(project)
    assert report.metrics["quarantined"] == 1
    assert read(project, "quarantine")["reason"].tolist() == ["file_missing", "vector_length"]


def test_too_many_bad_rows_block(small):
    small.table.loc[:3, "feeling"] = "odd"
    report = validate(small.load())
    assert report.blocks
    assert [r.observed for s in report.suites for r in s.failed] == ["6.667 %"]


def test_rows_that_are_all_bad_block_without_an_accident(small):
    small.table["feeling"] = "odd"
    project = small.load()
    report = validate(project)
    assert report.blocks
    assert (report.rows_out, len(read(project, "samples"))) == (0, 0)


def test_a_breach_of_the_whole_table_stops_before_any_row(small):
    small.table = small.table.rename(columns={"file": "picture"})
    project = small.load()
    report = validate(project)
    assert [suite.name for suite in report.suites] == ["table_is_well_formed"]
    assert report.blocks
    assert (report.rows_in, report.rows_out) == (60, 0)
    for name in ("samples", "probes", "quarantine"):
        assert read(project, name).empty


def test_a_given_split_is_kept(small):
    small.table["part"] = ["train" if n < 40 else "test" for n in range(60)]
    small.params["data"]["split"] = "part"
    project = small.load()
    validate(project)
    assert read(project, "samples")["split"].value_counts().to_dict() == {"train": 40, "test": 20}


def test_two_runs_give_equal_bytes(small, read_bytes):
    small.table.loc[3, "file"] = "gone.png"
    project = small.load()
    first = validate(project).model_dump_json(), read_bytes(project.workspace.validated)
    second = validate(project).model_dump_json(), read_bytes(project.workspace.validated)
    assert first == second


def test_numbers_of_a_parquet_table_become_ids_and_labels(small):
    small.table["id"] = range(60)
    small.table["feeling"] = [0.0 if n % 2 else 1.0 for n in range(60)]
    small.table.loc[5, "feeling"] = None
    small.table["vector"] = small.table["vector"].map(json.loads)
    small.params["targets"]["mood"]["classes"] = ["0", "1"]
    small.params["data"]["table"] = "samples.parquet"
    small.table.to_parquet(small.root / "data/samples.parquet")
    small.table = small.table.drop(columns="vector")
    project = small.load()
    report = validate(project)
    samples = read(project, "samples")
    assert report.rows_out == 60
    assert samples["id"].tolist()[:2] == ["0", "1"]
    assert samples["mood"].value_counts(dropna=False).sort_index().tolist() == [29, 30, 1]
    assert len(samples["scan"].iloc[0]) == 3


def test_what_the_data_card_says_is_repeated(small):
    said = {"title": "Moods", "licence": "CC0", "rows": 60}
    (small.root / "data/card.json").write_text(json.dumps(said))
    about = validate(small.load()).tables[0]
    assert about.title == "About the data"
    assert about.rows == (("title", "Moods"), ("licence", "CC0"))


def test_a_damaged_data_card_is_named(small):
    (small.root / "data/card.json").write_text("{")
    with pytest.raises(SourceError, match=r"card\.json must hold a JSON object .*mend or delete"):
        validate(small.load())


def find_errors(report):
    """Give what was expected and what is advised of each failed check of severity error."""
    return {
        result.expected: result.advice
        for suite in report.suites
        for result in suite.failed
        if result.severity == "error"
    }


def test_when_all_rows_are_bad_their_commonest_reasons_are_named(small):
    small.table["vector"] = ["[1, 2]" if n % 10 else "[1]" for n in range(60)]
    small.table.loc[:20, "feeling"] = "odd"
    report = validate(small.load())
    assert report.rows_out == 0
    errors = find_errors(report)
    assert "at least one row is left" in errors
    assert errors["at most 5 % of the rows are quarantined"].startswith(
        "most frequent reasons: vector_length in 60 rows, 54 of them such as 's1': the vector needs "
        "`options.dim` = 3 numbers, got 2; mend it, or set `options.dim: 2` if most vectors have as "
        "many; label_unknown in 21 rows, such as 's0': mood must be one of glad, sad; got 'odd'; "
        "`mm quarantine ls` lists the rows"
    )


def test_a_modality_of_which_no_cell_is_usable_blocks_though_the_others_are_fine(small):
    small.params["gates"] = {"quarantined_share": 0.9}
    small.table["vector"] = [None if n % 3 else "[1, Infinity, 2]" for n in range(60)]
    report = validate(small.load())
    assert report.rows_out == 39  # s35 has neither text nor photo either
    assert list(find_errors(report)) == ["at least one valid sample has scan"]


def test_numbers_that_are_not_finite_are_quarantined_with_their_place(small):
    small.table.loc[3, "vector"] = "[1, NaN, 2]"
    small.table.loc[4, "vector"] = "[1, 2, -Infinity]"
    project = small.load()
    validate(project)
    assert read(project, "quarantine")["detail"].tolist() == [
        "number 2 of 3 is nan; all must be finite as 32-bit floats",
        "number 3 of 3 is -inf; all must be finite as 32-bit floats",
    ]


def test_ids_that_repeat_are_quarantined_with_the_first_ones_row(small):
    small.table.loc[[7, 9], "id"] = "s5"
    project = small.load()
    validate(project)
    found = read(project, "quarantine")
    assert found["row"].tolist() == [8, 10]
    assert found["detail"].tolist() == ["repeats the id of row 6"] * 2


def test_a_group_in_two_given_splits_is_quarantined_whole(small):
    small.table["part"] = ["train"] * 41 + ["test"] * 19
    small.params["data"]["split"] = "part"
    project = small.load()
    validate(project)
    found = read(project, "quarantine")
    assert found["row"].tolist() == [41, 42]
    assert found["detail"].tolist() == ["group g20 has rows in more than one split"] * 2


def test_a_row_of_columns_is_one_cell_and_may_repeat(small):
    small.params["modalities"] = {
        "profile": {
            "kind": "tabular",
            "columns": {"age": "numeric", "plan": "categorical"},
            "encoder": {"name": "tabular"},
        }
    }
    small.table["age"] = [str(n % 4) for n in range(60)]
    small.table["plan"] = ["free", "pro"] * 30
    small.table.loc[3, "age"] = "1,5"
    small.table.loc[5, ["age", "plan"]] = None
    small.params["gates"] = {"quarantined_share": 0.1}
    project = small.load()
    report = validate(project)
    samples, probes = read(project, "samples"), read(project, "probes")
    assert not report.blocks
    assert report.rows_out == 58
    assert samples["profile"].iloc[0] == '{"age": "0", "plan": "free"}'
    assert probes["missing_columns"].eq(0).all()
    assert read(project, "quarantine")["reason"].tolist() == ["number_unreadable", "no_modality"]


def test_what_params_yaml_expects_joins_the_suite_and_stands_beside_ours(small):
    small.params["expectations"] = {
        "feeling": [{"type": "expect_column_values_to_be_in_set", "value_set": ["glad"]}],
        "photo.width_px": [{"type": "expect_column_values_to_be_between", "min_value": 20}],
    }
    small.table.loc[3, "feeling"] = "odd"  # quarantined, so it is expected of no longer
    report = validate(small.load())
    suite = report.suites[1]
    assert (suite.name, suite.blocks) == ("samples_are_valid", True)
    assert suite.description
    asked, measured = suite.results[-2:]
    assert (asked.column, asked.unexpected, asked.samples[0]) == ("feeling", 30, "s0")
    widths = [one for one in suite.results if one.expectation == measured.expectation]
    assert {one.success for one in widths if one.column == "width_px"} == {True}  # ours: above 0
    assert (measured.column, measured.success) == ("photo.width_px", False)


def test_an_expectation_that_great_expectations_lacks_stops_before_the_table_is_read(small):
    small.params["expectations"] = {"feeling": [{"type": "expect_column_values_to_sing"}]}
    project = small.load()
    (small.root / "data/samples.csv").unlink()
    with pytest.raises(ConfigError, match=r"`expectations.feeling.0.type` must be a type of Great"):
        validate(project)
