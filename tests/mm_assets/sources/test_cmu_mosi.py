from pathlib import Path

import pandas as pd
import pytest

from mm_assets.contracts.errors import SourceError
from mm_assets.data.table import read_table
from mm_assets.sources.cmu_mosi import COLUMNS, read_cmu_mosi

REAL = Path(__file__).parents[3] / "../shared/data/cmu_mosi"


@pytest.fixture
def released(tmp_path):
    """Write a table as released, three utterances long; give its folder."""
    frame = pd.DataFrame(
        {
            "utterance": ["v_1", "v_2", "w_1"],
            "video": ["v", "v", "w"],
            "position": [1, 2, 1],
            "label": [0, 1, 1],
            "transcript": ["BAD", "GOOD", "FINE"],
            "text_features": [[0.0] * 100] * 3,
            "audio_features": [[0.5] * 73] * 3,
            "video_features": [[1.0] * 100] * 3,
        }
    )
    folder = tmp_path / "released"
    folder.mkdir()
    frame.to_parquet(folder / "utterances.parquet")
    return folder


def test_labels_become_words_and_the_rest_stays(released, tmp_path):
    read_cmu_mosi(released, tmp_path)

    table = read_table(tmp_path / "samples.parquet")
    assert list(table.columns) == ["id", *COLUMNS[1:]]
    assert table.id.tolist() == ["v_1", "v_2", "w_1"]
    assert table.label.tolist() == ["negative", "positive", "positive"]
    assert table.position.tolist() == [1, 2, 1]
    assert table.audio_features[0].tolist() == [0.5] * 73


def test_a_folder_without_the_table_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"needs utterances\.parquet in .*; give its folder with"):
        read_cmu_mosi(tmp_path, tmp_path)


def test_a_file_of_another_format_is_named(tmp_path):
    (tmp_path / "utterances.parquet").write_text("utterance,video\n")
    with pytest.raises(SourceError, match=r"cannot read .*utterances\.parquet"):
        read_cmu_mosi(tmp_path, tmp_path)


def test_absent_columns_are_named(released, tmp_path):
    path = released / "utterances.parquet"
    pd.read_parquet(path).drop(columns=["video", "label"]).to_parquet(path)
    with pytest.raises(SourceError, match=r"needs columns utterance, .*; it lacks video, label"):
        read_cmu_mosi(released, tmp_path)


def test_unknown_labels_are_named(released, tmp_path):
    path = released / "utterances.parquet"
    pd.read_parquet(path).assign(label=[0, 1, 7]).to_parquet(path)
    with pytest.raises(SourceError, match=r"labels 0 \(negative\) and 1 \(positive\) .*, got 7"):
        read_cmu_mosi(released, tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="CMU-MOSI is not on this machine")
def test_the_released_rows_are_those_of_the_official_training_part(tmp_path):
    read_cmu_mosi(REAL, tmp_path)

    table = read_table(tmp_path / "samples.parquet")
    assert len(table) == 1447
    assert table.video.nunique() == 62
    assert table.id.is_unique
    assert (table.groupby("video").position.nunique() == table.groupby("video").size()).all()
    assert table.audio_features.map(len).eq(73).all()
