import hashlib

import pandas as pd
import pytest

from mm_assets.contracts.config import parse_config
from mm_assets.targets.multiclass import Multiclass
from mm_assets.validation.rows import (
    find_bad_rows,
    find_duplicates,
    join_findings,
    name_samples,
    number_contents,
    read_ids,
)

CONFIG = {
    "version": 2,
    "data": {"id": "key", "group": "who", "split": "part"},
    "modalities": {
        "text": {"kind": "text", "column": "words", "encoder": {"name": "minilm"}},
        "photo": {"kind": "image", "column": "file", "encoder": {"name": "efficientnet_lite0"}},
    },
    "targets": {"mood": {"kind": "multiclass", "column": "feeling", "classes": ["glad", "sad"]}},
}
GOOD = {"key": "a", "who": "g", "part": "train", "words": "hi", "file": None, "feeling": "glad"}


def find(*changes, config=CONFIG):
    """Give (row, reason, detail) of what is found in rows that differ from a good one."""
    rows = [{**GOOD, "key": f"r{n}", **change} for n, change in enumerate(changes, start=1)]
    parsed, table = parse_config(config), pd.DataFrame(rows)
    labels, illegal = Multiclass.read_labels(table["feeling"], parsed.targets["mood"])
    samples = name_samples(table, parsed, read_ids(table, parsed), {"mood": labels})
    found = find_bad_rows(samples, parsed, {"mood": illegal})
    return list(zip(found["row"], found["reason"], found["detail"], strict=True))


def test_a_good_row_has_no_finding():
    assert find({}, {"feeling": None}, {"words": None, "file": "x.png"}) == []


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_an_empty_id_is_found(empty):
    assert find({}, {"key": empty}) == [(2, "id_missing", "the id is empty")]


def test_of_rows_with_one_id_the_first_stays():
    same = [{"key": "x"}] * 3
    assert find({}, *same) == [
        (3, "id_duplicated", "repeats the id of row 2"),
        (4, "id_duplicated", "repeats the id of row 2"),
    ]


def test_without_an_id_column_a_row_is_named_by_its_content():
    config = parse_config({**CONFIG, "data": {"id": None}})
    table = pd.DataFrame(
        [{**GOOD, "words": word} for word in ("hi", "ho", "hi", None)]
        + [{**GOOD, "words": [0.5, 1.0]}]
    )
    ids = list(read_ids(table, config))
    mended = table.assign(feeling="sad", key="other").iloc[::-1]

    name = hashlib.blake2b(b'["hi", null]', digest_size=8).hexdigest()
    assert ids[0] == name
    assert ids[2] == f"{name}.2"
    assert len(set(ids)) == 5
    assert set(read_ids(mended, config)) == set(ids)


def test_a_row_without_a_group_is_found():
    detail = "without a group it could fall on both sides of a split"
    assert find({}, {"who": None}) == [(2, "group_missing", detail)]


def test_without_a_group_column_every_row_is_its_own_group():
    config = {**CONFIG, "data": {"id": "key"}}
    table, parsed = pd.DataFrame([GOOD]), parse_config(config)
    samples = name_samples(table, parsed, read_ids(table, parsed), {})
    assert samples["group"].tolist() == ["a"]
    assert "split" not in samples
    assert find({"who": None}, config=config) == []


@pytest.mark.parametrize(("split", "shown"), [("dev", "dev"), (None, "null"), ("Train", "Train")])
def test_a_split_must_be_one_of_three(split, shown):
    detail = f"must be train, validation, test, got {shown}"
    assert find({}, {"part": split}) == [(2, "split_unknown", detail)]


def test_every_row_of_a_group_in_two_splits_is_found():
    detail = "group g has rows in more than one split"
    assert find({}, {"part": "test"}, {"who": "h", "part": "test"}) == [
        (1, "group_in_two_splits", detail),
        (2, "group_in_two_splits", detail),
    ]


def test_a_label_must_be_one_of_the_classes_to_the_letter():
    detail = "mood must be one of glad, sad; got 'Glad'; write 'glad'"
    assert find({}, {"feeling": "Glad"}) == [(2, "label_unknown", detail)]


def test_any_name_is_a_label_where_no_classes_are_given():
    config = {**CONFIG, "targets": {"mood": {"kind": "multiclass", "column": "feeling"}}}
    detail = "mood must be a name, or null; got ' '"
    found = find({"feeling": "new"}, {"feeling": " "}, config=config)
    assert found == [(2, "label_unknown", detail)]


def test_a_row_without_any_modality_is_found():
    assert find({}, {"words": None}) == [(2, "no_modality", "every modality is missing")]


