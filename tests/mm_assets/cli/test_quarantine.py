import pandas as pd


def test_the_quarantine_is_listed_and_filtered(project, run):
    run("check")
    lines = run("quarantine", "ls").splitlines()
    assert lines[0].split() == ["row", "id", "modality", "reason", "detail"]
    assert lines[1].split()[:4] == ["4", "s3", "photo", "image_unreadable"]
    assert lines[2] == "1 row in quarantine"
    assert run("quarantine", "ls", "--reason", "image_unreadable", "--modality", "photo") == (
        "\n".join(lines) + "\n"
    )
    refused = run("quarantine", "ls", "--reason", "odd", status=2)
    assert "no row has 'odd'; there are image_unreadable" in refused


def test_a_row_is_shown_with_what_to_do(project, run):
    run("check")
    said = run("quarantine", "show", "s3")
    assert said.startswith("row 4, id s3\n  id       s3\n  words    message 3\n")
    assert f"photo: {project}/data/3.png\n" in said
    assert "image_unreadable of photo: it is no picture" in said
    assert "what to do: it is no picture, or damaged: replace the file" in said


def test_a_file_that_is_gone_is_said_to_be(project, run):
    (project / "data/3.png").unlink()
    run("check")
    assert "3.png  (is not there)" in run("quarantine", "show", "4")


def test_a_row_is_restored_from_the_command_line(project, run):
    (project / "data").rename(project / "survey")
    run("check", "survey")
    said = run("quarantine", "restore", "s3", "--set", "file=", "--set", "words=a=b")
    assert said == (
        f"row 4 (s3) is taken back\nnext: mm check {project}/survey; until then `mm quarantine` "
        "lists what it found before\n"
    )
    table = pd.read_csv(project / "survey/samples.csv", index_col="id")
    assert pd.isna(table.loc["s3", "file"])
    assert table.loc["s3", "words"] == "a=b"
    assert run("check", "survey").startswith("10 rows in, 10 kept, 0 in quarantine\nevery")


def test_a_pair_without_an_equals_sign_is_refused(project, run):
    run("check")
    refused = run("quarantine", "restore", "s3", "--set", "file", status=2)
    assert "must be NAME=VALUE, got 'file'" in refused
