import json

import numpy as np
import pandas as pd
import pytest

from mm_assets.validation.leaks import MOST_ROWS, check_leaks, explain

ROWS = 400
RNG = np.random.default_rng(0)
LABELS = pd.Series(RNG.choice(["cat", "dog", "fox"], ROWS, p=[0.5, 0.3, 0.2]))
GROUPS = pd.Series([f"g{n // 4}" for n in range(ROWS)])


def blur(values, share):
    """Replace a share of the values by others of them."""
    return values.where(RNG.random(len(values)) >= share, RNG.permutation(values))


def warn(kinds, labels=LABELS, ids=None, groups=GROUPS, **cells):
    """Give the columns that are warned of."""
    ids = ids if ids is not None else [f"s{n}" for n in range(len(labels))]
    rows = pd.DataFrame({"id": ids, "group": groups, **cells}, index=labels.index)
    suite = check_leaks(rows, kinds=kinds, outlines={"animal": labels})
    assert suite.name == "splits_are_sound"
    assert not suite.blocks
    return {result.column: result for result in suite.failed}


def as_rows(**columns):
    return [json.dumps(row) for row in pd.DataFrame(columns).to_dict("records")]


def test_a_copy_explains_all_a_noisy_copy_a_part_and_noise_nothing():
    """Lambda by hand: with the commonest class at 0.5, 10 % wrong leave 0.1 of 0.5 errors."""
    assert explain(LABELS + "!", LABELS, GROUPS) == 1
    wrong = RNG.random(ROWS) < 0.1
    noisy = LABELS.where(~wrong, "cat")
    errors = (noisy != LABELS).sum()
    usual = (LABELS != "cat").sum()
    assert explain(noisy, LABELS, GROUPS) == pytest.approx(1 - errors / usual)
    assert abs(explain(pd.Series(RNG.random(ROWS)), LABELS, GROUPS)) < 0.2
    assert explain(pd.Series(["same"] * ROWS), LABELS, GROUPS) == 0


def test_what_only_names_the_group_explains_nothing_of_other_groups():
    by_group = LABELS.groupby(GROUPS).transform("first")
    assert explain(GROUPS, by_group, GROUPS) == 0


@pytest.mark.parametrize("names", [("nicolas", "theo"), ("jackson", "theo"), ("a", "b")])
def test_two_groups_are_enough_whatever_their_names(names):
    groups = pd.Series(np.where(np.arange(ROWS) % 2, *names))
    code = LABELS.map({"cat": 0.0, "dog": 1.0, "fox": 2.0})
    assert explain(LABELS + "!", LABELS, groups) == 1
    assert explain(code, LABELS, groups) == 1


def test_one_group_tells_nothing():
    assert explain(LABELS, LABELS, pd.Series(["g"] * ROWS)) == 0


def test_planted_columns_are_warned_of_and_strong_features_are_not():
    code = LABELS.map({"cat": 3.0, "dog": 1.0, "fox": 2.0})
    cells = as_rows(
        copy=LABELS.str.upper(),
        coded=code + RNG.normal(0, 0.01, ROWS),
        strong=blur(LABELS, 0.2),
        measured=code + RNG.normal(0, 0.4, ROWS),
        noise=RNG.random(ROWS),
    )
    found = warn({"profile": "tabular"}, profile=cells)
    assert set(found) == {"profile.copy", "profile.coded"}
    result = found["profile.copy"]
    assert result.severity == "warning"
    assert (
        result.expected == "profile.copy alone avoids at most 95 % of the errors of guessing animal"
    )
    assert "is it known before the label when the model is used?" in result.advice
    assert "1" in result.observed


def test_a_column_that_is_only_there_for_one_class_leaks_by_being_there():
    cells = [
        json.dumps({"age": 1.0} | ({"paid": 5.0} if label == "cat" else {})) for label in LABELS
    ]
    found = warn({"profile": "tabular"}, LABELS.where(LABELS == "cat", "dog"), profile=cells)
    assert set(found) == {"profile.paid"}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("images/{label}/{n:03}.png", "folder of photo"),
        ("images/{label}_{n}.png", "file name of photo"),
        ("images/{n}.png", None),
        ("images/{n}/{m}.png", None),
    ],
)
def test_paths_that_name_the_class_are_warned_of(path, name):
    cells = [path.format(label=label, n=n, m=n % 7) for n, label in enumerate(LABELS)]
    found = warn({"photo": "image"}, photo=cells)
    assert set(found) == ({name} if name else set())
    if name:
        assert "the model does not read names or order" in found[name].advice


def test_ids_groups_order_and_a_text_that_is_the_label_are_warned_of():
    ordered = LABELS.sort_values().reset_index(drop=True)
    text = [f" {label.title()} " for label in ordered]
    ids = [f"{label}-{n}" for n, label in enumerate(ordered)]
    groups = [f"{label}{n // 4}" for n, label in enumerate(ordered)]
    found = warn({"note": "text"}, ordered, ids, groups, note=text)
    assert set(found) == {"note", "id", "group", "order of rows"}


def test_innocent_text_and_vectors_are_not_looked_into():
    words = [f"{label} and other words {n}" for n, label in enumerate(LABELS)]
    vectors = [[1.0, 2.0]] * ROWS
    assert warn({"note": "text", "scan": "features"}, note=words, scan=vectors) == {}


def test_too_few_rows_or_one_class_say_nothing():
    few, one = LABELS[:39], pd.Series(["cat"] * ROWS)
    for labels in (few, one):
        rows = pd.DataFrame({"id": labels, "group": labels, "note": labels})
        assert check_leaks(rows, kinds={"note": "text"}, outlines={"animal": labels}).results == ()


def test_rows_with_several_labels_are_left_out():
    labels = pd.concat([LABELS, LABELS[:100]]).sort_index()
    rows = pd.DataFrame({"id": GROUPS.index.astype(str), "group": GROUPS, "note": LABELS})
    suite = check_leaks(rows, kinds={"note": "text"}, outlines={"animal": labels})
    assert [result.column for result in suite.failed] == ["note"]


@pytest.mark.slow
def test_of_a_million_rows_some_tell():
    labels = pd.Series(RNG.choice(["cat", "dog"], 1_000_000))
    rows = pd.DataFrame({"id": np.arange(len(labels)).astype(str), "note": labels})
    suite = check_leaks(
        rows.assign(group=rows["id"]), kinds={"note": "text"}, outlines={"animal": labels}
    )
    assert [result.column for result in suite.failed] == ["note"]
    assert len(labels) > MOST_ROWS


@pytest.mark.parametrize("kind", ["events", "features", "signal"])
def test_lists_written_as_json_are_no_paths(kind):
    told = '[[0, "' + LABELS + '/a"]]'
    assert not any("channel" in column for column in warn({"channel": kind}, channel=told))
    paths = LABELS + "/x.npy"
    assert "folder of channel" in warn({"channel": kind}, channel=paths)
