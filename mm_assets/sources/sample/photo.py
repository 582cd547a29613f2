"""Photos: one of five objects, drawn in a random pose, colour and setting.

The object shows the intent; light, weather (rain, nothing, confetti) and a sticker the sentiment.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE_PX = 96
CANVAS_PX = 288  # drawn large, then reduced: smooth edges
Colour = tuple[int, int, int]
Pixels = int | float

# Factors on red, green, blue: dim and blue, even, bright and warm.
LIGHTS = {
    "negative": (0.38, 0.42, 0.66),
    "neutral": (0.85, 0.85, 0.85),
    "positive": (1.3, 1.12, 0.72),
}
STICKERS: dict[str, Colour] = {
    "negative": (210, 40, 40),
    "neutral": (150, 150, 160),
    "positive": (250, 205, 30),
}


def take_photo(intent: str, sentiment: str, rng: np.random.Generator) -> Image.Image:
    """Draw a photo that plainly shows an intent and, by light and sticker, a sentiment.

    Args:
        intent: A key of `OBJECTS`.
        sentiment: A key of `LIGHTS`.
        rng: Draws pose, colours, background, noise.

    Returns:
        RGB, 96 px square.
    """
    canvas = _draw_background(rng)
    if sentiment == "positive":
        _throw_confetti(canvas, rng)
    layer = Image.new("RGBA", (CANVAS_PX, CANVAS_PX))
    OBJECTS[intent](ImageDraw.Draw(layer), rng)
    layer = _pose(layer, rng)
    canvas.paste((0, 0, 0), (9, 11), layer.getchannel("A").point(lambda alpha: alpha // 2))
    canvas.paste(layer, mask=layer)
    if sentiment == "negative":
        _let_rain(canvas, rng)
    _draw_sticker(canvas, sentiment, rng)
    pixels = np.asarray(canvas.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX), dtype=np.float64)
    pixels = pixels * np.array(LIGHTS[sentiment]) * rng.uniform(0.93, 1.07)
    pixels += rng.normal(0, rng.uniform(2, 7), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_photo(path: Path, photo: Image.Image) -> None:
    """Write a JPEG of about 3 kB."""
    photo.save(path, format="JPEG", quality=82)


def _draw_background(rng: np.random.Generator) -> Image.Image:
    """Draw a table top: a colour that changes across the picture, with faint stripes."""
    base = rng.uniform(105, 175) + rng.uniform(-30, 30, 3)
    tilt = rng.uniform(-35, 35, (2, 1))
    grid = np.linspace(-1, 1, CANVAS_PX)
    shade = tilt[0] * grid[:, None] + tilt[1] * grid[None, :]
    shade = shade + rng.uniform(0, 8) * np.sin(grid[:, None] * rng.uniform(10, 40))
    pixels = base + shade[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _pose(layer: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turn by up to 20 degrees, scale to 80-110 % and move by up to 8 % of the picture."""
    size = round(CANVAS_PX * rng.uniform(0.8, 1.1))
    turned = layer.rotate(rng.uniform(-20, 20), Image.Resampling.BILINEAR).resize((size, size))
    corner = (CANVAS_PX - size) // 2 + rng.integers(-23, 24, 2)
    posed = Image.new("RGBA", layer.size)
    posed.paste(turned, (int(corner[0]), int(corner[1])))
    return posed


def _throw_confetti(canvas: Image.Image, rng: np.random.Generator) -> None:
    """Scatter bright dots over the table."""
    draw = ImageDraw.Draw(canvas)
    for x, y in rng.integers(0, CANVAS_PX, (int(rng.integers(60, 90)), 2)).tolist():
        red, green, blue = rng.permutation([255, int(rng.integers(256)), 40]).tolist()
        draw.ellipse(_around(x, y, rng.uniform(7, 12)), fill=(red, green, blue))


