"""What inside a modality an answer rests on: words, pixels, moments, columns.

The encoder and the fusion are looked through together; the row's other modalities stay as they are.
What is attributed is the log odds of the class that is answered, in nats: a probability near 1 would
hide all that made it so. Of a number it is its value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from markupsafe import Markup
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mm_assets.data.cells import write_values
from mm_assets.encoders.base import Encoder
from mm_assets.evaluation.base import Material
from mm_assets.fusion.steps import Steps
from mm_assets.modalities.base import Arrays, Modality, Sketch
from mm_assets.modalities.events import History
from mm_assets.modalities.text import split_units, split_words
from mm_assets.targets.base import Target
from mm_assets.training.examples import Examples
from mm_assets.training.model import FusionModel
from mm_assets.training.scoring import encode_media
from mm_assets.validation.previews import CURVE_PX, is_missing, show_sketch

STEPS = (12, 60)  # of the integral; the second number where the first leaves too large a gap
# Where the path of pixels and samples is cut, so that most steps lie where most happens: a network
# sees a picture or hears a voice as soon as it is hardly there.
CUTS = (0.02, 0.15)
LARGEST_GAP = 0.05  # in nats, or as a share of what is attributed, that no second try is worth
LEAST_SHARE = 1e-7  # of a probability, whose logarithm is taken
AT_ONCE = 16  # steps that are computed in one batch
REFERENCE_ROWS = 64  # validation rows whose mean stands for an input that says nothing
MOST_PIECES = 200  # of a text that are shown
MOST_FIELDS = 8  # of a row or a vector
MOMENTS = 80  # bars of a curve
BLOCKS = 12  # along a side of a heat map
SHOWN_FRAMES = 4  # of a video
FOR, AGAINST = (59, 111, 182), (209, 73, 91)  # colours, as the card has them

Forward = Callable[..., Float[Tensor, " batch"]]


@dataclass(frozen=True)
class Channel:
    """How one modality's cells become vectors.

    Attributes:
        modality: Decodes and collates.
        encoder: Says what the network takes.
        network: Its network as `build_network` gives it: in evaluation mode, on the CPU.
    """

    modality: Modality[Any]
    encoder: Encoder
    network: nn.Module

    def collate(self, value: object) -> Arrays:
        """Make a batch of one decoded value."""
        return self.modality.collate([value], self.encoder.inputs())


@dataclass(frozen=True)
class Attribution:
    """What parts of one input add to an answer.

    Attributes:
        method: ``integrated gradients`` or ``occlusion``.
        before: The answer where the input says nothing (integrated gradients), else null.
        after: The answer to the input as it is.
        parts: What each part adds; the parts of `pieces`, or an array of the input's shape.
        gap: How far the parts miss ``after - before`` that they should add up to; null for
            occlusion, whose parts need not add up.
        pieces: The names of parts, where they are words, columns or events.
    """

    method: str
    before: float | None
    after: float
    parts: Float[np.ndarray, "*part"]
    gap: float | None
    pieces: Sequence[str] = ()


def choose_rows(
    target: Target,
    labels: Shaped[np.ndarray, " row *label"],
    probabilities: Float[np.ndarray, "row column"],
    most: int,
) -> list[tuple[int, bool]]:
    """Choose the most confident wrong answers and as many right ones, of different classes first.

    Args:
        target: Whose answers.
        labels: Encoded, all known.
        probabilities: Its answers.
        most: How many of either.

    Returns:
        Numbers of rows, the wrong ones first, and whether each is right. An answered number counts
        as right where it is one of the nearest.
    """
    surprise = target.surprise(labels, probabilities)
    ranked = np.argsort(-surprise, kind="stable")
    wrong = [int(row) for row in ranked if surprise[row] > 0][:most]
    if not target.classes:
        return [(row, False) for row in wrong] + [(int(row), True) for row in ranked[::-1][:most]]
    answered, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    seen: dict[int, int] = {}
    right = []
    for row in np.argsort(-sure, kind="stable"):
        if surprise[row] == 0:
            place = seen.setdefault(int(answered[row]), 0)
            seen[int(answered[row])] += 1
            right.append((place, -float(sure[row]), int(row)))
    return [(row, False) for row in wrong] + [(row, True) for _, _, row in sorted(right)[:most]]


def build_forward(
    model: FusionModel,
    rows: Examples,
    number: int,
    key: str,
    network: nn.Module,
    *,
    target: str,
    column: int,
) -> Forward:
    """Chain an encoder's network and the fused model, the rest of the row held as it is.

    Args:
        model: Calibrated, in evaluation mode.
        rows: Among which the row is; those of its group are read along where the model does so.
        number: The row's.
        key: The modality that is looked into.
        network: Its encoder's.
        target: Whose answer is looked at.
        column: Of its answer.

    Returns:
        A function of the modality's arrays that gives the log odds of the column's class, or the
        number that is answered.
    """
    exclusive = rows.labels[target].ndim == 1
    members = torch.tensor([number])
    if rows.groups is not None:
        members = (rows.groups == rows.groups[number]).nonzero()[:, 0]
    case, own = rows.take(members), int((members == number).nonzero())
    size = len(members)

    def forward(*arrays: Tensor) -> Tensor:
        found = network(*arrays)
        batch = arrays[0].shape[0]
        vectors: dict[str, Tensor | Steps] = {}
        for name, given in case.vectors.items():
            if name != key:
                vectors[name] = _repeat(given, batch)
            elif isinstance(given, Steps):
                vectors[name] = _put_steps(given, batch, own, Steps(*found))
            else:
                every = given.repeat(batch, 1)
                places = torch.arange(batch) * size + own
                vectors[name] = every.index_copy(0, places, found)
        groups = None if rows.groups is None else torch.arange(batch).repeat_interleave(size)
        answers = model.probabilities(vectors, case.presence.repeat(batch, 1), groups)
        return weigh_answer(answers[target][own::size], column, exclusive=exclusive)

    return forward


def weigh_answer(
    answers: Float[Tensor, "batch column"], column: int, *, exclusive: bool
) -> Float[Tensor, " batch"]:
    """Give the log odds of a column's class, in nats; of a number, itself.

    Args:
        answers: Of `Target.probabilities`.
        column: Whose.
        exclusive: Whether one of the classes is answered, and not each by itself.
    """
    if answers.shape[1] == 1:
        return answers[:, 0]
    shares = answers.double()
    others = torch.cat([shares[:, :column], shares[:, column + 1 :]], dim=1).sum(dim=1)
    if not exclusive:
        others = 1 - shares[:, column]
    return shares[:, column].clamp(min=LEAST_SHARE).log() - others.clamp(min=LEAST_SHARE).log()


def attribute(
    forward: Forward, channel: Channel, value: object, reference: Arrays | None = None
) -> Attribution:
    """Tell what the parts of one input add to an answer.

    Integrated gradients where the network takes pixels, samples or vectors, or token ids that it
    embeds; elsewhere (counted n-grams, columns of a table, events) each part is left out in turn.

    Args:
        forward: Of `build_forward`, for the channel's network.
        channel: Of the modality.
        value: Decoded.
        reference: Arrays that say nothing; by default grey, silence, zeros, or padding for words.

    Source:
        Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365; occlusion: Zeiler and Fergus
        2014, https://arxiv.org/abs/1311.2901; both computed by Captum.
    """
    arrays = channel.collate(value)
    name = next(iter(arrays))
    embedding = _find_layer(channel.network, nn.Embedding)
    if isinstance(value, str) and name == "ids" and embedding is not None:
        pieces, owners, blank = _cut_text(value, arrays[name], channel.encoder.inputs())
        found = _integrate(forward, arrays, blank, embedding)
        by_token = found.parts.sum(axis=1)
        parts = np.bincount(
            owners[owners >= 0], weights=by_token[owners >= 0], minlength=len(pieces)
        )
        return dataclasses.replace(found, parts=parts, pieces=pieces)
    if isinstance(value, str | Mapping | History):
        return _occlude(forward, channel, value)
    if arrays[name].dtype == np.uint8:
        grey = channel.collate(channel.modality.placeholder(channel.encoder.inputs()))[name]
        blank = np.full_like(arrays[name], grey.flat[0])
        first = _find_layer(channel.network, nn.Conv2d, nn.Conv3d)
        return _integrate(forward, arrays, blank, first, into=True)
    said = 0.0 if reference is None else reference[name]
    blank = np.broadcast_to(said, arrays[name].shape).astype(arrays[name].dtype)
    return _integrate(forward, arrays, blank)


def measure_attribution(
    material: Material, channels: Mapping[str, Channel], data: Path, *, most: int
) -> dict[str, list[dict[str, Any]]]:
    """Look into some wrongly and some rightly answered test rows of every target.

    Args:
        material: What is evaluated.
        channels: By modality.
        data: The data folder, where media lie.
        most: Rows of either sort for each target; `evaluation.attributed_rows`.

    Returns:
        By target, the wrong ones first: `id`, `group`, `right`, `true`, `predicted`, `answer` (the
        class that is looked at, empty for a number), `value`, its probability (or the number), and
        `modalities`, by modality that the row has: `method`, `before`, `after`, `gap` and `html`,
        the input with what its parts add.

    Raises:
        BadSampleError: A cell that was valid cannot be decoded now.
    """
    model = material.model.eval()
    rows = encode_media(model, material.test.examples)
    chosen = [
        (name, int(given.rows[place]), given.probabilities[place], right)
        for name, target in material.targets.items()
        for given in [material.as_given[name]]
        for place, right in choose_rows(
            target, material.test.labels(name)[given.rows], given.probabilities, most
        )
    ]
    records = material.test.table.iloc[[number for _, number, _, _ in chosen]].to_dict("records")

    def look(key: str) -> list[dict[str, Any] | None]:
        """Look into one modality of all chosen rows."""
        channel = channels[key]
        cells = material.validation.table[key].dropna().tolist()
        reference = average_inputs(channel, cells, data) if chosen else None
        looked: list[dict[str, Any] | None] = []
        for (name, number, answer, _), record in zip(chosen, records, strict=True):
            if is_missing(record[key]):
                looked.append(None)
                continue
            value = channel.modality.decode(record[key], data)
            forward = build_forward(
                model,
                rows,
                number,
                key,
                channel.network,
                target=name,
                column=int(answer.argmax()),
            )
            found = attribute(forward, channel, value, reference)
            looked.append(
                {
                    "method": found.method,
                    "before": found.before,
                    "after": found.after,
                    "gap": found.gap,
                    "html": str(show_attribution(found, channel, value)),
                }
            )
        return looked

    # Captum hooks into a network, so that each has a thread of its own; several threads within
    # one would wait for each other at every layer, above all on a busy machine.
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            by_modality = dict(zip(channels, pool.map(look, channels), strict=True))
    finally:
        torch.set_num_threads(threads)
    shown: dict[str, list[dict[str, Any]]] = {name: [] for name in material.targets}
    for place, ((name, number, answer, right), record) in enumerate(
        zip(chosen, records, strict=True)
    ):
        target, column = material.targets[name], int(answer.argmax())
        shown[name].append(
            {
                "id": record["id"],
                "group": material.test.groups[number],
                "right": right,
                "true": str(record[name]),
                "predicted": target.answer(answer[None])[0],
                "answer": target.classes[column] if target.classes else "",
                "value": float(answer[column]),
                "modalities": {
                    key: found
                    for key, looked in by_modality.items()
                    if (found := looked[place]) is not None
                },
            }
        )
    return shown


def average_inputs(channel: Channel, cells: Sequence[object], data: Path) -> Arrays | None:
    """Average what some cells say, for an input of numbers that were computed elsewhere.

    Their zero means nothing; grey and silence do, and padding does for words, so other inputs need
    no average.

    Args:
        channel: Of the modality.
        cells: Not null.
        data: The data folder.

    Returns:
        Arrays of a batch of one, of a sequence the mean step; null for other inputs.
    """
    values = [channel.modality.decode(cell, data) for cell in cells[:REFERENCE_ROWS]] if (
        not channel.modality.is_file
    ) else []  # fmt: skip
    if not values or not isinstance(values[0], np.ndarray):
        return None
    name = next(iter(channel.collate(values[0])))
    mean = np.mean([np.atleast_2d(one).mean(axis=0) for one in values], axis=0)
    return {name: mean[None].astype(np.float32)}


def show_attribution(found: Attribution, channel: Channel, value: object) -> Markup:
    """Show an input with what its parts add: blue for the answer, red against it.

    Returns:
        HTML that loads nothing from elsewhere, with all data escaped.
    """
    if isinstance(value, str):
        return _show_text(found)
    if found.pieces:
        return _show_fields(found.pieces, found.parts)
    arrays = channel.collate(value)
    name, array = next(iter(arrays.items()))
    if array.dtype == np.uint8:
        return _show_pixels(array[0], found.parts)
    varying = channel.modality.varying.get(name, ())
    if not varying:
        numbers = [f"number {place}: {one:.4g}" for place, one in enumerate(array[0].tolist())]
        return _show_fields(numbers, found.parts)
    axis = varying[0] - 1
    others = tuple(place for place in range(found.parts.ndim) if place != axis)
    sketch = show_sketch(channel.modality.describe(value))
    return sketch + Markup("<br>") + _draw_moments(found.parts.sum(axis=others))


def _repeat(given: Tensor | Steps, times: int) -> Tensor | Steps:
    """Repeat a batch as a whole."""
    if isinstance(given, Steps):
        return Steps(given.values.repeat(times, 1, 1), given.there.repeat(times, 1))
    return given.repeat(times, 1)


def _put_steps(given: Steps, batch: int, own: int, found: Steps) -> Steps:
    """Repeat a batch of sequences, and put others in the place of one of its rows."""
    size, longest = len(given), max(given.there.shape[1], found.there.shape[1])
    values, there = (
        F.pad(one, [0, 0] * (one.ndim - 2) + [0, longest - one.shape[1]])
        for one in (given.values, given.there)
    )
    ours, known = (
        F.pad(one, [0, 0] * (one.ndim - 2) + [0, longest - one.shape[1]])
        for one in (found.values, found.there)
    )
    places = torch.arange(batch) * size + own
    return Steps(
        values.repeat(batch, 1, 1).index_copy(0, places, ours),
        there.repeat(batch, 1).index_copy(0, places, known),
    )


def _find_layer(network: nn.Module, *kinds: type[nn.Module]) -> nn.Module | None:
    """Find the first layer of some kinds, which is the one that the input meets."""
    return next((module for module in network.modules() if isinstance(module, kinds)), None)


def _integrate(
    forward: Forward,
    arrays: Arrays,
    blank: np.ndarray,
    layer: nn.Module | None = None,
    *,
    into: bool = False,
) -> Attribution:
    """Integrate the gradient from a blank input to this one.

    Args:
        forward: Of `build_forward`.
        arrays: The first of them is attributed.
        blank: Says nothing, of its shape and dtype.
        layer: Whose output is attributed in the input's stead, as ids have no gradient.
        into: Attribute the layer's input instead: pixels have no gradient either, but scaling them
            is all that happens before.
    """
    from captum.attr import IntegratedGradients, LayerIntegratedGradients

    full = next(iter(arrays.values()))
    shares = (0.0, 1.0) if layer is not None and not into else (0.0, *CUTS, 1.0)
    path = [torch.from_numpy(_blend(blank, full, share)) for share in shares]
    others = [torch.from_numpy(array) for array in list(arrays.values())[1:]]
    with torch.no_grad():
        before, after = (float(forward(one, *others)[0]) for one in (path[0], path[-1]))
    asked: dict[str, Any] = {"attribute_to_layer_input": into} if layer is not None else {}
    method = (
        IntegratedGradients(forward) if layer is None else LayerIntegratedGradients(forward, layer)
    )
    parts, gap = np.zeros(0), 0.0
    for steps in STEPS:
        pieces = [
            method.attribute(
                stop,
                baselines=start,
                additional_forward_args=tuple(others) or None,
                n_steps=steps // (len(path) - 1),
                internal_batch_size=AT_ONCE,
                **asked,
            )
            for start, stop in pairwise(path)
        ]
        found = [one[0] if isinstance(one, tuple) else one for one in pieces]
        parts = torch.stack(found).detach().double().sum(dim=0).numpy()
        gap = float(parts.sum()) - (after - before)
        if abs(gap) <= LARGEST_GAP * max(abs(after - before), 1):
            break
    return Attribution(
        "integrated gradients", before, after, parts[0] if len(parts) == 1 else parts, gap
    )


def _blend(blank: np.ndarray, full: np.ndarray, share: float) -> np.ndarray:
    """Go a share of the way from one input to another; whole numbers stay whole."""
    mixed = blank + share * (full.astype(np.float64) - blank)
    blended: np.ndarray = np.rint(mixed) if full.dtype.kind in "iu" else mixed
    return blended.astype(full.dtype)


def _occlude(forward: Forward, channel: Channel, value: object) -> Attribution:
    """Leave each part out in turn; what the answer loses is what the part adds."""
    from captum.attr import FeatureAblation

    pieces, rebuild = _split(value)

    def answer(masks: Float[Tensor, "batch part"]) -> Tensor:
        kept = [rebuild(mask.bool().tolist()) for mask in masks]
        arrays = channel.modality.collate(kept, channel.encoder.inputs())
        return forward(*map(torch.from_numpy, arrays.values()))

    whole = torch.ones(1, len(pieces))
    with torch.no_grad():
        after = float(answer(whole)[0])
        parts = FeatureAblation(answer).attribute(whole, perturbations_per_eval=AT_ONCE)
    return Attribution("occlusion", None, after, parts[0].double().numpy(), None, pieces)


def _split(value: object) -> tuple[list[str], Callable[[list[bool]], object]]:
    """Name the parts of a text, a row or a history, and give what puts some of them together."""
    if isinstance(value, str):
        units, spaces = split_units(value)
        pieces = [space + unit for space, unit in zip(spaces, units, strict=True)]
        return pieces, lambda kept: "".join(_choose(pieces, kept)).strip()
    if isinstance(value, Mapping):
        there = [name for name, one in value.items() if one is not None]

        def drop(kept: list[bool]) -> object:
            lost = _choose(there, [not stays for stays in kept])
            return {**value, **dict.fromkeys(lost)}

        return [f"{name}: {write_values(value[name])}" for name in there], drop
    history = cast(History, value)
    pieces = [
        f"{kind} at {at:.4g} s" + ("" if np.isnan(one) else f": {one:.4g}")
        for at, kind, one in zip(history.times_s, history.types, history.values, strict=True)
    ]
    return pieces, lambda kept: History(
        history.times_s[kept], tuple(_choose(history.types, kept)), history.values[kept]
    )


def _choose(parts: Sequence[str], kept: Sequence[bool]) -> list[str]:
    return [part for part, stays in zip(parts, kept, strict=True) if stays]


def _cut_text(
    text: str, ids: Int[np.ndarray, "1 steps"], inputs: Mapping[str, Any]
) -> tuple[list[str], Int[np.ndarray, " steps"], Int[np.ndarray, "1 steps"]]:
    """Cut a text as its encoder does.

    Returns:
        Pieces that make up the text, words and what is between them; of each token the piece that
        it belongs to, -1 of one that stands for no part of the text; and ids that say nothing,
        padding but for such tokens.
    """
    if "tokenizer" not in inputs:
        words = split_words(text, inputs["max_words"])
        owners = np.full(ids.shape[1], -1)
        owners[: len(words)] = 2 * np.arange(len(words))
        pieces = [piece for word in words for piece in (word, " ")]
        return pieces, owners, np.zeros_like(ids)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(inputs["tokenizer"])
    tokenizer.enable_truncation(inputs["max_tokens"])
    padding = (tokenizer.padding or {"pad_id": 0})["pad_id"]
    tokenizer.no_padding()
    cut = tokenizer.encode(text)
    pieces, owners, end, last = [], np.full(ids.shape[1], -1), 0, None
    for place, ((begin, stop), word) in enumerate(zip(cut.offsets, cut.word_ids, strict=True)):
        if word is None:
            continue
        if word != last or not pieces:
            if begin > end:
                pieces.append(text[end:begin])
            pieces.append("")
            last, end = word, max(begin, end)
        pieces[-1] += text[end:stop]
        owners[place], end = len(pieces) - 1, max(end, stop)
    special = np.array([*cut.special_tokens_mask, *[1] * (ids.shape[1] - len(cut.ids))], bool)
    blank = np.where(special, ids, padding)
    return pieces, owners, blank


def _shade(strength: float) -> str:
    """Give a background colour: blue for what speaks for the answer, red against it."""
    red, green, blue = FOR if strength > 0 else AGAINST
    return f"rgb({red} {green} {blue} / {min(abs(strength), 1) * 0.65:.2f})"


def _scale(parts: Float[np.ndarray, "*part"]) -> Float[np.ndarray, "*part"]:
    """Scale to [-1, 1], the strongest part to one of the ends."""
    scaled: np.ndarray = parts / max(float(np.abs(parts).max(initial=0)), 1e-12)
    return scaled


def _show_text(found: Attribution) -> Markup:
    shades = _scale(found.parts)[:MOST_PIECES]
    spans = Markup("").join(
        Markup('<span style="background: {}" title="{}">{}</span>').format(
            _shade(shade), f"{part:+.3f}", piece
        )
        if piece.strip()
        else piece
        for piece, part, shade in zip(found.pieces, found.parts, shades, strict=False)
    )
    more = " …" if len(found.pieces) > MOST_PIECES else ""
    return Markup("<span>{}{}</span>").format(spans, more)


def _show_fields(names: Sequence[str], parts: Float[np.ndarray, " part"]) -> Markup:
    strongest = np.argsort(-np.abs(parts), kind="stable")[:MOST_FIELDS]
    shades = _scale(parts)
    return Markup("<br>").join(
        Markup('<span style="background: {}">{} ({})</span>').format(
            _shade(shades[place]), names[place], f"{parts[place]:+.3f}"
        )
        for place in strongest
    )


def _show_pixels(pixels: np.ndarray, parts: np.ndarray) -> Markup:
    """Lay heat over a picture, or over some frames of a video side by side.

    Args:
        pixels: uint8 (size, size, 3) or (frame, size, size, 3).
        parts: Of a convolution's input: (3, size, size), (frame, 3, size, size) or (3, frame, size,
            size); the sides may differ where the network resizes.
    """
    frames = pixels if pixels.ndim == 4 else pixels[None]
    heat = parts if parts.ndim == 4 else parts[None]
    channel = 1 if len(heat) == len(frames) and heat.shape[1] == 3 else 0
    sums = heat.sum(axis=channel)  # (frame, height, width)
    blocks = [
        np.stack([cell.sum(axis=1) for cell in np.array_split(rows, BLOCKS, axis=1)], axis=1).sum(0)
        for one in sums
        for rows in np.array_split(one, BLOCKS, axis=0)
    ]
    scaled = _scale(np.array(blocks).reshape(len(sums), -1, BLOCKS))
    chosen = np.unique(np.linspace(0, len(frames) - 1, SHOWN_FRAMES).astype(int))
    shown = [_overlay(frames[place], scaled[min(place, len(scaled) - 1)]) for place in chosen]
    strip = np.concatenate(shown, axis=1)
    return show_sketch(
        Sketch(caption="blue speaks for the answer, red against it", picture=Image.fromarray(strip))
    )


def _overlay(pixels: np.ndarray, heat: Float[np.ndarray, "rows columns"]) -> np.ndarray:
    """Mix a picture's grey with the colour of what each place adds."""
    grey = pixels.mean(axis=2, keepdims=True).repeat(3, axis=2)
    smooth = Image.fromarray(heat.astype(np.float32)).resize(
        pixels.shape[1::-1], Image.Resampling.BILINEAR
    )
    strength = np.asarray(smooth)[:, :, None]
    color = np.where(strength > 0, np.array(FOR), np.array(AGAINST))
    share = 0.75 * np.abs(strength).clip(0, 1)
    mixed: np.ndarray = ((1 - share) * grey + share * color).astype(np.uint8)
    return mixed


def _draw_moments(parts: Float[np.ndarray, " moment"]) -> Markup:
    """Draw what each stretch of time adds as a bar, up for the answer and down against it."""
    width, height = CURVE_PX
    sums = [float(one.sum()) for one in np.array_split(parts, min(MOMENTS, len(parts)))]
    step = width / len(sums)
    bars = Markup("").join(
        Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="rgb({})"/>').format(
            f"{place * step:.1f}",
            f"{height / 2 * (1 - max(share, 0)):.1f}",
            f"{step:.1f}",
            f"{height / 2 * abs(share):.1f}",
            " ".join(map(str, FOR if share > 0 else AGAINST)),
        )
        for place, share in enumerate(_scale(np.array(sums)).tolist())
    )
    return Markup(
        '<svg role="img" width="{w}" height="{h}" viewBox="0 0 {w} {h}"><title>{title}</title>'
        "{bars}</svg>"
    ).format(w=width, h=height, title="what each moment adds", bars=bars)
