import hashlib
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.contracts.errors import BadSampleError, ConfigError
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.tabular import hash_category, join_columns

HERE = Path()
COLUMNS = {"plan": "categorical", "age": "numeric"}


def make(columns=COLUMNS, **augment):
    return load_modality("tabular", {"columns": columns}, augment, where="modalities.x")


@pytest.mark.parametrize(
    "cell",
    [
        '{"age": 30, "plan": "pro"}',
        '{"plan": " pro ", "age": " 30.0 "}',
        {"age": 30, "plan": "pro"},
        {"age": np.float32(30), "plan": "pro"},
        {"age": Decimal(30), "plan": "pro"},
    ],
)
def test_one_row_is_the_same_however_it_is_written(cell):
    modality = make()
    assert modality.decode(cell, HERE) == {"age": 30.0, "plan": "pro"}
    expected = hashlib.sha256(b'{"age": 30.0, "plan": "pro"}').hexdigest()
    assert modality.probe(cell, HERE) == {"content": expected, "missing_columns": 0}
    assert hashlib.sha256(modality.read(cell, HERE)).hexdigest() == expected


@pytest.mark.parametrize("value", [None, "", " ", "NaN", float("nan")])
def test_an_empty_number_is_missing_in_its_row(value):
    row = make().decode({"age": value, "plan": "pro"}, HERE)
    assert row == {"age": None, "plan": "pro"}
    assert make().probe({"plan": "pro"}, HERE)["missing_columns"] == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, "7"),
        (7.0, "7"),
        (0.5, "0.5"),
        (True, "True"),
        ("7.0", "7.0"),
        ("e\u0301te\u0301 ", "été"),
        ("中文", "中文"),
        ("  ", None),
        (float("nan"), None),
    ],
)
def test_a_category_is_stripped_text(value, expected):
    assert make().decode({"plan": value, "age": 1}, HERE)["plan"] == expected


@pytest.mark.parametrize(
    ("cell", "reason", "detail"),
    [
        ("{", "row_unreadable", r"must hold a JSON object of columns: "),
        ("[" * 100_000, "row_unreadable", r"must hold a JSON object of columns: "),
        ("[1]", "row_unreadable", r'such as {"plan": …}, got list'),
        (5, "row_unreadable", r"must map columns to values.* got int"),
        ({"agee": 3}, "column_unknown", r"has agee, but the columns are plan, age"),
        ({}, "row_empty", r"none of plan, age has a value; leave the whole cell out"),
        ({"age": "nan", "plan": " "}, "row_empty", r"none of plan, age"),
        ({"age": "1,200"}, "number_unreadable", r"column 'age' holds '1,200', which is no number"),
        ({"age": "1_200"}, "number_unreadable", r"'1_200'.*such as 1200\.5, or make .*categorical"),
        ({"age": "30 years"}, "number_unreadable", r"'30 years'.*without unit"),
        ({"age": [30]}, "number_unreadable", r"column 'age' holds \[30\]"),
        ({"age": float("inf")}, "number_not_finite", r"column 'age' holds inf"),
        ({"age": "-Infinity"}, "number_not_finite", r"'-Infinity'; numbers must be finite as 32"),
        ({"age": 1e39}, "number_not_finite", r"holds 1e\+39"),
        ({"age": 10**400}, "number_not_finite", r"holds 1000.*…"),
        ({"plan": ["pro"]}, "category_unreadable", r"'plan' must hold a text or a number, got \['"),
    ],
)
def test_a_bad_row_has_its_reason(cell, reason, detail):
    modality = make()
    for look in (modality.probe, modality.decode, modality.read):
        with pytest.raises(BadSampleError, match=detail) as caught:
            look(cell, HERE)
        assert caught.value.reason == reason


def test_a_column_is_numeric_or_categorical():
    with pytest.raises(ConfigError, match=r"`modalities.x.options.columns.age`: input should be"):
        make({"age": "number"})


def test_a_batch_holds_numbers_and_hashed_categories_by_name():
    modality = make({"b": "numeric", "a": "numeric", "z": "categorical"})
    rows = [modality.decode({"a": 1, "b": 2, "z": "x"}, HERE), modality.placeholder({})]
    arrays = modality.collate(rows, {})
    np.testing.assert_array_equal(arrays["numbers"], [[1, 2], [np.nan, np.nan]])
    assert arrays["numbers"].dtype == np.float32
    assert arrays["categories"].tolist() == [[hash_category("x")], [0]]
    assert arrays["categories"].dtype == np.int64


@pytest.mark.parametrize(
    ("column", "array"), [("numeric", "numbers"), ("categorical", "categories")]
)
def test_an_array_without_columns_is_left_out(column, array):
    modality = make({"a": column})
    assert list(modality.collate([modality.placeholder({})], {})) == [array]


def test_the_hash_of_a_category_is_blake2b():
    # `printf abc | b2sum -l 64` gives d8bb14d833d59559.
    assert hash_category("abc") == int("d8bb14d833d59559", 16) - 2**64
    assert hash_category(None) == 0


