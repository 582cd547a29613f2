import subprocess
import sys

import pytest


@pytest.fixture
def opened(monkeypatch):
    """Addresses that would be opened in a browser."""
    import click

    found = []
    monkeypatch.setattr(click, "launch", found.append)
    return found


def test_good_data_is_told_shortly(project, opened, run):
    said = run("check")
    assert said.splitlines()[0] == "10 rows in, 9 kept, 1 in quarantine (10.0%)"
    assert "1  image_unreadable, such as s3: it is no picture" in said
    assert "every expectation is met" in said
    assert "later, stage `augment` looks at the splits, and for columns that give the label" in said
    assert f"page: {project}/.mm/check/pages/validate.html" in said
    assert opened == []  # nobody is at the terminal


def test_the_page_is_opened_when_asked(project, opened, run):
    run("check", "--open")
    assert opened == [(project / ".mm/check/pages/validate.html").as_uri()]


def test_a_failed_expectation_is_told_with_advice_and_exits_with_1(project, run, write_params):
    kind = "expect_column_values_to_be_between"
    write_params(expectations={"photo.width_px": [{"type": kind, "max_value": 8}]})
    said = run("check", "--no-open", status=1)
    assert (
        "failed values must be less than or equal to 8 (photo.width_px): 9 of 9 unexpected" in said
    )
    assert "  rows: s0, s1, s2, s4" in said
    assert "later, stage" not in said
    assert "  what to do: mend these rows, or loosen `expectations.photo.width_px.0`" in said


def test_a_warning_does_not_fail(project, run, write_params):
    entry = {"type": "expect_column_values_to_be_in_set", "value_set": ["glad"]}
    write_params(expectations={"feeling": [{**entry, "severity": "warning"}]})
    assert "warning values must belong to this set: glad (feeling)" in run("check")


def test_a_table_that_is_wrong_as_a_whole_is_told(project, run, write_params):
    write_params(data={"id": "key"})
    said = run("check", status=1)
    assert said.startswith("10 rows in, none looked at: the table itself is wrong\nfailed ")
    assert "set `data.id` in params.yaml to one of: id, words, file, feeling" in said


def test_a_folder_is_checked_where_it_lies(project, run):
    (project / "data").rename(project / "survey")
    assert run("check", "survey").startswith("10 rows in, 9 kept")
    assert not (project / "data").exists()
    assert "does not exist" in run("check", "nowhere", status=2)


@pytest.mark.slow
def test_an_unknown_column_among_the_expectations_stops_before_any_medium_is_opened(
    project, run, write_params
):
    kind = "expect_column_values_to_be_unique"
    write_params(expectations={"wrds": [{"type": kind}]})
    done = subprocess.run(
        [sys.executable, "-c", "from mm_assets.cli.main import main; main()", "check"],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: params.yaml: `expectations.wrds` names no column of the table" in done.stderr
    assert "probe" not in done.stderr


@pytest.mark.slow
def test_a_check_imports_no_torch(project, run):
    code = (
        "from mm_assets.cli.main import mm; import sys\n"
        "mm(['check'], standalone_mode=False); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
