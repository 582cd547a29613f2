"""CMU-MOSI: opinions in videos, one row per utterance.

Source:
    Zadeh et al. 2016, https://arxiv.org/abs/1606.06259; features as released with Poria et al.,
    ACL 2017, https://aclanthology.org/P17-1081/ (research use).
"""

from __future__ import annotations

from pathlib import Path

from mm_assets.contracts.errors import SourceError
from mm_assets.data.atomic import write_json
from mm_assets.data.card import CARD_VERSION

TABLE = "utterances.parquet"
CLASSES = ("negative", "positive")  # the file's labels 0 and 1
COLUMNS = (
    "utterance",
    "video",
    "position",
    "label",
    "transcript",
    "text_features",
    "audio_features",
    "video_features",
)


def read_cmu_mosi(source: Path, folder: Path) -> None:
    """Turn the released table into `samples.parquet`, and write `card.json` beside it.

    Columns: ``id`` (the utterance), ``video`` (the group), ``position`` (of the utterance in its
    video), ``label`` as text, ``transcript``, and three lists of float32: ``text_features`` (100),
    ``audio_features`` (73), ``video_features`` (100).

    Args:
        source: The folder that holds `utterances.parquet`.
        folder: The data folder to fill.

    Raises:
        SourceError: The file or a column is absent, or a label is neither 0 nor 1.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = source / TABLE
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise SourceError(
            f"cmu_mosi needs {TABLE} in {source}, which has none; give its folder with --data"
        ) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"cmu_mosi cannot read {path}: {error}") from None
    absent = [name for name in COLUMNS if name not in table.column_names]
    if absent:
        raise SourceError(
            f"cmu_mosi needs columns {', '.join(COLUMNS)} in {path}; it lacks {', '.join(absent)}"
        )
    labels = table["label"]
    unknown = set(labels.unique().to_pylist()) - {0, 1}
    if unknown:
        shown = ", ".join(sorted(map(str, unknown)))
        raise SourceError(
            f"cmu_mosi needs labels 0 (negative) and 1 (positive) in {path}, got {shown}"
        )
    words = pa.array(CLASSES).take(pc.cast(labels.combine_chunks(), pa.int64()))
    table = table.select(COLUMNS).set_column(COLUMNS.index("label"), "label", words)
    pq.write_table(table.rename_columns(["id", *COLUMNS[1:]]), folder / "samples.parquet")
    write_json(
        folder / "card.json",
        {
            "schema_version": CARD_VERSION,
            "title": "CMU-MOSI, utterance level",
            "description": (
                f"{table.num_rows} utterances of {len(table['video'].unique())} videos. The text "
                "and video features come from networks that were trained with these very labels: "
                "a model that sees them looks far better on these rows than it is."
            ),
            "licence": "research use; Zadeh et al. 2016, features of Poria et al., ACL 2017",
        },
    )
