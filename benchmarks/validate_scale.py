"""A million rows through stage `validate`: seconds, and peak memory of the process tree.

Each row has two numbers, two categories, a vector of 16 numbers and two labels; 3 rows in 1000
are bad. The table is made anew in a temporary folder, as Parquet and as CSV (where a vector is
its JSON text):

    python benchmarks/validate_scale.py [--rows 1000000] [--table parquet|csv] [--augment]

It fails above 90 s or 3 GB, the limits for a million rows on two cores.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import judge, make_project, run_mm
from pyarrow import compute, csv, parquet

DIM = 16
PARAMS = {
    "version": 2,
    "data": {"group": "customer"},
    "modalities": {
        "profile": {
            "kind": "tabular",
            "columns": {
                "age": "numeric",
                "income": "numeric",
                "plan": "categorical",
                "town": "categorical",
            },
            "encoder": {"name": "tabular"},
        },
        "scan": {
            "kind": "features",
            "column": "vector",
            "options": {"dim": DIM},
            "encoder": {"name": "standardized"},
        },
    },
    "targets": {
        "mood": {"kind": "multiclass", "column": "mood", "classes": ["calm", "glad", "sad"]},
        "spend": {"kind": "regression", "column": "spend"},
    },
    "compute": {"device": "cpu", "threads": 2},
}


def make_table(rows: int) -> pa.Table:
    """Draw the table; of every 1000 rows one has a short vector, one no age, one an odd mood."""
    rng = np.random.default_rng(0)
    place = np.arange(rows) % 1000
    moods = rng.choice(["calm", "glad", "sad"], rows)
    moods[place == 1] = "odd"
    lengths = np.where(place == 2, DIM - 1, DIM)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    numbers = rng.normal(size=offsets[-1]).astype(np.float32)
    ages = np.where(place == 3, "unknown", rng.integers(18, 90, rows).astype(str))
    return pa.table(
        {
            "id": pa.array(np.char.add("row", np.arange(rows).astype(str))),
            "customer": pa.array(np.char.add("c", rng.integers(0, rows // 2, rows).astype(str))),
            "age": pa.array(ages, mask=rng.random(rows) < 0.05),
            "income": pa.array(np.exp(rng.normal(10, 1, rows)).round(2)),
            "plan": pa.array(rng.choice(["free", "pro", "team"], rows)),
            "town": pa.array(np.char.add("t", rng.geometric(0.01, rows).astype(str))),
            "vector": pa.ListArray.from_arrays(offsets, numbers),
            "mood": pa.array(moods, mask=rng.random(rows) < 0.1),
            "spend": pa.array(rng.gamma(2, 50, rows).round(2), mask=rng.random(rows) < 0.1),
        }
    )


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet, or CSV with vectors as JSON text."""
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
        return
    vectors = table["vector"].combine_chunks()
    texts = compute.round(vectors.flatten().cast(pa.float64()), 4).cast(pa.string())
    joined = compute.binary_join(pa.ListArray.from_arrays(vectors.offsets, texts), ", ")
    cells = compute.binary_join_element_wise("[", joined, "]", "")
    csv.write_csv(table.set_column(table.column_names.index("vector"), "vector", cells), path)


def main() -> None:
    """Make each table, validate it, and exit non-zero above a limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--table", choices=["parquet", "csv"], help="one of the two only")
    parser.add_argument("--augment", action="store_true", help="run `augment` after it too")
    given = parser.parse_args()
    fine = True
    for suffix in [given.table] if given.table else ["parquet", "csv"]:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make_project(root, PARAMS | {"data": PARAMS["data"] | {"table": f"samples.{suffix}"}})
            write_table(make_table(given.rows), root / "data" / f"samples.{suffix}")
            what = f"validate {given.rows} rows, {suffix}"
            fine &= judge(run_mm(root, "stage", "validate"), what=what, most_s=90, most_gb=3)
            if given.augment:
                cost = run_mm(root, "stage", "augment")
                print(f"augment{cost.seconds:>40.1f} s{cost.peak_gb:>20.2f} GB")
    sys.exit(not fine)


if __name__ == "__main__":
    main()