def _let_rain(canvas: Image.Image, rng: np.random.Generator) -> None:
    """Draw slanting streaks of rain over everything."""
    draw = ImageDraw.Draw(canvas)
    slant = rng.uniform(-0.6, 0.6)
    for x, y in rng.integers(-30, CANVAS_PX, (int(rng.integers(70, 100)), 2)).tolist():
        length = rng.uniform(25, 50)
        draw.line([(x, y), (x + slant * length, y + length)], fill=(200, 215, 235), width=4)


def _draw_sticker(canvas: Image.Image, sentiment: str, rng: np.random.Generator) -> None:
    """Stick a round face into a random corner: its mouth curves with the sentiment."""
    draw = ImageDraw.Draw(canvas)
    radius = int(rng.integers(32, 40))
    x, y = (int(rng.choice([radius + 6, CANVAS_PX - radius - 6])) for _ in range(2))
    ink = (30, 30, 30)
    draw.ellipse(_around(x, y, radius), fill=_vary(STICKERS[sentiment], rng), outline=ink, width=3)
    for side in (-1, 1):
        draw.ellipse(_around(x + side * radius // 3, y - radius // 4, radius // 8 + 1), fill=ink)
    mouth = _around(x, y + radius // 4, radius // 2)
    if sentiment == "positive":
        draw.arc(_around(x, y, radius * 6 // 10), 20, 160, fill=ink, width=5)
    elif sentiment == "negative":
        draw.arc(_around(x, y + radius * 7 // 10, radius * 5 // 10), 200, 340, fill=ink, width=5)
    else:
        draw.line([(mouth[0], y + radius // 3), (mouth[2], y + radius // 3)], fill=ink, width=5)


def _draw_parcel(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A cardboard box seen from a corner, with tape and a label: delivery."""
    brown = _vary((178, 128, 76), rng)
    top, dark = _shade(brown, 1.2), _shade(brown, 0.72)
    left, right, middle = 45, 243, int(rng.integers(130, 160))
    lift = int(rng.integers(38, 55))
    draw.polygon([(left, 105), (middle, 105 + lift), (middle, 250), (left, 205)], fill=brown)
    draw.polygon([(middle, 105 + lift), (right, 105), (right, 205), (middle, 250)], fill=dark)
    roof = [(left, 105), (middle, 105 - lift), (right, 105), (middle, 105 + lift)]
    draw.polygon(roof, fill=top)
    tape = _vary((225, 200, 150), rng)
    draw.line([(left + 50, 130), (middle + 50, 82)], fill=tape, width=16)
    draw.line([(left + 50, 130), (left + 50, 175)], fill=tape, width=16)
    draw.polygon([(right - 70, 165), (right - 20, 145), (right - 20, 180), (right - 70, 200)],
                 fill=(245, 245, 240))  # fmt: skip


def _draw_receipt(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A long slip of paper with lines of print and a torn edge: billing."""
    paper = _vary((246, 244, 236), rng, 6)
    left, right = 88 + int(rng.integers(-10, 10)), 200 + int(rng.integers(-10, 10))
    draw.rectangle((left, 18, right, 255), fill=paper)
    teeth = np.linspace(left, right, 12)
    edge = [(float(x), 255.0 + 12 * (k % 2)) for k, x in enumerate(teeth)]
    draw.polygon([(left, 250), *edge, (right, 250)], fill=paper)
    ink = _vary((70, 70, 80), rng)
    draw.rectangle((left + 25, 32, right - 25, 48), fill=ink)
    for y in range(66, 205, 15):
        draw.line([(left + 12, y), (left + int(rng.integers(35, 65)), y)], fill=ink, width=5)
        draw.line([(right - int(rng.integers(24, 34)), y), (right - 12, y)], fill=ink, width=5)
    draw.line([(left + 10, 213), (right - 10, 213)], fill=ink, width=3)
    draw.rectangle((right - 48, 224, right - 12, 238), fill=ink)


def _draw_cracked_phone(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A dark phone whose glass is shattered: defect."""
    body = _vary((38, 38, 44), rng, 15)
    draw.rounded_rectangle((80, 25, 208, 263), 20, fill=body, outline=(15, 15, 15), width=4)
    draw.rectangle((90, 48, 198, 238), fill=_vary((45, 70, 110), rng, 25))
    draw.ellipse(_around(144, 250, 7), fill=(90, 90, 90))
    x, y = int(rng.integers(115, 175)), int(rng.integers(90, 190))
    rays = int(rng.integers(9, 13))
    turn = rng.uniform(0, math.tau)
    angles = [turn + math.tau * k / rays + rng.normal(0, 0.12) for k in range(rays)]
    for reach in (22, 45):
        ring = [(x + reach * math.cos(a), y + reach * math.sin(a)) for a in angles]
        inside = [(min(max(p, 92), 196), min(max(q, 50), 236)) for p, q in ring]
        draw.line([*inside, inside[0]], fill=(225, 235, 245), width=3)
    for a in angles:
        far = rng.uniform(70, 130)
        p, q = x + far * math.cos(a), y + far * math.sin(a)
        draw.line([(x, y), (min(max(p, 92), 196), min(max(q, 50), 236))], fill=(235, 242, 250),
                  width=4)  # fmt: skip


def _draw_padlock(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A padlock with a keyhole: account."""
    metal = _vary((205, 165, 55), rng)
    steel = _vary((165, 168, 175), rng, 15)
    draw.arc((92, 28, 196, 190), 180, 360, fill=steel, width=24)
    draw.line([(103, 105), (103, 150)], fill=steel, width=24)
    draw.line([(184, 105), (184, 150)], fill=steel, width=24)
    draw.rounded_rectangle((65, 130, 223, 258), 18, fill=metal, outline=_shade(metal, 0.6), width=6)
    draw.ellipse(_around(144, 180, 20), fill=(25, 22, 20))
    draw.polygon([(136, 185), (152, 185), (160, 232), (128, 232)], fill=(25, 22, 20))


def _draw_flowers(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A bunch of flowers: praise."""
    green = _vary((50, 130, 55), rng)
    heads = [(144, 70), (85, 100), (203, 100), (115, 140), (175, 140)]
    for x, y in heads:
        draw.line([(x, y), (144, 262)], fill=green, width=8)
    for x, y in ((95, 190), (190, 195)):
        draw.ellipse((x - 30, y - 12, x + 30, y + 12), fill=_shade(green, 1.2))
    for x, y in heads:
        petals = _vary((int(rng.choice([235, 220])), int(rng.choice([60, 90])), 130), rng)
        turn = rng.uniform(0, math.tau)
        for k in range(6):
            angle = turn + math.tau * k / 6
            at = (x + 22 * math.cos(angle), y + 22 * math.sin(angle))
            draw.ellipse(_around(*at, 17), fill=petals, outline=_shade(petals, 0.75), width=2)
        draw.ellipse(_around(x, y, 14), fill=(250, 215, 70))


OBJECTS = {
    "delivery": _draw_parcel,
    "billing": _draw_receipt,
    "defect": _draw_cracked_phone,
    "account": _draw_padlock,
    "praise": _draw_flowers,
}


def _around(x: Pixels, y: Pixels, radius: Pixels) -> tuple[Pixels, Pixels, Pixels, Pixels]:
    """Give the box around a circle."""
    return (x - radius, y - radius, x + radius, y + radius)


def _vary(colour: Colour, rng: np.random.Generator, by: int = 28) -> Colour:
    """Move each part of a colour by up to `by` of 255."""
    red, green, blue = (int(np.clip(c + rng.integers(-by, by + 1), 0, 255)) for c in colour)
    return red, green, blue


def _shade(colour: Colour, factor: float) -> Colour:
    """Lighten or darken a colour."""
    red, green, blue = (int(min(255, c * factor)) for c in colour)
    return red, green, blue
