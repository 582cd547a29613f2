"""Still pictures: PNG, JPEG, WebP, BMP, TIFF; of an animation or of several pages the first.

Augmentation is Pillow's, with the meaning of torchvision's transforms v2 (the tests compare each
operation with theirs on the same picture). Torchvision's own functions call the same Pillow code
for most of them, but would bring torch into decoding processes and into serving, which share this
file and run without it.

Colour profiles are not applied: published image networks were trained on numbers as they stand in
the file, and so are read by torchvision and timm.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from PIL import (
    Image,
    ImageColor,
    ImageEnhance,
    ImageFilter,
    ImageOps,
    ImageStat,
    UnidentifiedImageError,
)
from pydantic import Field, field_validator

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.media import read_media
from mm_assets.modalities import base

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
GREY = (127, 127, 127)  # about zero after the usual normalisation
# What Pillow's decoders raise on damaged files.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    MemoryError,
    struct.error,
    zlib.error,
)
SCALES = (8, 4, 2)  # by which a JPEG's sides can be divided in its cosine transform
BAND_PX = 256  # rows of a picture that are held as floats at once
# Strengths of three corruptions of ImageNet-C at severity 0 (none) to 5, of Hendrycks, Dietterich
# 2019, https://arxiv.org/abs/1903.12261, with https://github.com/hendrycks/robustness
SEVERITIES = {
    "noise": (0, 0.08, 0.12, 0.18, 0.26, 0.38),  # deviation of normal noise; white is 1
    "blur": (0, 1, 2, 3, 4, 6),  # deviation of a normal curve, in pixels of 224
    "contrast": (1, 0.4, 0.3, 0.2, 0.1, 0.05),  # what is left of the distance to the mean
}
SEVERITY_PX = 224  # side of the pictures for which these were chosen
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class ImageOptions(base.Options):
    """What a legal picture is, and how it is read.

    Memory is bounded by `max_megapixels`, judged by the header before a pixel is decoded: at most
    about 13 bytes each are held at once, with `keep_px` and a JPEG less than 1.
    """

    limits: ClassVar[frozenset[str]] = frozenset(
        {"max_megabytes", "min_px", "max_megapixels", "max_aspect", "max_pixels_per_byte"}
    )

    max_megabytes: Positive = 50.0
    min_px: Annotated[int, Field(ge=1)] = 8  # of the shorter side
    max_megapixels: Annotated[float, Field(gt=0, le=80)] = 64.0
    max_aspect: Annotated[float, Field(ge=1)] = 100.0  # of the longer side to the shorter
    # More than deflate, LZW and JPEG can reach: a lie in the header, or a bomb.
    max_pixels_per_byte: Positive = 10_000.0
    # What lies under transparency: white, black or #rrggbb.
    background: Annotated[str, Field(pattern=r"^(white|black|#[0-9a-fA-F]{6})$")] = "white"
    # Which numbers of a deep grey picture (16 or 32 bits, float) are black and white, such as
    # [0, 4095] of a 12-bit camera. Null: all 16 bits; of 32 bits and float the picture's extremes.
    grey_range: tuple[float, float] | None = None
    # A larger picture is decoded at a half, a quarter or an eighth, while its longer side keeps at
    # least so many pixels; null keeps all. On 12-megapixel JPEGs this makes decoding and resizing
    # four times faster; EfficientNet-Lite0's vectors keep a cosine of at least 0.9995 with those of
    # the whole picture, as near as when the file is saved again with quality 75 (0.9993).
    keep_px: Annotated[int, Field(ge=32)] | None = 768

    @field_validator("grey_range", mode="before")
    @classmethod
    def _require_order(cls, given: object) -> object:
        """Accept a list, whose length and types pydantic judges.

        Raises:
            ValueError: Black is not below white.
        """
        if not isinstance(given, list):
            return given
        if all(isinstance(number, (int, float)) for number in given) and given != sorted(
            set(given)
        ):
            raise ValueError(f"needs [black, white] with black below white, got {given}")
        return tuple(given)


class ImageAugment(base.Options):
    """Strongest change of a copy; each is drawn uniformly up to it, and 0 turns it off."""

    crop: Annotated[float, Field(ge=0, lt=0.9)] = 0.1  # share of each side cut away
    stretch: Annotated[float, Field(ge=0, le=1)] = 0.05  # change of width : height, either way
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 8.0
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1
    saturation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02  # of the colour circle
    blur: Annotated[float, Field(ge=0, le=0.1)] = 0.005  # deviation, of the shorter side
    erase: Annotated[float, Field(ge=0, lt=1)] = 0.05  # share of the area that turns grey
    flip: Share = 0.0  # chance of a mirror image; off, since letters and sides may matter


class Picture(base.Modality[Image.Image]):
    """A picture, upright, in RGB, on an opaque background."""

    kind: ClassVar[str] = "image"
    version: ClassVar[int] = 2
    decoders: ClassVar[tuple[str, ...]] = ("pillow",)
    is_file: ClassVar[bool] = True
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    options_model: ClassVar[type[base.Options]] = ImageOptions
    options: ImageOptions
    augment_model: ClassVar[type[base.Options]] = ImageAugment
    augmentation: ImageAugment

    def read(self, cell: object, folder: Path) -> bytes:
        """Read the file; see `read_media` for the reasons it may give."""
        return read_media(cell, folder, max_megabytes=self.options.max_megabytes)

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Measure `width_px`, `height_px`, `bytes` and name the `format`; see `Modality.probe`.

        Sides are those of the whole picture, upright, whatever `keep_px` says. All of it is
        decoded, since nothing else shows that a file is whole.
        """
        data = self.read(cell, folder)
        _, size, name = self._decode(data)
        return {
            "content": base.digest_content(data),
            "width_px": size[0],
            "height_px": size[1],
            "bytes": len(data),
            "format": name,
        }

    def decode(self, cell: object, folder: Path) -> Image.Image:
        """Read the picture.

        Raises:
            BadSampleError: As `read_media`, or ``image_unreadable``, ``image_truncated``,
                ``image_too_small``, ``image_too_large``, ``image_too_narrow``,
                ``image_overcompressed`` or ``image_not_finite``.
        """
        return self._decode(self.read(cell, folder))[0]

    def _decode(self, data: bytes) -> tuple[Image.Image, tuple[int, int], str]:
        """Decode bytes to an upright RGB picture; also give its whole size and its format's name.

        Raises:
            BadSampleError: As `decode`.
        """
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                self._require_size(image, len(data))
                return (*self._load(image), str(image.format))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise BadSampleError("image_too_large", str(error)) from None
        except UnidentifiedImageError:  # its message holds a memory address
            raise BadSampleError(
                "image_unreadable", f"it is no picture in any of {', '.join(FORMATS)}"
            ) from None
        except _DECODER_ERRORS as error:
            cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
            raise BadSampleError(
                "image_truncated" if cut else "image_unreadable", str(error) or repr(error)
            ) from None

    def _require_size(self, image: Image.Image, size: int) -> None:
        """Judge by the header, before pixels are decoded.

        Raises:
            BadSampleError: ``image_too_small``, ``image_too_large``, ``image_too_narrow`` or
                ``image_overcompressed``.
        """
        limits, pixels = self.options, image.width * image.height
        shown = f"the image has {image.width} x {image.height} pixels"
        if min(image.size) < limits.min_px:
            raise BadSampleError("image_too_small", f"{shown}, each side needs {limits.min_px}")
        if pixels > limits.max_megapixels * 1e6:
            raise BadSampleError(
                "image_too_large", f"{shown}, the limit is {limits.max_megapixels:g} million"
            )
        if max(image.size) > limits.max_aspect * min(image.size):
            raise BadSampleError(
                "image_too_narrow",
                f"{shown}, one side may be at most {limits.max_aspect:g} times the other",
            )
        if pixels > limits.max_pixels_per_byte * size:
            raise BadSampleError(
                "image_overcompressed",
                f"{shown} in {size} bytes, the limit is {limits.max_pixels_per_byte:g} a byte",
            )

    def _load(self, image: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
        """Decode an opened picture, and give it with its whole size, upright."""
        width, height = image.size
        scale = self._choose_scale(image)
        # A JPEG leaves out what is too fine for the smaller size; other formats know no draft.
        drafted = scale > 1 and image.draft(None, (width // scale, height // scale)) is not None
        image.load()
        decoded = image.size
        ImageOps.exif_transpose(image, in_place=True)
        if not drafted:
            width, height = image.size
        elif image.size != decoded:
            width, height = height, width
        opaque = _flatten(image, self.options.background, self.options.grey_range)
        return opaque.reduce(1 if drafted else scale), (width, height)

    def _choose_scale(self, image: Image.Image) -> int:
        """Give the number by which both sides are divided, 1 if none."""
        if self.options.keep_px is None:
            return 1
        fitting = (scale for scale in SCALES if max(image.size) >= scale * self.options.keep_px)
        return next(fitting, 1)

    def describe(self, value: Image.Image) -> base.Sketch:
        """Show the picture."""
        return base.Sketch(caption=f"{value.width} x {value.height} pixels", picture=value)

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw boxes, angle and factors; lengths are shares of the picture's; see `Modality.plan`.

        Source:
            Zhong et al. 2017, Random erasing, https://arxiv.org/abs/1708.04896, and
            `RandomResizedCrop`, `ColorJitter`, `GaussianBlur`, `RandomErasing` of torchvision.
        """
        most = self.augmentation
        crop = rng.uniform(0, most.crop)
        left, top = rng.uniform(0, crop, size=2)
        factors = {
            name: round(1 + rng.uniform(-1, 1) * getattr(most, name), 4)
            for name in ("brightness", "contrast", "saturation")
        }
        return {
            "crop": [round(float(x), 4) for x in (left, top, left + 1 - crop, top + 1 - crop)],
            "stretch": round(float((1 + most.stretch) ** rng.uniform(-1, 1)), 4),
            "rotate_deg": round(float(rng.uniform(-1, 1) * most.rotate_deg), 2),
            "flip": bool(rng.random() < most.flip),
            **factors,
            "hue": round(float(rng.uniform(-1, 1) * most.hue), 4),
            "blur": round(float(rng.uniform(0, most.blur)), 5),
            "erase": _draw_box(rng, float(rng.uniform(0, most.erase))),
        }

    def render(self, value: Image.Image, plan: Mapping[str, Any]) -> Image.Image:
        """Rotate (corners grey), crop, stretch, mirror, change colours, blur, and erase to grey."""
        image = value.rotate(plan["rotate_deg"], Image.Resampling.BICUBIC, fillcolor=GREY)
        image = image.crop(_to_pixels(plan["crop"], image.size))
        if plan["stretch"] != 1:  # the area stays
            across = math.sqrt(plan["stretch"])
            size = (max(round(image.width * across), 1), max(round(image.height / across), 1))
            image = image.resize(size, Image.Resampling.BICUBIC)
        if plan["flip"]:
            image = ImageOps.mirror(image)
        image = ImageEnhance.Brightness(image).enhance(plan["brightness"])
        image = ImageEnhance.Contrast(image).enhance(plan["contrast"])
        image = ImageEnhance.Color(image).enhance(plan["saturation"])
        image = _turn_hue(image, plan["hue"])
        if plan["blur"]:
            image = image.filter(ImageFilter.GaussianBlur(plan["blur"] * min(image.size)))
        if plan["erase"]:
            image.paste(GREY, _to_pixels(plan["erase"], image.size))
        return image

    def corrupt(self, value: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
        """Add noise, blur, or take contrast away, each as likely; see `Modality.corrupt`.

        Levels 0.2, 0.4 ... 1 are severities 1 to 5 of ImageNet-C, and what lies between them is
        interpolated; see `corrupt_picture`.

        Raises:
            DataContractError: The level is not in [0, 1].
        """
        self._require_level(level)
        return corrupt_picture(value, draw_corruption(rng), level, rng)

    def collate(self, values: Sequence[Image.Image], inputs: Mapping[str, Any]) -> base.Arrays:
        """Fit each whole picture into the encoder's square, the rest grey (a letterbox).

        Nothing is cut off: what a sample is about need not be in the middle. Resampling is bicubic
        with antialiasing.

        Returns:
            ``pixels``, uint8 (batch, size_px, size_px, 3).
        """
        size = inputs["size_px"]
        pixels = np.full((len(values), size, size, 3), GREY, dtype=np.uint8)
        for image, square in zip(values, pixels, strict=True):
            scale = size / max(image.size)
            width, height = (max(round(side * scale), 1) for side in image.size)
            left, top = (size - width) // 2, (size - height) // 2
            fitted = image.resize((width, height), Image.Resampling.BICUBIC)
            square[top : top + height, left : left + width] = fitted
        return {"pixels": pixels}

    def placeholder(self, inputs: Mapping[str, Any]) -> Image.Image:
        """Give one grey pixel."""
        return Image.new("RGB", (1, 1), GREY)


def draw_corruption(rng: np.random.Generator) -> str:
    """Draw one of `SEVERITIES`, each as likely."""
    return list(SEVERITIES)[rng.integers(len(SEVERITIES))]


def corrupt_picture(
    image: Image.Image, corruption: str, level: float, rng: np.random.Generator
) -> Image.Image:
    """Apply one of `SEVERITIES` at severity ``5 * level``.

    Blur and the noise's grain grow with a picture whose longer side has more than 224 pixels, for
    which the paper chose its numbers: what is fine beside the whole would be gone when an encoder
    shrinks it. Blur shrinks with a smaller picture.

    Args:
        image: RGB of any size.
        corruption: ``noise``, ``blur`` or ``contrast``.
        level: In [0, 1].
        rng: Draws the noise.
    """
    severities = SEVERITIES[corruption]
    strength = float(np.interp(level * (len(severities) - 1), range(len(severities)), severities))
    if corruption == "noise":
        return _add_grain(image, strength, rng)
    if corruption == "blur":
        pixel = max(image.size) / SEVERITY_PX
        return image.filter(ImageFilter.GaussianBlur(strength * pixel))
    means = ImageStat.Stat(image).mean
    return image.point([round(m + strength * (shade - m)) for m in means for shade in range(256)])


def _add_grain(image: Image.Image, deviation: float, rng: np.random.Generator) -> Image.Image:
    """Add normal noise, in squares that are as large as a pixel of the picture at 224 pixels."""
    pixels = np.array(image)  # (height, width, 3)
    height, width = pixels.shape[:2]
    scale = min(1.0, SEVERITY_PX / max(height, width))
    grains = max(1, round(height * scale)), max(1, round(width * scale))
    noise = 255 * deviation * rng.standard_normal((*grains, 3), dtype=np.float32)
    rows, columns = np.arange(height) * grains[0] // height, np.arange(width) * grains[1] // width
    for top in range(0, height, BAND_PX):
        band = pixels[top : top + BAND_PX]
        noisy = band + noise[rows[top : top + BAND_PX]][:, columns]
        band[:] = noisy.round().clip(0, 255)
    return Image.fromarray(pixels)


def _flatten(
    image: Image.Image, background: str, grey_range: tuple[float, float] | None
) -> Image.Image:
    """Convert any mode to opaque RGB, deep greys to 8 bits."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _to_shades(image, grey_range).convert("RGB")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        opaque = Image.new("RGB", seen.size, ImageColor.getrgb(background))
        opaque.paste(seen, mask=seen)
        return opaque
    return image.convert("RGB")


def _to_shades(image: Image.Image, grey_range: tuple[float, float] | None) -> Image.Image:
    """Scale deep greys to 8 bits, in bands of rows: a whole picture in floats is too much memory.

    Raises:
        BadSampleError: ``image_not_finite``.
    """
    if grey_range is None and image.mode.startswith("I;16"):
        grey_range = (0.0, 65535.0)
    if grey_range is None:
        extremes = [(band.min(), band.max()) for _, band in _cut_bands(image)]
        grey_range = min(low for low, _ in extremes), max(high for _, high in extremes)
    black, white = grey_range
    shades = Image.new("L", image.size)
    for top, band in _cut_bands(image):
        scaled = (band - black) * (255 / max(white - black, 1e-12))
        shades.paste(Image.fromarray(scaled.clip(0, 255).round().astype(np.uint8)), (0, top))
    return shades


def _cut_bands(image: Image.Image) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the numbers, float64 (rows, width), of band after band.

    Raises:
        BadSampleError: ``image_not_finite``.
    """
    for top in range(0, image.height, BAND_PX):
        bottom = min(top + BAND_PX, image.height)
        band = np.asarray(image.crop((0, top, image.width, bottom)), dtype=np.float64)
        if not np.isfinite(band).all():
            raise BadSampleError("image_not_finite", "some pixels are NaN or infinite")
        yield top, band


def _draw_box(rng: np.random.Generator, area: float) -> list[float] | None:
    """Draw a box (left, top, right, bottom) of this share of the area, of any shape up to 1:3."""
    shape = math.exp(rng.uniform(-1, 1) * math.log(3))
    left, top = rng.random(size=2)
    if not area:
        return None
    width = min(math.sqrt(area * shape), 1)
    height = min(area / width, 1)
    left, top = left * (1 - width), top * (1 - height)
    return [round(float(x), 4) for x in (left, top, left + width, top + height)]


def _to_pixels(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Give a box of shares in whole pixels, at least one of them."""
    (left, top, right, bottom), (width, height) = box, size
    x, y = min(round(left * width), width - 1), min(round(top * height), height - 1)
    return x, y, max(round(right * width), x + 1), max(round(bottom * height), y + 1)


def _turn_hue(image: Image.Image, turn: float) -> Image.Image:
    """Move every hue along the colour circle by a share of it; greys stay as they are."""
    steps = round(turn * 256)  # Pillow's circle has 256 hues
    if not steps:
        return image
    hue, *others = image.convert("HSV").split()
    turned = hue.point([(shade + steps) % 256 for shade in range(256)])
    return Image.merge("HSV", (turned, *others)).convert("RGB")


MODALITY = Picture
