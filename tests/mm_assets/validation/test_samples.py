import pandas as pd
import pytest

from mm_assets.contracts.config import parse_config
from mm_assets.validation.rows import join_findings
from mm_assets.validation.samples import check_samples

CONFIG = parse_config(
    {
        "version": 2,
        "modalities": {"text": {"kind": "text", "column": "w", "encoder": {"name": "minilm"}}},
        "targets": {"mood": {"kind": "multiclass", "column": "m", "classes": ["glad", "sad"]}},
        "gates": {"quarantined_share": 0.1, "class_share": 0.2},
    }
)


NOTHING = join_findings([])


def check(*, ids="abcdefghij", moods="gggggsssss", chars=3, share=0.0, findings=NOTHING):
    names = {"g": "glad", "s": "sad", "?": "odd", "-": None}
    samples = pd.DataFrame(
        {"id": list(ids), "mood": pd.Series([names[m] for m in moods], dtype="str")}
    )
    probes = pd.DataFrame({"id": list(ids), "modality": "text", "chars": chars, "width_px": None})
    return check_samples(
        samples,
        probes,
        CONFIG,
        outlines={"mood": samples["mood"].dropna()},
        findings=findings,
        quarantined_share=share,
    )


def test_good_samples_pass():
    suite = check(moods="ggggg--sss")
    assert suite.name == "samples_are_valid"
    assert suite.passed


def test_too_many_quarantined_rows_block():
    assert check(share=0.1).passed
    (failed,) = check(share=0.11).failed
    assert (failed.expected, failed.observed) == (
        "at most 10 % of the rows are quarantined",
        "11 %",
    )
    assert "`mm quarantine ls` lists the rows: mend them" in failed.advice
    assert failed.severity == "error"


@pytest.mark.parametrize(
    ("change", "column"),
    [({"ids": "aacdefghij"}, "id"), ({"moods": "gggg?sssss"}, "mood"), ({"chars": 0}, "chars")],
)
def test_what_should_have_been_quarantined_blocks(change, column):
    suite = check(**change)
    assert [result.column for result in suite.failed] == [column]
    assert suite.blocks


def test_a_rare_class_warns_and_is_named():
    (failed,) = check(moods="gggggggggs").failed
    assert (failed.column, failed.observed, failed.severity) == ("mood", "10 %", "warning")
    assert failed.advice.startswith("the rarest is 'sad'; ")


def test_a_single_class_blocks():
    suite = check(moods="gggggggggg")
    assert suite.blocks
    assert [r.expected for r in suite.failed if r.severity == "error"] == [
        "at least 2 classes of mood occur"
    ]


def test_no_samples_at_all_block():
    suite = check(ids="", moods="")
    assert suite.blocks
    assert "at least one row is left" in [result.expected for result in suite.failed]


def test_the_commonest_reasons_of_quarantine_are_named_with_their_commonest_details():
    lengths = [16] * 7 + [4] * 2
    found = pd.DataFrame(
        {
            "row": [1, *range(1, 10), 10, 11, 12, 13, 13],
            "id": [f"s{n}" for n in [1, *range(1, 10), 10, 11, 12, 13, 13]],
            "modality": None,
            "reason": ["text_empty"]
            + ["vector_length"] * 9
            + ["a_reason", "text_empty", "text_empty", "b_reason", "b_reason"],
            "detail": ["no visible character"]
            + [f"got {length}" for length in lengths]
            + ["a", "no visible character", "other", "b", "b"],
        }
    )
    (failed,) = check(share=0.5, findings=found).failed
    assert failed.advice.startswith(
        "most frequent reasons: vector_length in 9 rows, 7 of them such as 's1': got 16; "
        "text_empty in 3 rows, 2 of them such as 's1': no visible character; "
    )
    assert "; a_reason in 1 row, such as 's10': a; `mm quarantine ls` " in failed.advice


