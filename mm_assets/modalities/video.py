"""Moving pictures: MP4, MOV, WebM, Matroska, AVI and MPEG; a few frames stand for all of them.

Their sound is no part of this kind: a modality of kind audio reads it from the same column.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import av
import numpy as np
from av.stream import Disposition
from jaxtyping import UInt8
from PIL import Image
from pydantic import Field

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.container import open_container
from mm_assets.data.media import read_media
from mm_assets.modalities import base
from mm_assets.modalities.image import (
    ImageAugment,
    ImageOptions,
    Picture,
    corrupt_picture,
    draw_corruption,
)

Positive = Annotated[float, Field(gt=0)]

UNREADABLE, TRUNCATED = "video_unreadable", "video_truncated"
# What may be missing at the end before a file counts as cut off: containers round, and encoders
# that look ahead lose a frame or two.
SPARED_S, SPARED_FRAMES = 0.25, 3
THUMBNAIL_PX = 32  # side of the grey pictures whose difference is the change between two frames
LARGEST_PIXEL_ASPECT = 4.0  # of a pixel's width and height, either way; beyond it is a lie
DEFAULT_RATE_HZ = 25.0  # where neither packets nor the header say one
STRIP_FRAMES, STRIP_PX = 8, 96  # of the picture that a person is shown


class VideoOptions(base.Options):
    """What a legal video is, and which of its frames are kept at which size."""

    limits: ClassVar[frozenset[str]] = frozenset(
        {"max_megabytes", "max_s", "max_frames", "min_px", "max_megapixels", "max_streams"}
    )

    frames: Annotated[int, Field(ge=1, le=256)] = 8
    # `time`: those on screen in the middle of as many equal stretches. `change`: so that the
    # picture changes equally much between two of them; it decodes the file twice.
    sampling: Literal["time", "change"] = "time"
    max_side_px: Annotated[int, Field(ge=16, le=1024)] = 256  # larger frames are reduced to it

    max_megabytes: Positive = 200.0
    max_s: Positive = 300.0
    max_frames: Annotated[int, Field(ge=1)] = 20_000  # in the file: all are decoded
    min_px: Annotated[int, Field(ge=1)] = 8  # of a frame's shorter side
    max_megapixels: Annotated[float, Field(gt=0, le=40)] = 9.0  # of a frame; 4K has 8.3
    max_streams: Annotated[int, Field(ge=1)] = 16


class VideoAugment(ImageAugment):
    """Strongest change of a copy: one draw for all its frames, each uniform up to it."""

    cut: Annotated[float, Field(ge=0, le=0.4)] = 0.1  # share of the time taken from either end


@dataclass(frozen=True)
class Clip:
    """The frames that are kept of a video.

    Attributes:
        frames: uint8 (frames, height, width, 3), RGB, upright, at least one.
        times_s: float32 (frames,), since the first frame of the file.
        duration_s: Of the whole.
        counted: Frames in the whole.
    """

    frames: np.ndarray
    times_s: np.ndarray
    duration_s: float
    counted: int


@dataclass(frozen=True)
class Timeline:
    """What a file's packets say before a frame is decoded.

    Attributes:
        duration_s: From the first frame to the end of the last.
        packets: Of the pictures, nearly always one a frame.
        has_sound: Whether there is an audio stream.
    """

    duration_s: float
    packets: int
    has_sound: bool

    @property
    def interval_s(self) -> float:
        """The mean time between two frames."""
        return self.duration_s / self.packets


@dataclass(frozen=True)
class Shot:
    """A decoded frame.

    Attributes:
        time_s: Since the first one.
        frame: As FFmpeg gave it.
        size: Width and height as it is to be shown: upright, with square pixels.
    """

    time_s: float
    frame: av.VideoFrame
    size: tuple[int, int]


class Video(base.Modality[Clip]):
    """A clip, upright, in RGB, with square pixels.

    Memory holds the file, two decoded frames and the frames that are kept. A file whose end cannot
    be decoded is no sample: what it was labelled for may be in the part that is missing.
    """

    kind: ClassVar[str] = "video"
    version: ClassVar[int] = 1
    decoders: ClassVar[tuple[str, ...]] = ("av", "pillow")
    is_file: ClassVar[bool] = True
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {"pixels": (1,)}
    options_model: ClassVar[type[base.Options]] = VideoOptions
    options: VideoOptions
    augment_model: ClassVar[type[base.Options]] = VideoAugment
    augmentation: VideoAugment

    def __init__(self, options: VideoOptions, augment: VideoAugment) -> None:
        super().__init__(options, augment)
        self._picture = Picture(ImageOptions(), augment)

    def read(self, cell: object, folder: Path) -> bytes:
        """Read the file; see `read_media` for the reasons it may give."""
        return read_media(cell, folder, max_megabytes=self.options.max_megabytes)

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Measure the file; see `Modality.probe`.

        Returns:
            `content`, `bytes`, `width_px` and `height_px` of a whole upright frame, `duration_s`,
            `frames`, their mean `rate_hz`, and `has_sound`, 0 or 1.
        """
        data = self.read(cell, folder)
        clip, (width, height), has_sound = self._decode(data)
        return {
            "content": base.digest_content(data),
            "bytes": len(data),
            "width_px": width,
            "height_px": height,
            "duration_s": clip.duration_s,
            "frames": clip.counted,
            "rate_hz": clip.counted / clip.duration_s,
            "has_sound": int(has_sound),
        }

    def decode(self, cell: object, folder: Path) -> Clip:
        """Read the frames that are kept.

        Raises:
            BadSampleError: As `read_media`, or ``video_unreadable``, ``video_without_picture``,
                ``video_truncated``, ``video_too_long``, ``video_too_many_frames``,
                ``video_too_many_streams``, ``video_too_small`` or ``video_too_large``.
        """
        return self._decode(self.read(cell, folder))[0]

    def _decode(self, data: bytes) -> tuple[Clip, tuple[int, int], bool]:
        """Decode all frames, and keep some.

        Returns:
            The clip, width and height of a frame before it is reduced, and whether there is sound.

        Raises:
            BadSampleError: As `decode`.
        """
        timeline = self._read_timeline(data)
        if self.options.sampling == "time":
            moments = _divide_time(timeline.duration_s, self.options.frames)
        else:
            moments = _divide_change(*self._measure_change(data, timeline), self.options.frames)
        pixels: list[np.ndarray] = []
        times: list[float] = []
        size, counted, due = (0, 0), 0, 0
        for shot, until_s in _hold(self._decode_shots(data, timeline)):
            counted += 1
            size = size if pixels else shot.size
            passed = bisect.bisect_left(moments, until_s)
            if passed > due:
                pixels.append(_draw(shot.frame, _reduce(size, self.options.max_side_px)))
                times.append(shot.time_s)
                due = passed
        clip = Clip(np.stack(pixels), np.array(times, np.float32), timeline.duration_s, counted)
        return clip, size, timeline.has_sound

    def _read_timeline(self, data: bytes) -> Timeline:
        """Go through the packets, and judge lengths before anything is decoded.

        Raises:
            BadSampleError: As `decode`.
        """
        with open_container(data, reason=UNREADABLE) as container:
            stream = self._find_pictures(container)
            ends, times = [0.0], []
            stored, packets = 0, 0
            for packet in container.demux():
                if not packet.size:
                    continue
                pictures = packet.stream.index == stream.index
                stored += pictures
                if packet.is_discard:  # an edit list leaves it out
                    continue
                time = packet.pts if packet.pts is not None else packet.dts
                if time is not None and packet.time_base is not None:
                    ends.append(float((time + (packet.duration or 0)) * packet.time_base))
                    if pictures:
                        times.append((float(time * packet.time_base), ends[-1]))
                packets += pictures
                if packets > self.options.max_frames:
                    raise BadSampleError(
                        "video_too_many_frames",
                        f"it has more frames than the limit of {self.options.max_frames}",
                    )
            if not packets:
                raise BadSampleError(TRUNCATED, "it declares pictures and holds none")
            duration_s = _measure_duration(times, packets, stream)
            if duration_s > self.options.max_s:
                raise BadSampleError(
                    "video_too_long",
                    f"it lasts {duration_s:.1f} s, the limit is {self.options.max_s:g} s",
                )
            timeline = Timeline(duration_s, packets, bool(container.streams.audio))
            if stream.frames - stored > SPARED_FRAMES:
                raise BadSampleError(
                    TRUNCATED, f"it says that it has {stream.frames} frames, and {stored} are there"
                )
            if container.duration is not None:
                _require_end(max(ends), container.duration / av.time_base, timeline)
        return timeline

    def _find_pictures(self, container: av.container.InputContainer) -> av.VideoStream:
        """Give the first stream of moving pictures; a cover is none.

        Raises:
            BadSampleError: There is none, or none that can be decoded, or there are too many streams.
        """
        if len(container.streams) > self.options.max_streams:
            raise BadSampleError(
                "video_too_many_streams",
                f"it has {len(container.streams)} streams, the limit is {self.options.max_streams}",
            )
        for stream in container.streams.video:
            if stream.disposition & Disposition.attached_pic:
                continue
            if stream.codec_context is None:
                raise BadSampleError(UNREADABLE, "FFmpeg has no decoder for its pictures")
            stream.codec_context.options = {
                "max_pixels": str(int(self.options.max_megapixels * 1e6))
            }
            self._require_size(stream.codec_context.width, stream.codec_context.height)
            return stream
        sound = " but sound" if container.streams.audio else ""
        raise BadSampleError("video_without_picture", f"it holds no moving picture{sound}")

    def _require_size(self, width: int, height: int) -> None:
        """Judge one frame's size.

        Raises:
            BadSampleError: ``video_too_small`` or ``video_too_large``.
        """
        shown = f"a frame has {width} x {height} pixels"
        if min(width, height) < self.options.min_px:
            raise BadSampleError(
                "video_too_small", f"{shown}, each side needs {self.options.min_px}"
            )
        if width * height > self.options.max_megapixels * 1e6:
            raise BadSampleError(
                "video_too_large", f"{shown}, the limit is {self.options.max_megapixels:g} million"
            )

    def _decode_shots(self, data: bytes, timeline: Timeline) -> Iterator[Shot]:
        """Decode all frames in the order in which they are shown, one at a time.

        A frame without a time, or that would be shown before the one before it, comes the mean
        interval later.

        Raises:
            BadSampleError: As `decode`.
        """
        with open_container(data, reason=UNREADABLE) as container:
            stream = self._find_pictures(container)
            aspect = float(stream.sample_aspect_ratio or 1)
            first_s, time_s = 0.0, None
            for frame in container.decode(stream):
                if frame.is_corrupt:  # drawn from frames that are missing
                    continue
                self._require_size(frame.width, frame.height)
                if time_s is None:
                    first_s, time_s = frame.time or 0.0, 0.0
                elif frame.time is not None and frame.time - first_s > time_s:
                    time_s = frame.time - first_s
                else:
                    time_s += timeline.interval_s
                yield Shot(time_s, frame, _measure_upright(frame, aspect))
            if time_s is None:
                raise BadSampleError(TRUNCATED, "none of its frames can be decoded")
            _require_end(time_s + timeline.interval_s, timeline.duration_s, timeline)

    def _measure_change(self, data: bytes, timeline: Timeline) -> tuple[list[float], list[float]]:
        """Give the time of each frame, and how much it differs from the one before it.

        Raises:
            BadSampleError: As `decode`.
        """
        times, changes = [], []
        before = None
        for shot in self._decode_shots(data, timeline):
            small = shot.frame.reformat(
                THUMBNAIL_PX, THUMBNAIL_PX, format="gray", interpolation="AREA"
            )
            grey = small.to_ndarray().astype(np.float32)
            changes.append(0.0 if before is None else float(np.abs(grey - before).mean()))
            times.append(shot.time_s)
            before = grey
        return times, changes

    def describe(self, value: Clip) -> base.Sketch:
        """Show some frames side by side."""
        height, width = value.frames.shape[1:3]
        chosen = value.frames[_spread(len(value.frames), min(len(value.frames), STRIP_FRAMES))]
        scale = min(1.0, STRIP_PX / height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        strip = Image.new("RGB", (len(chosen) * size[0], size[1]))
        for place, frame in enumerate(chosen):
            strip.paste(Image.fromarray(frame).resize(size), (place * size[0], 0))
        return base.Sketch(
            caption=f"{value.duration_s:.1f} s, {len(value.frames)} of {value.counted} frames, "
            f"{width} x {height}",
            picture=strip,
        )

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw what changes every frame alike, and what is cut off; see `Modality.plan`."""
        cut = rng.uniform(0, self.augmentation.cut, size=2)
        return {**self._picture.plan(rng), "cut": [round(float(share), 4) for share in cut]}

    def render(self, value: Clip, plan: Mapping[str, Any]) -> Clip:
        """Cut the start and the end, at least one frame staying, and change all frames alike."""
        start_s, end_s = plan["cut"][0] * value.duration_s, (1 - plan["cut"][1]) * value.duration_s
        stays = (value.times_s >= start_s) & (value.times_s <= end_s)
        if not stays.any():
            stays[len(stays) // 2] = True
        frames = [
            np.asarray(self._picture.render(Image.fromarray(frame), plan))
            for frame in value.frames[stays]
        ]
        times_s = np.maximum(value.times_s[stays] - np.float32(start_s), 0)
        return Clip(np.stack(frames), times_s, end_s - start_s, value.counted)

    def corrupt(self, value: Clip, level: float, rng: np.random.Generator) -> Clip:
        """Disturb every frame as kind image does, all in the same way; see `Modality.corrupt`.

        Noise is drawn anew for each frame. The sound is another modality.

        Raises:
            DataContractError: The level is not in [0, 1].
        """
        self._require_level(level)
        corruption = draw_corruption(rng)
        frames = [
            np.asarray(corrupt_picture(Image.fromarray(frame), corruption, level, rng))
            for frame in value.frames
        ]
        return dataclasses.replace(value, frames=np.stack(frames))

    def collate(self, values: Sequence[Clip], inputs: Mapping[str, Any]) -> base.Arrays:
        """Fit each frame into the encoder's square of side `size_px`, as kind image does.

        Where the encoder needs a fixed number of `frames`, they are taken evenly from a clip's,
        some more than once if it has too few.

        Returns:
            ``pixels``, uint8 (batch, frames, size_px, size_px, 3), and ``length`` in frames, int64
            (batch,).
        """
        size, wanted = inputs["size_px"], inputs.get("frames")
        chosen = [
            clip.frames[_spread(len(clip.frames), wanted or len(clip.frames))] for clip in values
        ]
        length = np.array([len(frames) for frames in chosen], dtype=np.int64)
        pixels = np.zeros((len(chosen), length.max(), size, size, 3), dtype=np.uint8)
        for row, frames in zip(pixels, chosen, strict=True):
            images = [Image.fromarray(frame) for frame in frames]
            row[: len(frames)] = self._picture.collate(images, {"size_px": size})["pixels"]
        return {"pixels": pixels, "length": length}

    def placeholder(self, inputs: Mapping[str, Any]) -> Clip:
        """Give one grey pixel, shown once."""
        pixel = np.asarray(self._picture.placeholder(inputs))
        return Clip(pixel[None], np.zeros(1, np.float32), 1.0, 1)


def _measure_duration(
    times: Sequence[tuple[float, float]], packets: int, stream: av.VideoStream
) -> float:
    """Give the seconds from the first frame to the end of the last.

    Args:
        times: Start and end of each packet that says when it is shown.
        packets: How many there are in all.
        stream: Says a rate, in case that no packet says a time.
    """
    span_s = 0.0
    if times:
        starts, ends = zip(*times, strict=True)
        # The last one may not say how long it is shown.
        interval_s = (max(starts) - min(starts)) / max(len(times) - 1, 1)
        span_s = max(max(ends), max(starts) + interval_s) - min(starts)
    rate_hz = float(stream.average_rate or stream.guessed_rate or DEFAULT_RATE_HZ)
    return span_s if span_s > 0 else packets / rate_hz


def _require_end(end_s: float, declared_s: float, timeline: Timeline) -> None:
    """Refuse a file that stops before it says it does.

    Raises:
        BadSampleError: ``video_truncated``.
    """
    if declared_s - end_s > max(SPARED_S, SPARED_FRAMES * timeline.interval_s):
        raise BadSampleError(
            TRUNCATED,
            f"it says that it lasts {declared_s:.2f} s, and {max(end_s, 0):.2f} s can be decoded",
        )


def _hold(shots: Iterator[Shot]) -> Iterator[tuple[Shot, float]]:
    """Yield each frame with the time until which it is on screen; the last one stays."""
    before = None
    for shot in shots:
        if before is not None:
            yield before, shot.time_s
        before = shot
    if before is not None:
        yield before, math.inf


def _divide_time(duration_s: float, count: int) -> list[float]:
    """Give the middle of each of `count` equal stretches."""
    return [(place + 0.5) / count * duration_s for place in range(count)]


def _divide_change(times: Sequence[float], changes: Sequence[float], count: int) -> list[float]:
    """Give the times of at most `count` frames between which the picture changes equally much.

    A cut to another scene counts as one step, however different the two are.
    """
    total = float(np.sum(changes))
    passed = np.cumsum(np.minimum(changes, total / count))
    chosen = np.searchsorted(passed, np.linspace(0, passed[-1], count))
    return [times[place] for place in sorted(set(chosen.tolist()))]


def _spread(length: int, count: int) -> np.ndarray:
    """Give `count` places spread evenly over `length`, the middle of equal stretches."""
    return ((np.arange(count) + 0.5) * length / count).astype(np.int64)


def _measure_upright(frame: av.VideoFrame, aspect: float) -> tuple[int, int]:
    """Give width and height of a frame as it is shown, with square pixels.

    Args:
        frame: As decoded.
        aspect: Width of a pixel by its height.
    """
    known = 1 / LARGEST_PIXEL_ASPECT <= aspect <= LARGEST_PIXEL_ASPECT
    width, height = max(1, round(frame.width * (aspect if known else 1))), frame.height
    return (height, width) if _read_orientation(frame)[0] else (width, height)


def _read_orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Tell whether a frame is to be transposed, then mirrored, then turned upside down.

    Cameras write quarter turns; any other angle is taken for the nearest.

    Source:
        https://ffmpeg.org/doxygen/trunk/group__lavu__video__display.html: a point (p, q) goes to
        (a p + c q, b p + d q) of the matrix a, b, u, c, d, v, x, y, w.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def _reduce(size: tuple[int, int], most: int) -> tuple[int, int]:
    """Give a size of the same proportions whose longer side is at most `most`."""
    scale = min(1.0, most / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _draw(frame: av.VideoFrame, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Convert a frame to upright RGB of the given width and height."""
    transposed, mirrored, overturned = _read_orientation(frame)
    width, height = reversed(size) if transposed else size
    # Threads of its own would outlive each frame by long.
    drawn = frame.reformat(width, height, format="rgb24", interpolation="AREA", threads=1)
    pixels = drawn.to_ndarray()
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    return np.ascontiguousarray(pixels[:: -1 if overturned else 1, :: -1 if mirrored else 1])


MODALITY = Video
