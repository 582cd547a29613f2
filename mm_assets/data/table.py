"""The sample table: reading it from `data/`, and reading rows of later stages by split.

One row per sample: an id, optionally a group and a split, one column per modality, one per
target. A missing modality is a null, never a made-up value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mm_assets.contracts.errors import DataContractError, SourceError

if TYPE_CHECKING:
    import pandas as pd

    from mm_assets.contracts.config import Split

# Columns of `augmented/samples.parquet` beside the user's own.
ID, COPY, SPLIT, GROUP, RENDER = "id", "copy", "split", "group", "render"
LARGEST_BLOCK = 64 * 2**20  # bytes of a CSV that are parsed at once


def read_table(path: Path) -> pd.DataFrame:
    """Read the raw sample table, every column as it stands.

    CSV cells stay text (an id `007` keeps its zeros); only an absent cell (``,,``) is null, while
    a quoted empty one (``""``) stays an empty text. Parquet keeps its types.

    Args:
        path: A `.csv` or `.parquet` file.

    Returns:
        One row per sample, index 0..n-1.

    Raises:
        SourceError: The file is absent, unreadable or of another format, or two of its columns
            have one name.
    """
    import pandas as pd
    import pyarrow as pa
    from pyarrow import csv, parquet

    if not path.is_file():
        raise SourceError(
            f"sample table {path.name} not found in {path.parent}; set `data.table` in params.yaml "
            "to the table's name, or fill data/ with `mm use sample`"
        )
    try:
        if path.suffix == ".parquet":
            table = parquet.read_table(path)
        elif path.suffix == ".csv":
            parsing = csv.ParseOptions(newlines_in_values=True)
            # A row must fit into a block.
            reading = csv.ReadOptions(block_size=min(max(path.stat().st_size, 1), LARGEST_BLOCK))
            names = csv.open_csv(path, reading, parsing).schema.names
            table = csv.read_csv(
                path,
                reading,
                parsing,
                convert_options=csv.ConvertOptions(
                    column_types={name: pa.string() for name in names},
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=[""],
                ),
            )
        else:
            raise SourceError(f"sample table {path.name} must be .csv or .parquet; convert it")
    except pa.ArrowInvalid as error:
        raise SourceError(f"sample table {path.name} cannot be read: {error}") from None
    twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise SourceError(
            f"sample table {path.name} has two columns named {twice[0]!r}; rename one"
        )
    frame = table.to_pandas(ignore_metadata=True)  # an index with a name is a column too
    return pd.DataFrame(frame)


def read_augmented(
    folder: Path, *, splits: Collection[Split], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read rows of `artifacts/augmented/samples.parquet` that belong to the named splits.

    Naming splits and columns at every call is what keeps the test rows closed: only `evaluate`
    reads labels of ``test``.

    Args:
        folder: The augment stage's out.
        splits: One or more of train, validation, test.
        columns: Modalities and targets to read; all of them where null.

    Returns:
        Columns ``id``, ``copy`` (0 for the sample itself), ``split``, ``group``, ``render`` (JSON
        text, null for copy 0), then the modality and target columns under their keys of
        `params.yaml`.

    Raises:
        DataContractError: No split was named.
    """
    import pandas as pd

    if not splits:
        raise DataContractError("read_augmented needs at least one split, got none")
    frame = pd.read_parquet(
        folder / "samples.parquet",
        columns=None if columns is None else [ID, COPY, SPLIT, GROUP, RENDER, *columns],
        filters=[(SPLIT, "in", sorted(splits))],
    )
    return frame.reset_index(drop=True)
