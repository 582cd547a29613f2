import wave

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mm_assets.sources.columns import look_at_column, quote

ENGLISH = ["The train was late and I missed it {}", "This is the best of all days, {}"]
GERMAN = ["Der Zug kam heute wieder einmal zu spät {}", "Das Wetter gefällt mir sehr gut {}"]
CHINESE = ["今天天气很好我们去公园散步吧第{}次", "服务太慢了等了很久才有人来第{}回"]


def look(values, folder):
    return look_at_column(pd.Series(values), folder)


def repeat(patterns, count=60):
    return [patterns[at % len(patterns)].format(at) for at in range(count)]


@pytest.mark.parametrize(
    ("values", "kind", "sure", "reason"),
    [
        ([None, None], "nothing", True, "it has no value"),
        (["a", "a", "a"], "nothing", True, 'every row has "a"'),
        (["0", "1", "2", "3"], "row_numbers", True, "the number of its row"),
        ([1.5, 2.0, None] * 9, "number", True, "numbers from 1.5 to 2"),
        (["1"] * 50 + ["20"] * 50, "number", True, "numbers from 1 to 20"),
        (["1", "2"] * 50 + ["?"], "number", False, 'but also "?": rows with that will be quarant'),
        (["1,5", "2.000,25"] * 9, "nothing", False, 'a decimal comma, such as "1,5"'),
        (["007", "008"] * 20, "category", True, "2 different values"),
        ([True, False] * 5, "category", True, "yes or no"),
        (["2020-01-02", "2021-05-06"] * 9, "nothing", True, 'dates, such as "2020-01-02"'),
        (pd.to_datetime(["2020-01-02", "2021-05-06"]), "nothing", True, "dates and times"),
        (["gold", "silver", "lead"] * 9, "category", True, "3 different values"),
        (["https://a.b/c.png", "https://a.b/d.png"] * 9, "nothing", False, "web addresses"),
        (["a/x.pdf", "a/y.pdf"] * 9, "nothing", True, "end in .pdf, which no kind reads"),
        ([[[0, "view"], [2.5, "buy", 9.9]], []] * 9, "events", True, "lists of events"),
        (['[[0, "view"]]', '[["2026-01-01", "buy"]]'] * 9, "events", True, "lists of events"),
        ([[{"time": 1, "type": "view", "value": 2}]] * 9, "events", True, "lists of events"),
        ([[["a", "b"]], [["c", "d"]]] * 9, "nothing", False, "lists of something else"),
        (
            [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9]]] * 9,
            "features",
            False,
            "up to 2 lists of 3 numbers",
        ),
        ([{"a": 1}, {"a": 2}], "nothing", True, "nested objects"),
        ([[1.0, 2.0], [3.0, 4.0]], "features", True, "lists of 2 numbers"),
        (["[1, 2, 3]", "[4, 5, 6]"], "features", True, "lists of 3 numbers"),
        ([np.ones(4, np.float32)] * 3, "features", True, "lists of 4 numbers"),
        ([[1, 2]] * 9 + [[1]], "features", False, "in 9 of 10 rows looked at, of 1 in the rest"),
        ([["a", "b"], ["b"]], "labels", True, "lists of labels, 2 different ones"),
        (["a|b", "b", "a", "c|a"] * 9, "labels", True, "3 labels, several to a cell, separated"),
        (repeat(ENGLISH), "text", True, "minilm reads English"),
        (repeat(GERMAN), "text", False, "of the words are common English ones"),
        (repeat(CHINESE), "text", True, "of the letters are not Latin"),
        ([f"code{at}" for at in range(60)], "nothing", True, "single words that hardly repeat"),
        ([f"Ann {at}th" for at in range(60)], "text", False, "short texts of"),
        ([f"w{at // 3}" for at in range(300)], "category", False, "seldom repeated"),
    ],
)
def test_a_column_is_told_by_its_cells(tmp_path, values, kind, sure, reason):
    form = look(values, tmp_path)
    assert (form.kind, form.sure) == (kind, sure), form
    assert reason in form.reason


@pytest.mark.parametrize(
    ("texts", "encoder"),
    [(ENGLISH, "minilm"), (GERMAN, "hashed_ngrams"), (CHINESE, "hashed_ngrams")],
)
def test_a_text_gets_an_encoder_of_its_language(tmp_path, texts, encoder):
    assert look(repeat(texts), tmp_path).details == {"encoder": encoder}


def test_details_are_what_the_pipeline_needs_to_be_told(tmp_path):
    assert look(["[1, 2, 3]", "[4, 5, 6]"], tmp_path).details == {"dim": 3}
    assert look(["a;b", "b", "a", "c;a"] * 9, tmp_path).details == {"separator": ";"}
    assert look(["a", "b"] * 9, tmp_path).distinct == 2


@pytest.mark.parametrize(("side", "size_px"), [(28, 96), (150, 160), (300, 224)])
def test_pictures_are_opened_for_their_size(tmp_path, side, size_px):
    (tmp_path / "in").mkdir()
    for at in range(5):
        Image.new("RGB", (side, 20)).save(tmp_path / f"in/{at}.png")
    form = look([f"in/{at}.png" for at in range(5)], tmp_path)
    assert (form.kind, form.sure, form.details) == ("image", True, {"size_px": size_px})
    assert form.reason == (
        f"paths of .png files; all 5 looked for are there; {side} px on the longer side"
    )


@pytest.mark.parametrize(("seconds", "details"), [(2, {}), (50, {"max_s": 100.0})])
def test_recordings_are_opened_for_their_length(tmp_path, seconds, details):
    for name in ("a.wav", "b.wav"):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setparams((1, 2, 1000, 0, "NONE", ""))
            file.writeframes(b"\0\1" * 1000 * seconds)
    form = look(["a.wav", "b.wav"], tmp_path)
    assert (form.kind, form.sure, form.details) == ("audio", True, details)
    assert form.reason.endswith(f"; {seconds:.1f} to {seconds:.1f} s long")


def test_missing_files_are_looked_for_one_folder_below(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.jpg").write_bytes(b"no picture")
    form = look(["a.jpg", "b.jpg"], tmp_path)
    assert (form.kind, form.sure, form.details) == ("image", False, {})
    assert form.reason == (
        'paths of .jpg files; of 2 looked for 2 are missing, such as "a.jpg", which lies in '
        "pictures/: write 'pictures/a.jpg' in the table"
    )


def test_a_quoted_value_stays_on_one_line_and_short():
    assert quote("a\nb") == '"a\\nb"'
    assert quote("x" * 99) == '"' + "x" * 39 + '…"'


def test_files_of_signals_are_told_by_their_channels_and_never_sure(tmp_path):
    for at in range(4):
        np.save(tmp_path / f"{at}.npy", np.zeros((3, 500), np.float32))
    form = look([f"{at}.npy" for at in range(4)], tmp_path)
    assert (form.kind, form.sure, dict(form.details)) == ("signal", False, {"channels": 3})
    pd.DataFrame(np.zeros((9, 2)), columns=["x", "y"]).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame(np.zeros((9, 2)), columns=["x", "y"]).to_parquet(tmp_path / "b.parquet")
    for name in ("a.csv", "b.parquet"):
        assert look([name, name.upper()], tmp_path).details == {"channels": 2}


def test_pickles_are_not_opened_to_count_channels(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert look(["a.npy", "b.npy"], tmp_path).details == {}


def test_videos_may_have_sound(tmp_path):
    form = look(["a.mp4", "b.webm"], tmp_path)
    assert form.kind == "video"
    assert "their sound may be a further modality of kind audio" in form.reason
