import hashlib
import threading

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mm_assets.modalities.base import load_modality
from mm_assets.validation.probing import CHUNK, probe_modality

TEXT = load_modality("text", {}, {}, where="modalities.text")


def probe(cells, folder, *, modality=TEXT, threads=2):
    samples = pd.DataFrame({"id": [f"s{n}" for n in range(len(cells))], "key": cells})
    return probe_modality(samples, "key", modality, folder, threads=threads)


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
@given(cells=st.lists(st.none() | st.text(max_size=3), max_size=3 * CHUNK))
def test_every_present_cell_is_measured_or_found_in_order(tmp_path_factory, cells):
    measured, findings = probe(cells, tmp_path_factory.getbasetemp())
    places = sorted([*measured.index, *(findings["row"] - 1)])
    assert places == [n for n, cell in enumerate(cells) if cell is not None]
    assert measured.index.is_monotonic_increasing
    assert findings["row"].is_monotonic_increasing
    assert "content" in measured


def test_the_number_of_threads_changes_nothing(tmp_path):
    cells = [f"text {n}" if n % 7 else "" for n in range(3 * CHUNK)]
    one, many = (probe(cells, tmp_path, threads=threads) for threads in (1, 5))
    for first, second in zip(one, many, strict=True):
        pd.testing.assert_frame_equal(first, second)
    assert threading.active_count() < 10  # pools are closed
