import ctypes
import hashlib
import json
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mm_assets.contracts.errors import BadSampleError
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.text import Text
from mm_assets.validation import probing
from mm_assets.validation.probing import CELLS, probe_modality

TEXT = load_modality("text", {}, {}, where="modalities.text")


def probe(cells, folder, *, modality=TEXT, workers=2, decode_s=30.0, decode_megabytes=512):
    samples = pd.DataFrame({"id": [f"s{n}" for n in range(len(cells))], "key": cells})
    return probe_modality(
        samples,
        "key",
        modality,
        folder,
        workers=workers,
        decode_s=decode_s,
        decode_megabytes=decode_megabytes,
    )


def test_each_present_cell_is_measured_and_each_bad_one_found(tmp_path):
    measured, findings = probe(["one two", None, "", "three"], tmp_path)
    assert measured.index.tolist() == [0, 3]
    assert measured["words"].tolist() == [2, 1]
    assert measured["content"].tolist() == [
        hashlib.sha256(text).hexdigest() for text in (b"one two", b"three")
    ]
    assert findings.to_dict("records") == [
        {
            "row": 3,
            "id": "s2",
            "modality": "key",
            "reason": "text_empty",
            "detail": "the text has no visible character",
        }
    ]


def test_a_truncated_picture_is_found_and_the_others_measured(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    image = load_modality("image", {}, {}, where="modalities.photo")
    measured, findings = probe(["cut.png", "good.png", "../good.png"], tmp_path, modality=image)
    assert (measured["width_px"].tolist(), measured["height_px"].tolist()) == ([30], [40])
    assert findings["reason"].tolist() == ["image_truncated", "path_outside_data"]


@settings(max_examples=20, deadline=None)
@given(cells=st.lists(st.none() | st.text(max_size=3), max_size=99))
def test_every_present_cell_is_measured_or_found_in_order(tmp_path_factory, cells):
    measured, findings = probe(cells, tmp_path_factory.getbasetemp())
    places = sorted([*measured.index, *(findings["row"] - 1)])
    assert places == [n for n, cell in enumerate(cells) if cell is not None]
    assert measured.index.is_monotonic_increasing
    assert findings["row"].is_monotonic_increasing
    assert "content" in measured


@pytest.mark.slow
def test_the_number_of_threads_changes_nothing(tmp_path):
    cells = [f"text {n}" if n % 7 else "" for n in range(3 * CELLS)]
    one, many = (probe(cells, tmp_path, workers=workers) for workers in (1, 5))
    for first, second in zip(one, many, strict=True):
        pd.testing.assert_frame_equal(first, second)
    assert threading.active_count() < 10  # pools are closed


NUMBERS = st.floats(width=64) | st.integers() | st.none() | st.text(max_size=2) | st.booleans()
VECTORS = st.lists(st.floats(-9, 9) | NUMBERS, min_size=1, max_size=3) | st.lists(
    st.floats(-1e3, 1e3), min_size=2, max_size=2
)
MESSY = {
    "features": VECTORS
    | VECTORS.map(json.dumps)
    | st.lists(st.floats(-9, 9), min_size=2, max_size=2).map(np.array)
    | st.lists(VECTORS, min_size=2, max_size=2)
    | st.text(max_size=3)
    | NUMBERS,
    "tabular": st.dictionaries(st.sampled_from(["age", "plan", "town"]), NUMBERS | VECTORS).map(
        json.dumps
    )
    | st.text(max_size=3),
    "text": st.text(max_size=3) | NUMBERS,
}
OPTIONS = {
    "features": {"dim": 2},
    "tabular": {"columns": {"age": "numeric", "plan": "categorical"}},
}


@pytest.mark.parametrize("kind", MESSY)
def test_many_cells_at_once_are_judged_as_each_one_alone(kind, tmp_path):
    modality = load_modality(kind, OPTIONS.get(kind, {}), {}, where="modalities.x")

    @settings(max_examples=200, deadline=None)
    @given(cells=st.lists(MESSY[kind], max_size=20))
    def compare(cells):
        found = modality.probe_many(cells, tmp_path)
        alone, errors = [], {}
        for place, cell in enumerate(cells):
            try:
                alone.append(modality.probe(cell, tmp_path))
            except BadSampleError as error:
                errors[place] = str(error)
        assert {place: str(error) for place, error in found.errors.items()} == errors
        columns = {name: [one[name] for one in alone] for name in (alone[0] if alone else {})}
        assert {name: list(column) for name, column in found.measured.items() if column} == columns

    compare()


def test_where_tasks_begin_and_end_changes_nothing(tmp_path, monkeypatch):
    cells = ["[1, 2]", None, "[1]", "[3, 4]", "x", "[1, 1e999]", "[5, 6]", "[7]"]
    modality = load_modality("features", {"dim": 2}, {}, where="modalities.x")
    whole = probe(cells, tmp_path, modality=modality)
    for size in (1, 2, 3):
        monkeypatch.setattr(probing, "CELLS", size)
        for one, other in zip(whole, probe(cells, tmp_path, modality=modality), strict=True):
            pd.testing.assert_frame_equal(one, other)
    assert whole[0].index.tolist() == [0, 3, 6]
    assert whole[1]["row"].tolist() == [3, 5, 6, 8]


class Mined(Text):
    """Texts in files, some of which do harm to the process that reads them."""

    is_file = True

    def probe(self, cell, folder):
        said = (folder / cell).read_text()
        match said:
            case "segfault":
                ctypes.string_at(0)
            case "hang":
                time.sleep(999)
            case "ten gigabytes":
                np.ones(10 * 2**30, np.uint8)
        return super().probe(said, folder)


@pytest.mark.slow
def test_a_decoder_that_crashes_hangs_or_devours_costs_its_cell_alone(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[3])
    said = [*["fine"] * 20, "segfault", "well", "hang", "", "ten gigabytes", "good"]
    for at, text in enumerate(said):
        (tmp_path / f"{at}.txt").write_text(text)
    cells = [None, *(f"{at}.txt" for at in range(len(said)))]
    mined = Mined(TEXT.options, TEXT.augmentation)
    before = set(
        psutil.Process().children(recursive=True)
    )  # of other tests, such as multiprocessing's tracker
    measured, findings = probe(cells, tmp_path, modality=mined, decode_s=2.0)
    assert findings[["row", "reason"]].to_numpy().tolist() == [
        [22, "decoder_crashed"],
        [24, "decoder_timeout"],
        [25, "text_empty"],
        [26, "decoder_out_of_memory"],
    ]
    assert measured.index.tolist() == [*range(1, 21), 22, 26]
    assert measured["chars"].tolist() == [4] * 22
    started = set(psutil.Process().children(recursive=True)) - before
    assert psutil.wait_procs(started, timeout=5)[1] == []


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(tmp_path):
    image = load_modality("image", {}, {}, where="modalities.photo")
    for at in range(50):
        picture = Image.new("RGB", (10 + at, 20))
        picture.save(tmp_path / f"{at}.png")
    cells = [f"{at}.png" for at in range(60)]
    one, many = (probe(cells, tmp_path, modality=image, workers=workers) for workers in (1, 3))
    for first, second in zip(one, many, strict=True):
        pd.testing.assert_frame_equal(first, second)
    assert one[0]["width_px"].tolist() == list(range(10, 60))
    assert one[1]["reason"].tolist() == ["file_missing"] * 10
