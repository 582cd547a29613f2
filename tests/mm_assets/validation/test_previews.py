import base64
import io
import re
import wave
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from mm_assets.modalities.base import Sketch, load_modality
from mm_assets.validation.previews import (
    CURVE_PX,
    embed_picture,
    preview,
    shorten,
    show_sketch,
)


def load(kind, **options):
    return load_modality(kind, options, {}, where="modalities.x")


def read_path(markup):
    """Give the points of the one path of an SVG, read by an XML parser."""
    svg = ElementTree.fromstring(str(markup))
    return svg.find("path").get("d"), svg.find("title").text


def test_a_picture_is_a_thumbnail_inside_the_page(tmp_path):
    Image.new("RGB", (400, 200), (250, 0, 0)).save(tmp_path / "a.png")
    shown = preview(load("image"), "a.png", tmp_path)
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', shown)
    small = Image.open(io.BytesIO(base64.b64decode(data)))
    assert small.size == (96, 48)
    assert np.abs(np.asarray(small)[24, 48].astype(int) - [250, 0, 0]).max() < 10
    assert 'alt="400 x 200 pixels" width="96" height="48"' in shown


def test_a_recording_is_drawn_as_the_range_its_samples_cover(tmp_path):
    # Silence, then full scale to both sides: the first half is flat, the second fills the height.
    samples = np.zeros(8000, dtype="<i2")
    samples[4000::2], samples[4001::2] = 30000, -30000
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    path, title = read_path(preview(load("audio"), "a.wav", tmp_path))
    bars = [[float(x) for x in re.split("[ V]", bar)] for bar in path.split("M")[1:]]
    height = CURVE_PX[1]
    assert title == "1.00 s at 8000 Hz"
    assert len(bars) == 80
    assert {(top, bottom) for _, top, bottom in bars[:40]} == {(height / 2 - 0.3, height / 2 + 0.3)}
    assert {(top, bottom) for _, top, bottom in bars[40:]} == {(-0.3, height + 0.3)}


def test_a_recording_shorter_than_the_curve_is_drawn_sample_by_sample():
    path, _ = read_path(show_sketch(Sketch(curves=np.array([[1.0, -1.0]]), oscillates=True)))
    assert path.count("M") == 2


def test_a_long_vector_is_a_line_from_its_least_to_its_largest_number(tmp_path):
    cell = str(list(range(11)))
    path, title = read_path(preview(load("features", dim=11), cell, tmp_path))
    points = [tuple(map(float, p.split())) for p in path.removeprefix("M").split("L")]
    assert title == "11 numbers, 0 to 10"
    assert points[0] == (0, CURVE_PX[1] - 2)
    assert points[-1] == (CURVE_PX[0], 2)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)


def test_a_constant_vector_is_drawn_too():
    path, _ = read_path(show_sketch(Sketch(curves=np.full((1, 20), 3.0))))
    assert "nan" not in path


def test_a_short_vector_is_written_out(tmp_path):
    shown = preview(load("features", dim=3), "[1, 2.5, -0.123456]", tmp_path)
    assert shown == "<span>[1, 2.5, -0.1235]</span>"


def test_values_by_name_are_listed(tmp_path):
    row = load("tabular", columns={"age": "numeric", "plan": "categorical"})
    shown = preview(row, {"age": 30.0, "plan": None}, tmp_path)
    assert shown == "<b>age</b>: 30<br><b>plan</b>: missing"


def test_several_curves_are_drawn_below_each_other():
    shown = show_sketch(Sketch(caption="2 channels", curves=np.eye(2, 20)))
    assert shown.count("<svg") == 2


def test_a_strip_of_frames_is_wider_than_a_thumbnail():
    strip = Sketch(caption="4 frames", picture=Image.new("RGB", (800, 200)))
    assert 'alt="4 frames" width="384" height="96"' in show_sketch(strip)


def test_a_long_text_is_cut(tmp_path):
    shown = preview(load("text"), "说" * 200, tmp_path)
    assert shown == f"<span>{'说' * 158} …</span>"
    assert shorten("a" * 160) == "a" * 160


@pytest.mark.parametrize("cell", [None, np.nan])
def test_a_null_is_missing(cell, tmp_path):
    assert preview(load("text"), cell, tmp_path) == '<span class="none">missing</span>'


def test_a_broken_medium_says_why_it_has_no_preview(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    shown = preview(load("image"), "a.png", tmp_path)
    assert shown == (
        '<span class="none">no preview: it is no picture in any of PNG, JPEG, WEBP, BMP, TIFF, '
        "GIF</span>"
    )


def test_a_broken_cell_that_is_no_file_is_shown_beside_the_reason(tmp_path):
    shown = preview(load("features", dim=3), "[1, 2]", tmp_path)
    assert shown.startswith('[1, 2]<br><span class="none">no preview: the vector needs')


@pytest.mark.parametrize(
    ("kind", "options", "cell"),
    [
        ("text", {}, "<script>alert(1)</script>"),
        ("text", {"max_chars": 3}, "<script>alert(1)</script>"),
        ("features", {"dim": 2}, "<script>alert(1)</script>"),
        ("image", {}, "<script>alert(1)</script>.png"),
    ],
)
def test_what_a_cell_holds_never_runs(kind, options, cell, tmp_path):
    shown = preview(load(kind, **options), cell, tmp_path)
    assert isinstance(shown, Markup)
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_names_of_columns_are_escaped():
    assert "<i>" not in show_sketch(Sketch(fields={"<i>": "<b>"}))


def test_equal_cells_give_equal_text(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    assert len({str(preview(load("image"), "a.png", tmp_path)) for _ in "123"}) == 1


def test_plots_are_embedded_and_large_ones_made_smaller(tmp_path):
    Image.new("RGB", (3000, 600)).save(tmp_path / "a.png")
    (tmp_path / "b.svg").write_text("<svg/>")
    kind, data = embed_picture(tmp_path / "a.png").split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (1000, 200)
    assert embed_picture(tmp_path / "b.svg") == "data:image/svg+xml;base64,PHN2Zy8+"
