import contextlib
import io
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mm_assets.contracts.errors import BadSampleError
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.image import GREY

RED, WHITE = (255, 0, 0), (255, 255, 255)


def make(augment=None, **options):
    return load_modality("image", options, augment or {}, where="modalities.image")


def noise(width=40, height=30, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def decode(image, folder, name="x.png", **save):
    image.save(folder / name, **save)
    return make().decode(name, folder)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "bmp", "tiff", "gif"])
def test_every_format_decodes_to_rgb(tmp_path, form):
    image = Image.new("RGB", (40, 30), RED)
    image.save(tmp_path / f"x.{form}")
    found = make().probe(f"x.{form}", tmp_path)
    decoded = make().decode(f"x.{form}", tmp_path)
    assert (found["width_px"], found["height_px"], found["format"]) == (40, 30, form.upper())
    assert (decoded.mode, decoded.size) == ("RGB", (40, 30))
    np.testing.assert_allclose(np.asarray(decoded)[15, 20], RED, atol=3)


def test_only_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, "blue")]
    decoded = decode(frames[0], tmp_path, "x.gif", save_all=True, append_images=frames[1:])
    assert decoded.getpixel((5, 5)) == RED


def test_a_camera_held_sideways_is_turned_upright(tmp_path):
    image = noise(40, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 270 degrees to show
    decoded = decode(image, tmp_path, exif=exif)
    np.testing.assert_array_equal(np.asarray(decoded), np.rot90(np.asarray(image), -1))


def test_transparency_is_laid_on_white(tmp_path):
    half = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    half.paste((255, 0, 0, 255), (0, 0, 10, 20))
    decoded = decode(half, tmp_path)
    assert (decoded.getpixel((2, 2)), decoded.getpixel((15, 2))) == (RED, WHITE)
    palette = half.convert("P")
    palette.info["transparency"] = palette.getpixel((15, 2))
    assert (
        decode(palette, tmp_path, transparency=palette.info["transparency"]).getpixel((15, 2))
        == WHITE
    )


def test_deep_grey_keeps_its_shades(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 256, dtype=np.uint16), (10, 1))
    decoded = decode(Image.fromarray(ramp), tmp_path)
    np.testing.assert_array_equal(np.asarray(decoded)[0, :, 0], ramp[0] >> 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "CMYK", "YCbCr", "F"])
def test_other_modes_decode(tmp_path, mode):
    decoded = decode(noise().convert(mode), tmp_path, "x.tiff")
    assert (decoded.mode, decoded.size) == ("RGB", (40, 30))


def huge_png():
    """A picture of 60000 x 60000 pixels in a hundred bytes."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0"))


def bytes_of(image, form="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (bytes_of(noise())[:900], "image_truncated", r"truncated"),
        (bytes_of(noise(200, 200), "JPEG")[:900], "image_truncated", r"truncated"),
        (b"no picture at all", "image_unreadable", r"no picture in any of PNG, JPEG, WEBP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_unreadable", r"no picture"),
        (bytes_of(noise(40, 7)), "image_too_small", r"40 x 7 pixels, each side needs 8"),
        (bytes_of(noise(2000, 1000)), "image_too_large", r"2000 x 1000 pixels, .* 1 million"),
        (huge_png(), "image_too_large", r"."),
        (b"", "file_empty", r"no bytes"),
    ],
)
def test_a_bad_picture_has_its_reason(tmp_path, data, reason, detail):
    (tmp_path / "x.png").write_bytes(data)
    modality = make(max_megapixels=1.0)
    for look in (modality.probe, modality.decode):
        with pytest.raises(BadSampleError, match=detail) as caught:
            look("x.png", tmp_path)
        assert caught.value.reason == reason
        assert "0x" not in caught.value.detail, "a memory address differs between equal runs"


@given(cut=st.integers(1, 600), at=st.integers(0, 599), byte=st.integers(0, 255))
def test_no_damage_escapes_as_another_error(tmp_path_factory, cut, at, byte):
    folder = tmp_path_factory.getbasetemp()
    data = bytearray(bytes_of(noise(12, 12)))
    data[at % len(data)] = byte
    (folder / "damaged.png").write_bytes(bytes(data[:cut]))
    with contextlib.suppress(BadSampleError):
        make().decode("damaged.png", folder)


def test_a_letterbox_keeps_the_whole_picture():
    modality = make()
    pixels = modality.collate(
        [Image.new("RGB", (40, 20), RED), Image.new("RGB", (64, 64), WHITE)], {"size_px": 32}
    )["pixels"]
    assert (pixels.shape, pixels.dtype) == ((2, 32, 32, 3), np.uint8)
    assert (pixels[1] == 255).all()
    np.testing.assert_array_equal(pixels[0, 8:24], np.broadcast_to(RED, (16, 32, 3)))
    np.testing.assert_array_equal(pixels[0, :8], np.broadcast_to(GREY, (8, 32, 3)))


def test_shrinking_averages_instead_of_skipping_pixels():
    checkers = Image.fromarray((np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8))
    pixels = make().collate([checkers.convert("RGB")], {"size_px": 16})["pixels"]
    np.testing.assert_allclose(pixels, 127.5, atol=1.5)


def test_the_placeholder_fits_any_canvas():
    modality = make()
    pixels = modality.collate([modality.placeholder({"size_px": 8})], {"size_px": 8})["pixels"]
    assert (pixels == 127).all()


STILL = {"crop": 0.0, "rotate_deg": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}


def test_nothing_allowed_changes_nothing():
    modality, image = make(STILL), noise()
    rendered = modality.render(image, modality.plan(np.random.default_rng(0)))
    np.testing.assert_array_equal(np.asarray(rendered), np.asarray(image))


def test_mirroring_is_off_unless_asked_for():
    assert not any(make().plan(np.random.default_rng(seed))["flip"] for seed in range(50))
    modality, image = make({**STILL, "flip": 1.0}), noise()
    rendered = modality.render(image, modality.plan(np.random.default_rng(0)))
    np.testing.assert_array_equal(np.asarray(rendered), np.asarray(image)[:, ::-1])


@given(st.integers(0, 2**31), st.integers(1, 50), st.integers(1, 50))
def test_a_rendering_is_the_same_each_time_and_within_its_limits(seed, width, height):
    modality, image = make(), noise(width, height)
    plan = json.loads(json.dumps(modality.plan(np.random.default_rng(seed))))
    once, again = modality.render(image, plan), modality.render(image, plan)
    np.testing.assert_array_equal(np.asarray(once), np.asarray(again))
    assert abs(plan["rotate_deg"]) <= 8
    assert all(0.9 <= plan[name] <= 1.1 for name in ("brightness", "contrast", "saturation"))
    assert 0.9 * width - 1 <= once.width <= width
    assert 0.9 * height - 1 <= once.height <= height
