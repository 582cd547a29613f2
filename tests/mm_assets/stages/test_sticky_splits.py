"""A data set that grows: what was once in training is never in test, under whatever id."""

import json

import numpy as np
import pandas as pd
import pytest

from mm_assets.stages.augment import augment
from mm_assets.stages.project import load_project
from mm_assets.stages.validate import validate

PARAMS = {
    "version": 2,
    "seed": 5,
    "data": {"group": "who"},
    "split": {"train": 0.5, "validation": 0.2, "test": 0.3},
    "modalities": {
        "text": {"kind": "text", "column": "words", "encoder": {"name": "hashed_ngrams"}}
    },
    "targets": {"mood": {"kind": "multiclass", "column": "feeling", "classes": ["glad", "sad"]}},
    "augment": {"copies": 0},
    "gates": {"quarantined_share": 1.0},
    "compute": {"threads": 1},
}


def make(numbers, rng, groups):
    """Give rows with contents of their own, in groups drawn from the first so many."""
    return pd.DataFrame(
        {
            "id": [f"s{n}" for n in numbers],
            "who": [f"g{rng.integers(groups)}" for _ in numbers],
            "words": [f"message {n}" for n in numbers],
            "feeling": ["glad" if n % 2 else "sad" for n in numbers],
        }
    )


def repeat(rows, name, rng, groups):
    """Deliver rows again, under other ids and in other groups."""
    again = rows.assign(id=name + rows["id"])
    return again.assign(who=[f"g{rng.integers(groups)}" for _ in range(len(rows))])


def split(root, table):
    """Run both stages; give the contents and the ids of each split."""
    (root / "params.yaml").write_text(json.dumps(PARAMS))  # JSON is YAML
    (root / "data").mkdir(exist_ok=True)
    table.to_csv(root / "data/samples.csv", index=False)
    project = load_project(root)
    validate(project)
    assert not augment(project).blocks
    rows = pd.read_parquet(project.workspace.augmented / "samples.parquet")
    by_split = rows.groupby("split")
    return {part: set(found["text"]) | set(found["id"]) for part, found in by_split}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_what_was_in_training_is_never_in_test_however_the_table_grows(tmp_path, seed):
    rng = np.random.default_rng(seed)
    first = make(range(120), rng, groups=30)
    # New groups, new rows of old ones, and old contents again: after the old rows and before them.
    second = pd.concat(
        [
            repeat(first.iloc[:40], "early-", rng, groups=60),
            first,
            make(range(120, 200), rng, groups=60),
            repeat(first.iloc[40:80], "late-", rng, groups=60),
        ]
    )
    third = pd.concat(
        [
            repeat(second.iloc[::3], "again-", rng, groups=90),
            second,
            make(range(200, 280), rng, groups=90),
        ]
    ).sample(frac=1, random_state=seed)  # and the rows in another order
    # Groups leave as a whole: every row of theirs is gone, and so are all copies of it.
    gone = {word for who, word in zip(third["who"], third["words"], strict=True) if who == "g1"}
    fourth = third[~third["words"].isin(gone)]

    trained, moved = set(), set()
    for table in (first, second, third, fourth):
        parts = split(tmp_path, table)
        assert len(parts["train"]) > 60
        assert len(parts["test"]) > 30
        assert not parts["test"] & trained
        moved |= parts["test"]
        trained |= parts["train"]
    assert moved & trained, "contents may leave test for training, and here some do"
