import subprocess
import sys

import numpy as np

from mm_assets.embedding.preparation import join_rows


def test_rows_of_different_lengths_are_joined_with_zeros_at_the_end():
    rows = [
        {"ids": np.array([[7, 8, 9]]), "length": np.array([3])},
        {"ids": np.array([[5]]), "length": np.array([1])},
    ]
    joined = join_rows(rows)
    np.testing.assert_array_equal(joined["ids"], [[7, 8, 9], [5, 0, 0]])
    np.testing.assert_array_equal(joined["length"], [3, 1])
    assert joined["ids"].dtype == rows[0]["ids"].dtype


def test_a_decoding_process_imports_little():
    code = (
        "import sys, mm_assets.embedding.preparation\n"
        "assert not {'torch', 'pandas', 'pyarrow', 'pydantic'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
