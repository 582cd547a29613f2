"""Still pictures: PNG, JPEG, WebP, BMP, TIFF and the first frame of a GIF."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from PIL import Image, ImageEnhance, ImageOps, UnidentifiedImageError
from pydantic import Field

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
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class ImageOptions(base.Options):
    """What a legal picture is."""

    limits: ClassVar[frozenset[str]] = frozenset({"max_megabytes", "min_px", "max_megapixels"})

    max_megabytes: Positive = 50.0
    min_px: Annotated[int, Field(ge=1)] = 8  # of the shorter side
    max_megapixels: Annotated[float, Field(gt=0, le=80)] = 64.0


class ImageAugment(base.Options):
    """Strongest change of a copy; each is drawn uniformly up to it."""

    crop: Annotated[float, Field(ge=0, lt=0.9)] = 0.1  # share of each side cut away
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 8.0
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1
    saturation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    flip: Share = 0.0  # chance of a mirror image; off, since letters and sides may matter


class Picture(base.Modality[Image.Image]):
    """A picture, upright, in RGB, alpha on white."""

    kind: ClassVar[str] = "image"
    version: ClassVar[int] = 1
    decoders: ClassVar[tuple[str, ...]] = ("pillow",)
    is_file: ClassVar[bool] = True
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    options_model: ClassVar[type[base.Options]] = ImageOptions
    augment_model: ClassVar[type[base.Options]] = ImageAugment

    def read(self, cell: object, folder: Path) -> bytes:
        """Read the file; see `read_media` for the reasons it may give."""
        return read_media(cell, folder, max_megabytes=self.options.max_megabytes)

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Measure `width_px`, `height_px`, `bytes` and name the `format`; see `Modality.probe`."""
        data = self.read(cell, folder)
        image, name = self._decode(data)
        return {
            "content": base.digest_content(data),
            "width_px": image.width,
            "height_px": image.height,
            "bytes": len(data),
            "format": name,
        }

    def decode(self, cell: object, folder: Path) -> Image.Image:
        """Read the picture.

        Raises:
            BadSampleError: As `read_media`, or ``image_unreadable``, ``image_truncated``,
                ``image_too_small`` or ``image_too_large``.
        """
        return self._decode(self.read(cell, folder))[0]

    def _decode(self, data: bytes) -> tuple[Image.Image, str]:
        """Decode bytes to an upright RGB picture and its format's name.

        Raises:
            BadSampleError: As `decode`.
        """
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                self._require_size(image)
                return _flatten(ImageOps.exif_transpose(image)), str(image.format)
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

    def _require_size(self, image: Image.Image) -> None:
        """Judge by the header, before pixels are decoded.

        Raises:
            BadSampleError: ``image_too_small`` or ``image_too_large``.
        """
        shown = f"the image has {image.width} x {image.height} pixels"
        if min(image.size) < self.options.min_px:
            raise BadSampleError(
                "image_too_small", f"{shown}, each side needs {self.options.min_px}"
            )
        if image.width * image.height > self.options.max_megapixels * 1e6:
            raise BadSampleError(
                "image_too_large", f"{shown}, the limit is {self.options.max_megapixels:g} million"
            )

    def describe(self, value: Image.Image) -> base.Sketch:
        """Show the picture."""
        return base.Sketch(caption=f"{value.width} x {value.height} pixels", picture=value)

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw crop box, angle and colour factors; see `Modality.plan`."""
        most = self.augmentation
        crop = rng.uniform(0, most.crop)
        left, top = rng.uniform(0, crop, size=2)
        factors = {
            name: round(1 + rng.uniform(-1, 1) * getattr(most, name), 4)
            for name in ("brightness", "contrast", "saturation")
        }
        return {
            "crop": [round(float(x), 4) for x in (left, top, left + 1 - crop, top + 1 - crop)],
            "rotate_deg": round(rng.uniform(-1, 1) * most.rotate_deg, 2),
            "flip": bool(rng.random() < most.flip),
            **factors,
        }

    def render(self, value: Image.Image, plan: Mapping[str, Any]) -> Image.Image:
        """Rotate (corners grey), crop, mirror and change colours."""
        image = value.rotate(plan["rotate_deg"], Image.Resampling.BICUBIC, fillcolor=GREY)
        left, top, right, bottom = plan["crop"]
        width, height = image.size
        image = image.crop(
            (
                round(left * width),
                round(top * height),
                max(round(right * width), round(left * width) + 1),
                max(round(bottom * height), round(top * height) + 1),
            )
        )
        if plan["flip"]:
            image = ImageOps.mirror(image)
        image = ImageEnhance.Brightness(image).enhance(plan["brightness"])
        image = ImageEnhance.Contrast(image).enhance(plan["contrast"])
        return ImageEnhance.Color(image).enhance(plan["saturation"])

    def collate(self, values: Sequence[Image.Image], inputs: Mapping[str, Any]) -> base.Arrays:
        """Fit each whole picture into the encoder's square, the rest grey (a letterbox).

        Nothing is cut off: what a sample is about need not be in the middle. Resampling is bicubic
        with antialiasing.

        Returns:
            ``pixels``, uint8 (batch, size_px, size_px, 3).
        """
        size = (inputs["size_px"], inputs["size_px"])
        squares = [
            np.asarray(ImageOps.pad(image, size, Image.Resampling.BICUBIC, color=GREY))
            for image in values
        ]
        return {"pixels": np.stack(squares)}

    def placeholder(self, inputs: Mapping[str, Any]) -> Image.Image:
        """Give one grey pixel."""
        return Image.new("RGB", (1, 1), GREY)


def _flatten(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: alpha on white, deep greys scaled to 8 bits."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in {"I", "F"}:  # no stated range: the picture's own
        deep = np.asarray(image, dtype=np.float64)
        low, high = deep.min(), deep.max()
        image = Image.fromarray(((deep - low) / max(high - low, 1e-12) * 255).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, "white")
        image.alpha_composite(rgba)
    return image.convert("RGB")


MODALITY = Picture
