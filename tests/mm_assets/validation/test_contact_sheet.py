import numpy as np
from PIL import Image

from mm_assets.modalities.base import Sketch
from mm_assets.validation.contact_sheet import CELL_INCHES, draw_contact_sheet

WAVE = Sketch(caption="0.1 s", curves=np.sin(np.arange(800.0))[None], oscillates=True)
TEXT = Sketch(text="a $ text_ that & is <long> " * 30)
PHOTO = Sketch(picture=Image.new("RGB", (9, 9), "red"))
ROWS = [
    ("s1", [TEXT, PHOTO, WAVE]),
    ("s2", [None, None, Sketch(curves=np.eye(2, 3))]),
    ("s3", [Sketch(fields={"age": "30.5", "a $ region_": "north " * 30}), None, Sketch("empty")]),
]


def test_every_kind_of_value_is_drawn_and_equal_values_give_equal_bytes(tmp_path):
    for name in ("one.png", "two.png"):
        draw_contact_sheet(tmp_path / name, ["text", "photo", "voice"], ROWS)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as sheet:
        assert sheet.size == (round(3 * CELL_INCHES * 80), round(3 * CELL_INCHES * 80))
        colors = sheet.convert("RGB").getcolors(2**24)
    assert (255, 0, 0) in {color for _, color in colors}


def test_a_sheet_without_rows_is_a_page_of_titles(tmp_path):
    draw_contact_sheet(tmp_path / "empty.png", ["text", "text, copy 1"], [])
    with Image.open(tmp_path / "empty.png") as sheet:
        assert sheet.height == round(CELL_INCHES * 80)