def test_a_row_without_id_is_named_as_such_among_the_reasons():
    found = pd.DataFrame(
        {"row": [4], "id": [None], "reason": "id_missing", "detail": "it is empty"}
    )
    (failed,) = check(share=0.5, findings=found).failed
    assert "id_missing in 1 row, such as one without id: it is empty; " in failed.advice


def test_a_modality_that_no_sample_kept_blocks():
    samples = pd.DataFrame({"id": ["a", "b"], "mood": ["glad", "sad"]})
    probes = pd.DataFrame({"id": ["a"], "modality": "voice", "duration_s": 1.0})
    suite = check_samples(
        samples,
        probes,
        CONFIG,
        outlines={"mood": samples["mood"]},
        findings=NOTHING,
        quarantined_share=0.0,
    )
    (failed,) = suite.failed
    assert (failed.expected, failed.observed) == ("at least one valid sample has text", "0")
    assert "or take `modalities.text` out of params.yaml" in failed.advice


def check_labels(labels, *, has_classes=True, **target):
    """Check one target's labels alone; gives results by what was expected."""
    config = parse_config(
        {
            "version": 2,
            "modalities": {"text": {"kind": "text", "column": "w", "encoder": {"name": "minilm"}}},
            "targets": {"label": {"kind": "multiclass", "column": "m", **target}},
        }
    )
    ids = [f"s{n}" for n in range(len(labels))]
    samples = pd.DataFrame({"id": ids, "label": labels})
    probes = pd.DataFrame({"id": ids, "modality": "text", "chars": 3})
    outlines = {"label": samples["label"].dropna()} if has_classes else {}
    return check_samples(
        samples, probes, config, outlines=outlines, findings=NOTHING, quarantined_share=0.0
    )


def test_a_single_class_is_named_with_its_target():
    (failed,) = (r for r in check_labels(["only"] * 30).failed if r.severity == "error")
    assert failed.expected == "at least 2 classes of label occur"
    assert "every label of label is 'only'" in failed.advice


@pytest.mark.parametrize(("rows", "classes", "most"), [(10_000, 10_000, 1000), (100, 51, 50)])
def test_too_many_classes_block_and_suggest_a_number(rows, classes, most):
    suite = check_labels([f"c{n % classes}" for n in range(rows)])
    (failed,) = (r for r in suite.failed if r.severity == "error")
    assert failed.expected == f"at most {most} classes of label occur"
    assert failed.observed == str(classes)
    assert "`targets.label.kind: regression` if they are numbers" in failed.advice
    assert "name a column of fewer classes as `targets.label.column`" in failed.advice


@pytest.mark.parametrize(("rows", "classes"), [(30, 20), (100, 50), (10_000, 1000)])
def test_as_many_classes_as_rows_can_show_pass(rows, classes):
    assert not check_labels([f"c{n % classes}" for n in range(rows)]).blocks


def test_classes_that_are_one_but_for_case_and_spaces_are_warned_of():
    (failed,) = check_labels(["cat", "Cat", "dog", "cat "] * 20).failed
    assert (
        failed.expected == "more than case, or spaces around them, tells the classes of label apart"
    )
    assert (failed.severity, failed.unexpected) == ("warning", 3)
    assert failed.advice.startswith(
        "'Cat', 'cat', 'cat ' count as different classes; if they are one"
    )


@pytest.mark.parametrize("time", ["", "T10:00:00", " 10:00"])
def test_dates_as_labels_are_warned_of(time):
    suite = check_labels([f"2024-01-{1 + n % 9:02}{time}" for n in range(90)])
    (failed,) = suite.failed
    assert (failed.expected, failed.severity) == ("the classes of label are no dates", "warning")
    assert failed.advice.startswith(f"most of them look like '2024-01-01{time}'; name the column")


def test_numbers_need_only_vary():
    assert check_labels([float(n) for n in range(500)], has_classes=False).passed
    (failed,) = check_labels([2.5] * 9 + [None], has_classes=False).failed
    assert failed.expected == "the numbers of label vary"
    assert failed.advice == "`targets.label.column` says the same of every row"
