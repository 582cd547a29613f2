import pandas as pd
import pytest

from mm_assets.contracts.config import parse_config
from mm_assets.validation.samples import check_samples

CONFIG = parse_config(
    {
        "version": 2,
        "modalities": {"text": {"kind": "text", "column": "w", "encoder": {"name": "minilm"}}},
        "targets": {"mood": {"kind": "multiclass", "column": "m", "classes": ["glad", "sad"]}},
        "gates": {"quarantined_share": 0.1, "class_share": 0.2},
    }
)


def check(*, ids="abcdefghij", moods="gggggsssss", chars=3, share=0.0):
    names = {"g": "glad", "s": "sad", "?": "odd", "-": None}
    samples = pd.DataFrame(
        {"id": list(ids), "mood": pd.Series([names[m] for m in moods], dtype="str")}
    )
    probes = pd.DataFrame({"id": list(ids), "modality": "text", "chars": chars, "width_px": None})
    return check_samples(samples, probes, CONFIG, quarantined_share=share)


def test_good_samples_pass():
    suite = check(moods="ggggg--sss")
    assert suite.name == "samples_are_valid"
    assert suite.passed


def test_too_many_quarantined_rows_block():
    assert check(share=0.1).passed
    (failed,) = check(share=0.11).failed
    assert (failed.expected, failed.observed) == (
        "at most 10 % of the rows are quarantined",
        "0.11",
    )
    assert "artifacts/validated/quarantine.parquet" in failed.advice
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
    assert (failed.column, failed.observed, failed.severity) == ("mood", "0.1", "warning")
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
