import numpy as np
import pandas as pd
import pytest

from mm_assets.validation.embed import check_embeddings, measure_vectors

ROWS = 200


@pytest.fixture
def rows():
    return pd.DataFrame(
        {"id": [f"s{i // 2}" for i in range(ROWS)], "copy": [i % 2 for i in range(ROWS)]}
    )


@pytest.fixture
def matrix():
    return np.random.default_rng(0).standard_normal((ROWS, 8), dtype=np.float32)


CONTENTS = [f"c{i}" for i in range(ROWS)]


def measure(rows, matrix, contents, *, chunk=64):
    """Vectors come some rows at a time."""

    def chunks():
        for at in range(0, len(matrix), chunk):
            part = matrix[at : at + chunk]
            yield part, np.ones(len(part), np.int64)

    return measure_vectors(rows, chunks, np.array(contents))


def failures(rows, matrix, contents=CONTENTS, *, expected_rows=ROWS, dim=8):
    suite = check_embeddings(measure(rows, matrix, contents), rows=expected_rows, dim=dim)
    assert suite.name == "embeddings_are_sound"
    assert not any(result.errored for result in suite.results)
    warnings = {result.column for result in suite.results if result.severity == "warning"}
    assert warnings == {"is_copied"}
    return {
        result.column or result.expectation: (result.observed, result.advice)
        for result in suite.failed
    }


def test_sound_vectors_pass(rows, matrix):
    assert failures(rows, matrix) == {}


def test_one_value_that_is_not_finite_fails(rows, matrix):
    matrix[3, 2], matrix[5, 1] = np.nan, np.inf
    ((column, (observed, advice)),) = failures(rows, matrix).items()
    assert column == "values_not_finite"
    assert observed.startswith(f"2 of {ROWS} unexpected (1.0 %)")
    assert "look at these samples" in advice


def test_a_missing_vector_fails(rows, matrix):
    assert list(failures(rows, matrix, expected_rows=ROWS + 1)) == [
        "expect_table_row_count_to_equal"
    ]


def test_another_length_fails(rows, matrix):
    ((column, (_, advice)),) = failures(rows, matrix, dim=9).items()
    assert column == "dim"
    assert advice == (
        "the store holds vectors of another shape; raise `version` in mm_assets/encoders/NAME.py "
        "when what it computes changed"
    )


def test_two_vectors_for_one_row_fail(rows, matrix):
    rows.loc[1, "copy"] = 0
    assert list(failures(rows, matrix)) == ["expect_compound_columns_to_be_unique"]


def test_zero_vectors_fail(rows, matrix):
    matrix[:10] = 0
    assert "is_zero" in failures(rows, matrix)


def test_an_encoder_that_answers_alike_to_everything_fails(rows, matrix):
    collapsed = np.ones_like(matrix) + 1e-6 * matrix
    found = failures(rows, collapsed)
    assert "it collapsed" in found["is_average"][1]


def test_vectors_copied_from_another_sample_fail(rows, matrix):
    matrix[: ROWS // 2] = matrix[0]
    ((column, (_, advice)),) = failures(rows, matrix).items()
    assert column == "is_copied"
    assert advice == (
        "different samples share one vector: the encoder tells them too little apart (few or "
        "coarse numbers), or the store holds vectors of an earlier version; raise `version` in "
        "mm_assets/encoders/NAME.py when what it computes changed"
    )


def test_vectors_of_one_direction_are_not_copies_of_each_other(rows, matrix):
    matrix[:, 1:] = 0  # all but one number never vary
    assert failures(rows, matrix) == {}


def test_a_copy_may_equal_its_own_sample_and_equal_contents_each_other(rows, matrix):
    matrix[1::2] = matrix[::2]  # copies whose rendering changed nothing
    matrix[2], contents = matrix[0], [*CONTENTS[:2], CONTENTS[0], *CONTENTS[3:]]
    assert failures(rows, matrix, contents) == {}


def test_rounding_between_runs_does_not_show(rows, matrix):
    moved = (matrix * (1 + 1e-7)).astype(np.float32)
    one, two = (
        check_embeddings(measure(rows, m, CONTENTS), rows=ROWS, dim=8) for m in (matrix, moved)
    )
    assert one == two


def test_the_size_of_chunks_does_not_show(rows, matrix):
    matrix[:10], matrix[20:60], matrix[70, 2] = 0, matrix[0], np.nan
    one, two = (measure(rows, matrix, CONTENTS, chunk=chunk) for chunk in (7, ROWS))
    pd.testing.assert_frame_equal(one, two)


def test_of_a_sequence_its_mean_is_measured(rows):
    vectors = np.array([[3, 1], [-3, -1], [2, 2], [1, np.inf]], np.float32)
    measures = measure_vectors(
        rows.iloc[[0, 2, 4]], lambda: [(vectors, np.array([2, 1, 1]))], np.array(["a", "b", "c"])
    )
    assert measures["is_zero"].tolist() == [True, False, False]
    assert measures["values_not_finite"].tolist() == [0, 0, 1]