def test_copies_are_noisy_and_drop_values_the_same_each_time():
    columns = {f"n{n}": "numeric" for n in range(5000)} | {
        f"c{n}": "categorical" for n in range(5000)
    }
    modality = make(columns, noise=0.1, drop=0.2)
    value = {name: "x" if name[0] == "c" else 3.0 for name in columns}
    plan = json.loads(json.dumps(modality.plan(np.random.default_rng(3))))
    rendered = modality.render(value, plan)
    assert rendered == modality.render(value, plan)
    assert abs(sum(one is None for one in rendered.values()) / 10_000 - 0.2) < 0.016  # 4 errors
    kept = np.array([one for one in rendered.values() if isinstance(one, float)])
    assert abs(kept.mean() / 3 - 1) < 0.0065
    assert abs((kept / 3).std() - 0.1) < 0.005
    assert {one for name, one in rendered.items() if name[0] == "c"} == {"x", None}


def test_a_copy_keeps_at_least_one_value():
    modality = make(drop=1.0)
    for seed in range(20):
        plan = modality.plan(np.random.default_rng(seed))
        assert modality.render({"age": None, "plan": "pro"}, plan) == {"age": None, "plan": "pro"}


def test_no_noise_and_no_drop_change_nothing():
    modality, value = make(noise=0.0, drop=0.0), {"age": 30.0, "plan": None}
    assert modality.render(value, modality.plan(np.random.default_rng(0))) == value


def test_several_columns_become_one_cell():
    frame = pd.DataFrame(
        {
            "age": ["30", None, "nan", "1,5", ' "'],
            "plan": ["pro", "", None, "中\\", None],
            "other": list("abcde"),
        }
    )
    cells = join_columns(frame, {"age": "numeric", "plan": "categorical"})
    assert cells.isna().tolist() == [False, True, True, False, False]
    assert [json.loads(cell) for cell in cells.dropna()] == [
        {"age": "30", "plan": "pro"},
        {"age": "1,5", "plan": "中\\"},
        {"age": ' "'},
    ]


@given(
    st.lists(
        st.tuples(
            st.none() | st.floats() | st.text(max_size=3),
            st.none() | st.text(max_size=3) | st.integers(-3, 3),
        ),
        min_size=1,
        max_size=9,
    )
)
def test_a_joined_cell_means_what_its_columns_hold(rows):
    frame = pd.DataFrame(rows, columns=["age", "plan"], dtype="object")
    modality = make()
    for cell, (age, plan) in zip(join_columns(frame, COLUMNS), rows, strict=True):
        given = {"age": age, "plan": plan}
        if pd.isna(cell):
            with pytest.raises(BadSampleError, match="row_empty"):
                modality.decode(given, HERE)
        else:
            assert look(modality, cell) == look(modality, given)


def look(modality, cell):
    try:
        return modality.decode(cell, HERE)
    except BadSampleError as error:
        return str(error)


@pytest.mark.parametrize(
    "values",
    [
        [1.5, None, 2.0],
        pd.array([1, None, 2], dtype="Int64"),
        np.array([1, 2, 3], dtype="float32"),
        [[1], [2, 3], None],
        pd.to_datetime(["2024-01-01", None, "2024-01-02"]),
        [True, False, None],
    ],
)
def test_columns_of_any_type_become_cells(values):
    cells = join_columns(pd.DataFrame({"age": values}), {"age": "numeric"})
    assert cells.isna().tolist() == pd.isna(pd.Series(values)).tolist()
    assert all(json.loads(cell)["age"] is not None for cell in cells.dropna())


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_values_go_missing_with_the_level_and_numbers_change_relative_to_themselves(
    level, require_share
):
    columns = {f"n{place}": "numeric" for place in range(5)} | {
        "c": "categorical",
        "d": "categorical",
    }
    row = {**{f"n{place}": 10.0**place for place in range(5)}, "c": "pro", "d": None}
    modality, rng, rows = make(columns), np.random.default_rng(1), 4000
    drawn = [modality.corrupt(row, level, rng) for _ in range(rows)]
    assert all(one["d"] is None and one["c"] in {"pro", None} for one in drawn)
    lost = [sum(value is None for value in one.values()) - 1 for one in drawn]
    require_share(sum(lost), 5 * rows, level)  # of six values one is safe
    assert max(lost) <= 5
    for name in ("n0", "n4"):
        factors = np.array([one[name] for one in drawn if one[name] is not None]) / row[name]
        error = level / len(factors) ** 0.5
        assert factors.mean() == pytest.approx(1, abs=4 * error)
        assert factors.std() == pytest.approx(level, abs=4 * error)


def test_at_most_noise_one_value_stays_and_any_of_them_may():
    row, rng = {"plan": "pro", "age": 30.0}, np.random.default_rng(0)
    left = [make().corrupt(row, 1.0, rng) for _ in range(200)]
    kept = [next(name for name, value in one.items() if value is not None) for one in left]
    assert all(list(one.values()).count(None) == 1 for one in left)
    assert 60 < kept.count("age") < 140