def test_a_row_may_have_several_findings_in_the_order_of_the_rules():
    found = find({"part": "dev", "feeling": "odd", "words": None})
    assert [reason for _, reason, _ in found] == ["split_unknown", "label_unknown", "no_modality"]


def find_equal(contents, labels, seed=0, **columns):
    ids = [f"r{n}" for n in range(1, len(contents) + 1)]
    samples = pd.DataFrame({"id": ids, "group": "g", "mood": pd.Series(labels, dtype="str")})
    found = find_duplicates(samples.assign(**columns), pd.Series(contents), ["mood"], seed=seed)
    return list(zip(found["row"], found["reason"], found["detail"], strict=True))


def test_of_rows_with_equal_content_and_label_the_first_stays():
    found = find_equal(["x", "y", "x", "x"], ["glad", "sad", "glad", "glad"])
    assert found == [
        (3, "content_duplicated", "has the same content as r1"),
        (4, "content_duplicated", "has the same content as r1"),
    ]


def test_of_equal_rows_the_one_whose_group_lies_furthest_from_test_stays():
    groups = ["a", "b", "c", "d"]
    for seed in range(8):
        # By hand: the first 8 bytes of SHA-256 of "SEED:GROUP"; test takes the lowest part.
        places = [hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8] for group in groups]
        stays = f"r{places.index(max(places)) + 1}"
        found = find_equal(["x"] * 4, [None] * 4, seed=seed, group=groups)
        assert {f"r{row}" for row, _, _ in found} == {"r1", "r2", "r3", "r4"} - {stays}
        assert {detail for _, _, detail in found} == {f"has the same content as {stays}"}


def test_of_equal_rows_a_given_training_row_stays():
    found = find_equal(["x"] * 4, [None] * 4, split=["test", "validation", "train", "train"])
    assert found == [(row, "content_duplicated", "has the same content as r3") for row in (1, 2, 4)]


def test_of_rows_with_equal_content_and_other_labels_none_stays():
    found = find_equal(["x", "y", "x", "x"], ["glad", "sad", "sad", "glad"])
    assert found == [
        (1, "label_contradicted", "later rows repeat it, labelled otherwise"),
        (3, "label_contradicted", "has the same content as r1, yet another label"),
        (4, "label_contradicted", "has the same content as r1, yet another label"),
    ]


def test_a_null_label_contradicts_nothing():
    found = find_equal(["x", "x"], ["glad", None])
    assert found == [(2, "content_duplicated", "has the same content as r1")]


def test_contents_are_equal_only_where_every_modality_is():
    contents = pd.DataFrame({"a": ["1", "1", None, "1"], "b": [None, "2", "1", None]})
    found = number_contents(contents, identifying=["a", "b"])
    assert (found.iloc[0] == found.iloc[3], found.nunique()) == (True, 3)
    assert number_contents(contents[["a"]], identifying=["a"]).dropna().nunique() == 1


def test_rows_that_only_share_their_description_repeat_nothing():
    contents = pd.DataFrame({"row": ["1", "1", "1", "1"], "photo": [None, None, "2", "2"]})
    found = number_contents(contents, identifying=["photo"])
    assert found.isna().tolist() == [True, True, False, False]
    samples = pd.DataFrame({"id": list("abcd"), "group": "g", "mood": ["x", "y", "x", "x"]})
    duplicates = find_duplicates(samples, found, ["mood"], seed=0)
    assert list(zip(duplicates["id"], duplicates["reason"], strict=True)) == [
        ("d", "content_duplicated")
    ]


def test_several_columns_become_one_cell_of_their_modality():
    profile = {
        "kind": "tabular",
        "columns": {"age": "numeric", "plan": "categorical"},
        "encoder": {"name": "tabular"},
    }
    config = parse_config({**CONFIG, "modalities": {"profile": profile}})
    rows = [{**GOOD, "age": 30, "plan": "pro"}, {**GOOD, "age": None, "plan": ""}]
    table = pd.DataFrame(rows)
    samples = name_samples(table, config, read_ids(table, config), {})
    assert samples["profile"].iloc[0] == '{"age": 30.0, "plan": "pro"}'
    assert pd.isna(samples["profile"].iloc[1])
    assert list(samples.columns) == ["id", "group", "split", "profile"]


def test_a_blank_cell_is_missing_except_in_a_text():
    config = parse_config(CONFIG)
    table = pd.DataFrame([{**GOOD, "who": " ", "words": "", "file": "\t"}])
    samples = name_samples(table, config, read_ids(table, config), {})
    assert samples["text"].tolist() == [""]
    assert samples[["photo", "group"]].isna().all(axis=None)


def test_no_findings_still_have_the_columns_and_types_of_findings():
    found = join_findings([])
    assert list(found.columns) == ["row", "id", "modality", "reason", "detail"]
    assert found["row"].dtype == "int64"
