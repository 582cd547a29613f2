"""Broken and hostile cells of every kind: good ones, mutated, and some made to do harm.

The same each time. `KINDS` names one builder per kind of input; a builder gives cases, and files
that they lie in go to the folder that it is given.
"""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Expected = Literal["accepted", "refused", "either"]
RATE_HZ = 16_000
SIGNAL = {"rate_hz": 100.0, "channels": 2}
COLUMNS = {"age": "numeric", "income": "numeric", "plan": "categorical"}
EMOJI = "👩‍👩‍👧‍👦🏳️‍🌈"
HEBREW, ARABIC, CHINESE = "שלום עולם", "مرحبا بالعالم", "你好世界"
MARKER = "unpickled"  # the file that a pickle makes if it is loaded


@dataclass(frozen=True)
class Case:
    """One cell of a sample table.

    Attributes:
        name: What was done to it.
        cell: A path inside the folder for kinds of files, else the value.
        expected: Mutations may go either way: a flipped bit can be harmless.
    """

    name: str
    cell: Any
    expected: Expected = "either"


@dataclass(frozen=True)
class Kind:
    """How the cases of one kind are made.

    Attributes:
        options: For `load_modality`.
        build: Given a folder, a generator of numbers and the port of a server that must not be met.
    """

    options: dict[str, Any]
    build: Callable[[Path, np.random.Generator, int], Iterator[Case]]


# --- Mutations of bytes, for any kind of file --------------------------------------------------


def mutate(data: bytes, rng: np.random.Generator, count: int) -> Iterator[tuple[str, bytes]]:
    """Give `count` damaged versions of good bytes, each with what was done."""
    whole = np.frombuffer(data, dtype=np.uint8)
    size = len(whole)
    header = min(size, 256)
    lies = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00010000, 0x0000FFFF]
    for turn in range(count):
        damaged = whole.copy()
        match turn % 8:
            case 0:  # at even steps through the file, and within its header
                cut = size * (turn // 8 + 1) // (count // 8 + 2)
                yield f"cut at {cut}", data[:cut]
                continue
            case 1:
                cut = int(rng.integers(1, header))
                yield f"cut at {cut}", data[:cut]
                continue
            case 2:
                flips = rng.integers(0, 8 * size, 2 ** int(rng.integers(0, 9)))
                for bit in flips:
                    damaged[bit // 8] ^= 1 << (bit % 8)
                what = f"{len(flips)} bits flipped"
            case 3:
                bit = int(rng.integers(0, 8 * header))
                damaged[bit // 8] ^= 1 << (bit % 8)
                what = f"bit {bit} flipped"
            case 4:  # a length, a size, a rate, a count
                at = int(rng.integers(0, max(1, header - 4)))
                lie = int(rng.choice(lies))
                packed = struct.pack("<I" if rng.random() < 0.5 else ">I", lie)
                damaged[at : at + 4] = np.frombuffer(packed, np.uint8)[: size - at]
                what = f"{lie:#x} written at {at}"
            case 5:
                at, length = sorted(rng.integers(0, size, 2).tolist())
                damaged[at : at + length] = 0 if rng.random() < 0.5 else 255
                what = f"{length} bytes blanked at {at}"
            case 6:
                at, to, length = rng.integers(0, size, 3).tolist()
                piece = whole[at : at + length]
                damaged = np.concatenate([damaged[:to], piece, damaged[to:]])
                what = f"{len(piece)} bytes of {at} repeated at {to}"
            case _:
                at, length = rng.integers(0, size, 2).tolist()
                damaged = np.delete(damaged, slice(at, at + length // 4 + 1))
                what = f"{length // 4 + 1} bytes removed at {at}"
        yield what, damaged.tobytes()


def write_mutants(
    folder: Path, seeds: dict[str, bytes], rng: np.random.Generator, *, each: int
) -> Iterator[Case]:
    """Write the good files, and damaged ones beside them."""
    for name, data in seeds.items():
        yield write(folder, f"good_{name}", data, "accepted")
        for at, (what, damaged) in enumerate(mutate(data, rng, each)):
            case = write(folder, f"{at:03d}_{name}", damaged)
            yield Case(f"{name}: {what}", case.cell)


def write(folder: Path, name: str, data: bytes, expected: Expected = "either") -> Case:
    """Write one file."""
    (folder / name).write_bytes(data)
    return Case(name, f"{folder.name}/{name}", expected)


def write_foreign(folder: Path, suffix: str, port: int, seeds: dict[str, bytes]) -> Iterator[Case]:
    """Write files that every kind of file must survive, under a suffix that lies."""
    url, secret = f"http://127.0.0.1:{port}/part", folder.parent.parent / "secret.wav"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(zipfile.ZipInfo("../../escaped"), "x")
    foreign = {
        "zeros": bytes(100_000),
        "noise": np.random.default_rng(9).bytes(100_000),
        "ones": b"\xff" * 100_000,
        "newline": b"\n",
        "nul": b"\0",
        "prose": b"This is no such file. " * 99,
        "html": b"<!doctype html><html><body>404 Not Found</body></html>",
        "xml_bomb": b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>',
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}"/></svg>'.encode(),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch escaped) (r) file\n",
        "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
        "pickle": pickle_bomb(folder),
        "zip": archive.getvalue(),
        "gzip": zlib.compress(bytes(10**7)),
        "elf": b"\x7fELF" + bytes(200),
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}.ts\n#EXTINF:1,\n{secret}\n"
        "#EXT-X-ENDLIST\n".encode(),
        "ffconcat": f"ffconcat version 1.0\nfile '{secret}'\nfile '{url}.wav'\n".encode(),
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=audio {port} RTP/AVP 0\n".encode(),
        "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        b'<Period><AdaptationSet><Representation id="1"><BaseURL>'
        + url.encode()
        + b"</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "asx": f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>'.encode(),
        "rtsp": f"rtsp://127.0.0.1:{port}/x\n".encode(),
        **seeds,
    }
    for name, data in foreign.items():
        expected: Expected = "either" if name in seeds else "refused"
        yield write(folder, f"foreign_{name}{suffix}", data, expected)


def place_oddly(folder: Path, good: bytes, suffix: str) -> Iterator[Case]:
    """Put a good file under odd names, and name what is no file, or none in the data folder."""
    names = [
        *(EMOJI, HEBREW, ARABIC, CHINESE, "a b", "a\nb", 'a"b', "a'b", "-rf", "$(touch x)", "a;b"),
        *("%s%n", "a\\b", "[ab]*?", "#hash", "a,b", "\u202egnp.exe", "file:x", "concat:a|b", "~"),
        *("http:x", "con", ".hidden", "x" * 200, "é", "e\u0301", "\ufeffx", "a\x01b", "data:,x"),
    ]
    drive = {name for name in names if name[1:2] == ":"}
    for name in names:
        expected: Expected = "refused" if name in drive else "accepted"
        yield write(folder, f"{name}{suffix}", good, expected)
    raw = os.fsdecode(b"\xff\xfe") + suffix  # bytes that are no UTF-8
    yield write(folder, raw, good)
    outside = folder.parent.parent / f"outside{suffix}"
    outside.write_bytes(good)
    (folder / f"link_out{suffix}").symlink_to(outside)
    (folder / "folder_out").symlink_to(outside.parent)
    (folder / f"link_in{suffix}").symlink_to(folder / f"é{suffix}")
    (folder / f"loop{suffix}").symlink_to(folder / f"loop{suffix}")
    (folder / f"device{suffix}").symlink_to("/dev/zero")
    (folder / f"dangling{suffix}").symlink_to(folder / "nothing")
    (folder / f"folder{suffix}").mkdir()
    os.mkfifo(folder / f"pipe{suffix}")
    (folder / f"empty{suffix}").touch()
    with (folder / f"sparse{suffix}").open("wb") as sparse:
        sparse.truncate(10**12)
    here = folder.name
    yield Case("link inside", f"{here}/link_in{suffix}", "accepted")
    for name in ("link_out", "loop", "device", "dangling", "folder", "pipe", "empty", "sparse"):
        yield Case(name, f"{here}/{name}{suffix}", "refused")
    for cell in (
        f"../../outside{suffix}",
        f"{here}/../../../outside{suffix}",
        f"{here}/folder_out/outside{suffix}",
        str(outside),
        str(folder / f"é{suffix}"),
        "/dev/zero",
        "/proc/self/environ",
        f"C:\\{here}\\é{suffix}",
        f"\\\\server\\{here}",
        f"file:///{here}",
        f"{here}/a\0b",
        "",
        ".",
        "..",
        "/",
        here,
        f"{here}/" + "x" * 300,
        "x" * 10_000_000,
        "a/" * 2_000_000,
        "../" * 2_000_000,
        "\ud800",
        "nothing\udfff" + suffix,
        3,
        2.5,
        True,
        b"bytes",
        {"path": "x"},
    ):
        yield Case(f"path {_name(cell)}", cell, "refused")


def _name(value: object) -> str:
    """Name a cell in ASCII, shortly."""
    try:
        return ascii(value)[:40]
    except (ValueError, RecursionError):  # beyond Python's limits
        return type(value).__name__


class _Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def pickle_bomb(folder: Path) -> bytes:
    """Give a pickle that makes `MARKER` beside the data folder when it is loaded."""
    return pickle.dumps(_Bomb(folder.parent.parent / MARKER))


# --- Pictures -----------------------------------------------------------------------------------


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(width: int, height: int, *, rows: bytes | None = None, extra: bytes = b"") -> bytes:
    """Make an 8-bit grey PNG by hand; its header may say anything."""
    pixels = zlib.compress(b"\0" * min((width + 1) * height, 10**6) if rows is None else rows)
    header = struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + extra
        + _chunk(b"IDAT", pixels)
        + _chunk(b"IEND", b"")
    )


def _deflate_zeros(count: int) -> bytes:
    packer, parts = zlib.compressobj(9), []
    for _ in range(count // 10**6):
        parts.append(packer.compress(bytes(10**6)))
    return b"".join([*parts, packer.flush()])


def _bomb_png(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = _deflate_zeros((3 * side + 1) * side)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", pixels)
        + _chunk(b"IEND", b"")
    )


def _save(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def build_images(folder: Path, rng: np.random.Generator, port: int) -> Iterator[Case]:
    """Pictures in every format, mode and disguise."""
    pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels)
    grey = photo.convert("L")
    frames = [Image.fromarray(np.roll(pixels, shift, axis=0)) for shift in range(4)]
    seeds = {
        "rgb.png": _save(photo, "PNG"),
        "alpha.png": _save(photo.convert("RGBA"), "PNG"),
        "palette.png": _save(photo.convert("P"), "PNG", transparency=3),
        "deep.png": _save(Image.fromarray(np.uint16(pixels[..., 0]) * 200), "PNG"),
        "baseline.jpg": _save(photo, "JPEG"),
        "progressive.jpg": _save(photo, "JPEG", progressive=True),
        "cmyk.jpg": _save(photo.convert("CMYK"), "JPEG"),
        "lossy.webp": _save(photo, "WEBP"),
        "moving.webp": _save(photo, "WEBP", save_all=True, append_images=frames),
        "rgb.bmp": _save(photo, "BMP"),
        "deflate.tif": _save(photo, "TIFF", compression="tiff_deflate"),
        "lzw.tif": _save(grey, "TIFF", compression="tiff_lzw"),
        "float.tif": _save(Image.fromarray(np.float32(pixels[..., 0])), "TIFF"),
        "moving.gif": _save(photo, "GIF", save_all=True, append_images=frames),
    }
    yield from write_mutants(folder, seeds, rng, each=40)
    yield from write_foreign(folder, ".png", port, SOUNDS_AND_MORE)
    yield from place_oddly(folder, seeds["rgb.png"], ".png")
    for suffix, data in (("jpg", seeds["rgb.png"]), ("png", seeds["moving.gif"])):
        yield write(folder, f"disguised.{suffix}", data, "accepted")
    sizes = [(0, 0), (0, 9), (9, 0), (1, 1), (100_000, 1), (1, 100_000), (2**31 - 1, 2**31 - 1)]
    sizes += [(65_535, 65_535), (2**31, 9), (2**32 - 1, 9), (50_000, 50_000), (9, 2**24)]
    for width, height in sizes:
        yield write(folder, f"size_{width}x{height}.png", make_png(width, height), "refused")
    yield write(folder, "few_rows.png", make_png(500, 500, rows=bytes(2000)), "refused")
    yield write(folder, "bomb_8000.png", _bomb_png(8000), "refused")
    bomb = _deflate_zeros(70 * 10**6)
    for kind, head in ((b"zTXt", b"Comment\0\0"), (b"iCCP", b"icc\0\0"), (b"iTXt", b"c\0\1\0\0\0")):
        extra = _chunk(kind, head + bomb)
        # Pillow bounds or ignores what such a chunk unpacks to; the pixels may be fine.
        yield write(folder, f"bomb_{kind.decode()}.png", make_png(40, 40, extra=extra))
    many = b"".join(_chunk(b"tEXt", b"k%d\0v" % n) for n in range(20_000))
    yield write(folder, "chunks.png", make_png(40, 40, extra=many))
    for form, options in (("TIFF", {"compression": "tiff_deflate"}), ("GIF", {}), ("WEBP", {})):
        black = Image.new("L", (8000, 7900)) if form != "WEBP" else Image.new("RGB", (3000, 3000))
        data = _save(black, form, **options)
        yield write(folder, f"bomb.{form.lower()}", data, "refused")
    black = Image.new("L", (3000, 3000))
    yield write(folder, "bomb.jpg", _save(black, "JPEG", quality=1, progressive=True))
    jpeg = bytearray(seeds["baseline.jpg"])
    at = jpeg.index(b"\xff\xc0")
    for height, width in ((65_535, 65_535), (0, 0), (0, 40), (40, 0), (8, 65_535)):
        jpeg[at + 5 : at + 9] = struct.pack(">HH", height, width)
        yield write(folder, f"frame_{height}x{width}.jpg", bytes(jpeg), "refused")
    scan = seeds["progressive.jpg"]
    start = scan.index(b"\xff\xda")
    scans = scan[:start] + scan[start:-2] * 300 + scan[-2:]
    yield write(folder, "many_scans.jpg", scans)
    bmp = bytearray(seeds["rgb.bmp"])
    for width, height in ((2**31 - 1, 2**31 - 1), (-48, 40), (48, -40), (48, -(2**31)), (0, 0)):
        bmp[18:26] = struct.pack("<ii", width, height)
        yield write(folder, f"size_{width}x{height}.bmp", bytes(bmp))
    tiff = seeds["float.tif"]
    for name, number in (("nan", np.nan), ("inf", np.inf), ("max", 3e38)):
        odd = np.float32(pixels[..., 0])
        odd[3, 3] = number
        yield write(
            folder,
            f"{name}.tif",
            _save(Image.fromarray(odd), "TIFF"),
            "either" if name == "max" else "refused",
        )
    # The list of tags points to itself.
    yield write(folder, "loop.tif", tiff[:4] + struct.pack("<I", 8) + tiff[8:])
    yield write(folder, "tags.tif", b"II*\0" + struct.pack("<IH", 8, 65_535) + bytes(50_000))
    exif = Image.Exif()
    exif[0x0112] = 99
    yield write(folder, "orientation.jpg", _save(photo, "JPEG", exif=exif), "accepted")
    yield write(folder, "exif.jpg", _save(photo, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    yield write(
        folder, "screen.gif", b"GIF89a\xff\xff\xff\xff" + seeds["moving.gif"][10:], "refused"
    )
    yield write(folder, "frames.gif", _save(grey, "GIF", save_all=True, append_images=[grey] * 300))


# --- Sound --------------------------------------------------------------------------------------


def encode_sound(
    wave: np.ndarray, container: str, codec: str, *, rate_hz: int = RATE_HZ, layout: str = "mono"
) -> bytes:
    """Encode float32 (channel, time)."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream(codec, rate=rate_hz, layout=layout, bit_rate=64_000)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), "fltp", layout)
        frame.sample_rate, frame.pts = rate_hz, 0
        resampler = av.AudioResampler(stream.format, layout, rate_hz, stream.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


def make_wav(
    data: bytes, *, form: int = 1, channels: int = 1, rate_hz: int = RATE_HZ, bits: int = 16,
    align: int | None = None, length: int | None = None,
) -> bytes:  # fmt: skip
    """Make a WAV by hand; its header may say anything."""
    align = channels * bits // 8 if align is None else align
    second = rate_hz * align & 0xFFFFFFFF
    head = struct.pack("<HHIIHH", form, channels, rate_hz, second, align & 0xFFFF, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", len(data) if length is None else length) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def make_tone(seconds: float = 0.5, channels: int = 1) -> np.ndarray:
    """Give float32 (channel, time) of a tone."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return np.tile(np.float32(0.5 * np.sin(2 * np.pi * 220 * time_s)), (channels, 1))


def build_sounds(folder: Path, rng: np.random.Generator, port: int) -> Iterator[Case]:
    """Recordings in the usual containers and codecs."""
    tone, stereo = make_tone(), make_tone(channels=2)
    whole = (tone[0] * 32767).astype("<i2").tobytes()
    coded = {
        "flac.flac": ("flac", "flac"),
        "opus.ogg": ("ogg", "libopus"),
        "mp3.mp3": ("mp3", "libmp3lame"),
        "aac.m4a": ("ipod", "aac"),
        "aac.aac": ("adts", "aac"),
        "opus.webm": ("webm", "libopus"),
        "mulaw.au": ("au", "pcm_mulaw"),
        "adpcm.wav": ("wav", "adpcm_ms"),
        "pcm.aiff": ("aiff", "pcm_s16be"),
        "pcm.caf": ("caf", "pcm_s16be"),
        "mp2.ts": ("mpegts", "mp2"),
        "wavpack.wv": ("wv", "wavpack"),
    }
    seeds = {
        "pcm.wav": make_wav(whole),
        "float.wav": make_wav(tone[0].tobytes(), form=3, bits=32),
        "stereo.flac": encode_sound(stereo, "flac", "flac", layout="stereo"),
        **{
            name: encode_sound(tone, container, codec)
            for name, (container, codec) in coded.items()
            if codec in av.codecs_available
        },
    }
    yield from write_mutants(folder, seeds, rng, each=40)
    yield from write_foreign(folder, ".wav", port, {"png": make_png(40, 40)})
    yield from place_oddly(folder, seeds["pcm.wav"], ".wav")
    for suffix, name in (("mp3", "pcm.wav"), ("wav", "mp3.mp3"), ("txt", "flac.flac")):
        yield write(folder, f"disguised.{suffix}", seeds[name], "accepted")
    for number in (np.nan, np.inf, -np.inf):
        odd = tone[0].copy()
        odd[100] = number
        yield write(folder, f"{number}.wav", make_wav(odd.tobytes(), form=3, bits=32), "refused")
        deep = odd.astype(np.float64)
        yield write(
            folder, f"{number}_64.wav", make_wav(deep.tobytes(), form=3, bits=64), "refused"
        )
    huge = np.float32([3e38, -3e38] * 4000)
    yield write(folder, "loud.wav", make_wav(huge.tobytes(), form=3, bits=32))
    yield write(folder, "silent.wav", make_wav(bytes(len(whole))), "refused")
    yield write(folder, "short.wav", make_wav(whole[:20]), "refused")
    for rate_hz in (0, 1, 7, 10**6, 2**31, 2**32 - 1):
        yield write(folder, f"rate_{rate_hz}.wav", make_wav(whole, rate_hz=rate_hz), "refused")
    for channels in (0, 255, 4096, 65_535):
        yield write(
            folder, f"channels_{channels}.wav", make_wav(whole, channels=channels), "refused"
        )
    for bits in (0, 1, 7, 64, 65_535):
        yield write(folder, f"bits_{bits}.wav", make_wav(whole, bits=bits))
    for length in (0, 1, 2**31, 2**32 - 1):
        yield write(folder, f"length_{length}.wav", make_wav(whole, length=length))
    for align in (0, 1, 3, 65_535):
        yield write(folder, f"align_{align}.wav", make_wav(whole, align=align))
    for form in (0, 0x55, 0x161, 0xFFFE, 0xFFFF):
        yield write(folder, f"form_{form}.wav", make_wav(whole, form=form))
    flac = bytearray(seeds["flac.flac"])
    for rate_hz, samples in ((0, 8000), (1, 8000), (655_350, 8000), (RATE_HZ, 2**36 - 1)):
        field = rate_hz << 44 | 15 << 36 | samples  # one channel, 16 bits
        flac[18:26] = struct.pack(">Q", field)
        yield write(folder, f"info_{rate_hz}_{samples}.flac", bytes(flac))
    long = encode_sound(np.zeros((1, 300 * RATE_HZ), np.float32) + 0.5, "flac", "flac")
    yield write(folder, "bomb.flac", long, "refused")
    long = encode_sound(np.zeros((1, 200 * RATE_HZ), np.float32) + 0.5, "ogg", "libopus")
    yield write(folder, "bomb.ogg", long, "refused")
    yield write(folder, "tag.mp3", b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + seeds["mp3.mp3"])
    yield write(folder, "tags.mp3", (b"ID3\x04\0\0\0\0\0\0") * 20_000 + seeds["mp3.mp3"])
    comments = encode_sound(tone, "ogg", "libopus").replace(b"OpusTags", b"OpusTagz")
    yield write(folder, "tags.ogg", comments)


# --- Video --------------------------------------------------------------------------------------


def encode_video(
    frames: np.ndarray, container: str, codec: str, *, rate_hz: int = 10, sound: bool = False
) -> bytes:
    """Encode uint8 (frame, height, width, 3)."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream(codec, rate=rate_hz)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        spoken = output.add_stream("aac", rate=RATE_HZ, layout="mono") if sound else None
        for pixels in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode(None))
        if spoken is not None:
            frame = av.AudioFrame.from_ndarray(make_tone(1.0), "fltp", "mono")
            frame.sample_rate, frame.pts = RATE_HZ, 0
            output.mux([*spoken.encode(frame), *spoken.encode(None)])
    return file.getvalue()


def build_videos(folder: Path, rng: np.random.Generator, port: int) -> Iterator[Case]:
    """Clips in the usual containers and codecs."""
    base = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    frames = np.stack([np.roll(base, 4 * shift, axis=1) for shift in range(10)])  # (10, 48, 64, 3)
    coded = {
        "mpeg4.mp4": ("mp4", "mpeg4"),
        "h264.mp4": ("mp4", "libx264"),
        "h264.mov": ("mov", "libx264"),
        "vp8.webm": ("webm", "libvpx"),
        "mjpeg.avi": ("avi", "mjpeg"),
        "mpeg4.mkv": ("matroska", "mpeg4"),
        "mpeg2.ts": ("mpegts", "mpeg2video"),
    }
    seeds = {
        name: encode_video(frames, container, codec, rate_hz=25 if codec == "mpeg2video" else 10)
        for name, (container, codec) in coded.items()
        if codec in av.codecs_available
    }
    seeds["sound.mp4"] = encode_video(frames, "mp4", "mpeg4", sound=True)
    yield from write_mutants(folder, seeds, rng, each=48)
    yield from write_foreign(folder, ".mp4", port, SOUNDS_AND_MORE)
    yield from place_oddly(folder, seeds["mpeg4.mp4"], ".mp4")
    yield write(folder, "disguised.avi", seeds["vp8.webm"], "accepted")
    mp4 = bytearray(seeds["mpeg4.mp4"])
    for side in (0, 1, 16_384, 65_535):
        at = mp4.index(b"mp4v") + 28  # width and height of the sample entry
        mp4[at : at + 4] = struct.pack(">HH", side, side)
        yield write(folder, f"entry_{side}.mp4", bytes(mp4))
    for box, at, lie in (("mvhd", 16, 0), ("mvhd", 20, 2**32 - 1), ("mdhd", 16, 0), ("stts", 8, 2**32 - 1),
                         ("stsz", 12, 2**32 - 1), ("stsc", 8, 2**31), ("stco", 8, 2**32 - 1)):  # fmt: skip
        lying = bytearray(seeds["mpeg4.mp4"])
        start = lying.index(box.encode()) + at
        lying[start : start + 4] = struct.pack(">I", lie)
        yield write(folder, f"{box}_{at}_{lie}.mp4", bytes(lying))
    avi = bytearray(seeds["mjpeg.avi"])
    for side in (0, 65_535, 2**31 - 1):
        at = avi.index(b"strf") + 12
        avi[at : at + 8] = struct.pack("<II", side, side)
        yield write(folder, f"strf_{side}.avi", bytes(avi))
    black = np.zeros((3, 4096, 4096, 3), np.uint8)
    yield write(folder, "bomb.mp4", encode_video(black, "mp4", "mpeg4"), "refused")
    tiny = encode_video(frames[:, :2, :2], "matroska", "mpeg4")
    yield write(folder, "tiny.mkv", tiny, "refused")
    black = np.zeros((2500, 16, 16, 3), np.uint8)
    yield write(folder, "many.avi", encode_video(black, "avi", "mpeg4", rate_hz=5), "refused")
    yield write(folder, "nested.mp4", _nest_boxes(30_000))


def _nest_boxes(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = struct.pack(">I4s", len(data) + 8, b"moov") + data if len(data) < 2**20 else data
    return struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + data


# --- Signals ------------------------------------------------------------------------------------


def make_npy(
    header: str, data: bytes = b"", *, version: int = 1, length: int | None = None
) -> bytes:
    """Make an NPY by hand; its header may say anything."""
    text = header.encode("latin-1") + b"\n"
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + text + data  # fmt: skip


def _save_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _save_npz(deflate: bool, **members: bytes) -> bytes:
    file = io.BytesIO()
    form = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", form) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data, form)
    return file.getvalue()


def _save_parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def _save_csv(numbers: np.ndarray, separator: str = ",", header: str = "") -> bytes:
    rows = (separator.join(f"{number:.5g}" for number in row) for row in numbers)
    return (header + "\n".join(rows) + "\n").encode()


def build_signals(folder: Path, rng: np.random.Generator, port: int) -> Iterator[Case]:
    """Two channels at 100 Hz in arrays, tables and lists."""
    numbers = rng.standard_normal((2, 100)).cumsum(axis=1)
    npy = _save_npy(numbers)
    table = pa.table({"left": numbers[0], "right": numbers[1]})
    seeds = {
        "f8.npy": npy,
        "i2.npy": _save_npy((numbers * 100).astype("<i2")),
        "fortran.npy": _save_npy(np.asfortranarray(numbers.astype(">f4"))),
        "deflated.npz": _save_npz(True, samples=npy),
        "stored.npz": _save_npz(False, samples=npy),
        "header.csv": _save_csv(numbers.T, header="left,right\n"),
        "tabs.tsv": _save_csv(numbers.T, "\t"),
        "snappy.parquet": _save_parquet(table),
        "plain.parquet": _save_parquet(table, compression="none", use_dictionary=False),
    }
    yield from write_mutants(folder, seeds, rng, each=64)
    yield from write_foreign(folder, ".npy", port, SOUNDS_AND_MORE)
    yield from place_oddly(folder, npy, ".npy")
    yield write(folder, "disguised.csv", npy, "accepted")
    objects = np.array([_Bomb(folder.parent.parent / MARKER)], dtype=object)
    file = io.BytesIO()
    np.save(file, objects, allow_pickle=True)
    yield write(folder, "pickled.npy", file.getvalue(), "refused")
    yield write(folder, "pickled.npz", _save_npz(True, samples=file.getvalue()), "refused")
    body = numbers.tobytes()
    shape = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
    for name, header in {
        "huge": shape.format("<f8", "(2, 1000000000000)"),
        "overflow": shape.format("<f8", "(4294967296, 4294967296)"),
        "negative": shape.format("<f8", "(2, -100)"),
        "more": shape.format("<f8", "(2, 101)"),
        "less": shape.format("<f8", "(2, 99)"),
        "zero": shape.format("<f8", "(2, 0)"),
        "scalar": shape.format("<f8", "()"),
        "cube": shape.format("<f8", "(2, 10, 10)"),
        "deep": shape.format("<f8", "(2, 100" + ", 1" * 60 + ")"),
        "text": shape.format("<U100", "(2, 2)"),
        "void": shape.format("|V800", "(2,)"),
        "object": shape.format("|O", "(2, 100)"),
        "complex": shape.format("<c16", "(2, 50)"),
        "time": shape.format("<M8[s]", "(2, 100)"),
        "record": shape.format("x", "(2, 100)").replace("'x'", "[('a', '<f8'), ('b', 'O')]"),
        "no_type": shape.format("<z9", "(2, 100)"),
        "code": "__import__('os').system('touch escaped')",
        "nested": "(" * 5000 + ")" * 5000,
        "long": "{'descr': '<f8', 'shape': (2, 100), 'fortran_order': " + " " * 60_000 + "False}",
        "float_shape": shape.format("<f8", "(2.0, 100.0)"),
        "bool_shape": shape.format("<f8", "(True, 200)"),
        "nothing": "",
    }.items():
        refused = "either" if name in {"long", "bool_shape"} else "refused"
        yield write(folder, f"says_{name}.npy", make_npy(header, body), refused)
    yield write(folder, "length.npy", make_npy("{}", body, length=65_535), "refused")
    yield write(folder, "length2.npy", make_npy("{}", body, version=2, length=2**32 - 1), "refused")
    yield write(folder, "version.npy", b"\x93NUMPY\x09\x00" + npy[8:], "refused")
    for number in (np.nan, np.inf, 1e300, -1e300):
        odd = numbers.copy()
        odd[0] = number
        yield write(folder, f"{number}.npy", _save_npy(odd), "refused")
        yield write(folder, f"{number}.csv", _save_csv(odd.T), "refused")
    zeros = make_npy(shape.format("<f8", "(2, 10000000)")) + bytes(160 * 10**6)
    yield write(folder, "bomb.npz", _save_npz(True, samples=zeros), "refused")
    del zeros
    yield write(
        folder, "many.npz", _save_npz(True, **{f"m{n}": b"" for n in range(5000)}), "refused"
    )
    packed = bytearray(seeds["deflated.npz"])
    packed[22:30] = packed[18:22] * 2  # says that it unpacks to as little as it has
    yield write(folder, "lying.npz", bytes(packed))
    runs = pa.table({name: pa.array(np.zeros(20_000_000, np.int8)) for name in ("left", "right")})
    yield write(folder, "bomb.parquet", _save_parquet(runs), "refused")
    del runs
    nested = pa.array([[[[1.0]]]] * 100)
    yield write(
        folder, "nested.parquet", _save_parquet(pa.table({"l": nested, "r": nested})), "refused"
    )
    words = pa.table({"left": ["a"] * 100, "right": ["b"] * 100})
    yield write(folder, "words.parquet", _save_parquet(words), "refused")
    wide = pa.table({f"c{n}": [1.0] for n in range(3000)})
    yield write(folder, "wide.parquet", _save_parquet(wide), "refused")
    line = "1.5,2.5\n"
    for name, text in {
        "ragged": line * 50 + "1,2,3\n" + line * 50,
        "words": "a,b\n" * 100,
        "semicolons": line.replace(",", ";") * 100,
        "overflow": "1e999,1\n" * 100,
        "digits": "1" * 10_000 + ",2\n" + line * 100,
        "quote": '"' + line * 10_000,
        "nul": line * 50 + "\0,\0\n" + line * 50,
        "columns": "1," * 200_000 + "\n",
        "field": "x" * 5_000_000 + ",1\n",
        "formula": "=cmd|' /C calc'!A0,1\n" * 100,
        "hex": "0x10,0x20\n" * 100,
        "long": line * 400_000,
    }.items():
        yield write(folder, f"{name}.csv", text.encode(), "either" if name == "semicolons" else "refused")  # fmt: skip
    yield write(folder, "bom.csv", b"\xef\xbb\xbf" + seeds["header.csv"])
    yield write(folder, "utf16.csv", seeds["header.csv"].decode().encode("utf-16"))
    yield Case("lists", numbers.tolist(), "accepted")
    yield Case("JSON", json.dumps(numbers.tolist()), "accepted")
    for name, cell in _bad_lists(100):
        yield Case(f"list: {name}", cell, "refused")


def _bad_lists(length: int) -> Iterator[tuple[str, Any]]:
    """Cells that are no list of `length` numbers, nor lists of such."""
    fine = [float(n) for n in range(length)]
    yield from {
        "empty": [],
        "nested empty": [[], []],
        "ragged": [fine, fine[1:]],
        "words": ["a"] * length,
        "mixed": [*fine[1:], "x"],
        "dicts": [{"x": 1}] * length,
        "infinite": [*fine[1:], float("inf")],
        "huge integer": [*fine[1:], 10**400],
        "JSON huge integer": "[" + "1" * 9999 + "]",
        "JSON infinity": json.dumps([*fine[1:], float("-inf")]),
        "JSON overflow": json.dumps(fine).replace("1.0", "1e999"),
        "JSON depth": "[" * 200_000,
        "JSON closed depth": "[" * 100_000 + "]" * 100_000,
        "JSON object": '{"a": 1}',
        "JSON cut": json.dumps(fine)[:-3],
        "JSON number": "[1",
        "JSON surrogate": '["\\ud800"]',
        "JSON 10 MB": json.dumps([0.5] * 2_000_000),
        "deep": _nest(50),
        "bytes": b"\0" * 8 * length,
        "objects": np.array([object()] * length, dtype=object),
        "texts": np.array(["a"] * length),
        "cube": np.zeros((2, 2, 2)),
    }.items()


def _nest(depth: int) -> Any:
    value: Any = 1.0
    for _ in range(depth):
        value = [value]
    return value


# --- Cells without files ------------------------------------------------------------------------


def mutate_text(text: str, rng: np.random.Generator, count: int) -> Iterator[str]:
    """Give texts with characters cut, replaced, swapped in and repeated."""
    odd = (
        "\0\x1b\x7f\u200b\u200d\u202e\u2066\ufeff\ufffe\ud800\udfff\U0010ffff[]{}\",:\\'<>&\n\r\te-"
    )
    for turn in range(count):
        at, to = sorted(rng.integers(0, len(text) + 1, 2).tolist())
        mark = odd[int(rng.integers(len(odd)))]
        yield [
            text[:at],
            text[:at] + mark + text[at:],
            text[:at] + text[to:],
            text[:to] + text[at:],
            text[:at] + mark * 5 + text[to:],
        ][turn % 5]


def build_texts(folder: Path, rng: np.random.Generator, port: int) -> Iterator[Case]:
    """Texts that are long, odd, or none."""
    good = [
        "I was charged twice.",
        EMOJI,
        HEBREW,
        ARABIC,
        CHINESE,
        "ไม่เป็นไร",
        "नमस्ते",
        "ok\ud83d\ude00",
    ]
    for text in good:
        yield Case("good", text, "accepted")
        for mutant in mutate_text(text, rng, 25):
            yield Case(f"mutant of {text[:9]!a}", mutant)
    for name, text in {
        "nothing": "",
        "spaces": " \t\r\n\u00a0\u3000" * 9,
        "controls": "".join(map(chr, range(32))),
        "zero width": "\u200b\u200d\ufeff",
        "lone surrogate": "\ud800",
        "surrogates": "\udfff\ud800" * 9,
        "right-to-left override": "\u202e",
        "10 MB": "word " * 2_000_000,
        "10 MB of one word": "x" * 10_000_000,
        "10 MB of emoji": EMOJI * 700_000,
        "200k": "a" * 200_000,
    }.items():
        yield Case(name, text, "refused")
    for name, text in {
        "surrogate inside": "a \ud800 b",
        "swapped pair": "\ude00\ud83d ok",
        "isolates": "\u2066" * 1000 + "x" + "\u2069" * 1000,
        "overridden": "\u202e" + HEBREW,
        "zalgo": "Z" + "\u0335\u0321" * 5000,
        "marks alone": "\u0301" * 90_000,
        "expands": "\ufdfa" * 90_000,
        "hangul": "\u1100\u1161\u11a8" * 30_000,
        "joiners": "a" + "\u200d" * 90_000,
        "tags": "<" * 90_000,
        "open tags": "<a" * 45_000,
        "nested": "<b>" * 30_000 + "x",
        "comments": "<!--" * 20_000,
        "open comment": "<!-- x " * 12_000 + "y",
        "attributes": "<a " + 'b="' * 29_000,
        "quotes": "<a b='" + "<" * 80_000,
        "entities": "&amp;" * 18_000,
        "open entities": "&" * 90_000,
        "number entities": "&#x110000;&#0;&#55296;&#99999999999;" * 2000,
        "script": "<script>while(1)</script>" * 3000,
        "doctype": '<!DOCTYPE x [<!ENTITY a "b">]>' * 3000,
        "brackets": "](" * 45_000,
        "spaces": "a" + " " * 90_000 + "b",
        "format": "%s%n{0}{x.__class__}" * 999,
        "sql": "'; DROP TABLE samples; --",
        "path": "../../etc/passwd",
        "json": '{"a": ' * 9_000,
        "private": "\ue000\U000f0000\uffff",
        "carriage returns": "a\rb\r\nc\x85d\u2028e",
    }.items():
        yield Case(name, text)
    for cell in _NO_TEXT:
        yield Case(f"type {type(cell).__name__}", cell, "refused")


_NO_TEXT = (0, 1.5, True, b"bytes", ["a"], {"a": 1}, ("a",), object, 10**400, float("inf"))


def build_features(folder: Path, rng: np.random.Generator, port: int) -> Iterator[Case]:
    """Vectors of four numbers, as lists and as JSON."""
    good = [0.5, -2.0, 1e-30, 3e38]
    yield Case("good", good, "accepted")
    yield Case("JSON", json.dumps(good), "accepted")
    for mutant in mutate_text(json.dumps(good), rng, 150):
        yield Case("mutant", mutant)
    for name, cell in _bad_lists(4):
        yield Case(name, cell, "refused")
    for cell in (
        [1.0] * 3,
        [1.0] * 5,
        [[1.0] * 4],
        [1.0, 2.0, 3.0, float("nan")],
        [1.0, 2.0, 3.0, 1e39],
    ):
        yield Case("illegal list", cell, "refused")
    for cell in (
        *_NO_TEXT,
        10**5000,
        "",
        "null",
        "NaN",
        "[null, 1, 2, 3]",
        "{}",
        np.float64(1),
        np.zeros(()),
    ):
        yield Case(f"{type(cell).__name__}", cell, "refused")
    for cell in ([True] * 4, ["1", "2", "3", "4"], np.ones(4, ">i2"), np.float16([1, 2, 3, 4])):
        yield Case("unusual", cell)


def build_rows(folder: Path, rng: np.random.Generator, port: int) -> Iterator[Case]:
    """Rows of two numbers and a category, as mappings and as JSON."""
    good = {"age": 30, "income": 1200.5, "plan": "pro"}
    yield Case("good", good, "accepted")
    yield Case("JSON", json.dumps(good), "accepted")
    for mutant in mutate_text(json.dumps(good), rng, 150):
        yield Case("mutant", mutant)
    for value in (
        *(
            "x",
            "1,5",
            "1_000",
            "∞",
            "NaN",
            "0x1",
            "1e999",
            "\uff19",
            "-",
            [],
            {},
            [1],
            b"1",
            object(),
        ),
        *(
            float("inf"),
            float("nan"),
            10**400,
            1e39,
            True,
            None,
            "1" * 10_000,
            10**5000,
            1j,
            "\ud800",
        ),
    ):
        for column in ("age", "plan"):
            yield Case(f"{column} {_name(value)}", good | {column: value})
    for text in ("x" * 10_000_000, "\0", "\u202e", EMOJI, HEBREW, "e\u0301", "a\ud800", " "):
        yield Case(f"plan {text[:9]!a}", good | {"plan": text})
    for cell in (
        *(
            *_NO_TEXT,
            "",
            "null",
            "[]",
            "{}",
            "[" * 200_000,
            '{"a":' * 100_000,
            '{"age": 1e999}',
            {},
        ),
        *({"other": 1}, {"age": None}, {1: 2}, {None: 1}, '{"age": ' + "1" * 9999 + "}", '{"age"'),
    ):
        yield Case(f"row {_name(cell)}", cell, "refused")
    yield Case("twice", '{"age": 1, "age": 2}')


def build_histories(folder: Path, rng: np.random.Generator, port: int) -> Iterator[Case]:
    """Lists of events, as lists and as JSON."""
    good = [[0, "view"], [3.5, "buy", 19.9], ["2026-05-01T12:30:00", "view", None]]
    yield Case("good", good, "accepted")
    yield Case("JSON", json.dumps(good), "accepted")
    for mutant in mutate_text(json.dumps(good), rng, 150):
        yield Case("mutant", mutant)
    for time in (
        *(float("nan"), float("inf"), 10**400, "x", "", "9999-99-99", "0000-01-01", None, [], {}),
        *(1j, "T", "2026-05-01T12:30:00+99:00", "\ud800"),
    ):
        yield Case(f"time {_name(time)}", [[time, "view"]], "refused")
    for time in (1e308, -1e308, "9999-12-31", "0001-01-01", True, "2026-W01", -0.0):
        yield Case(f"time {time!a}", [[0, "a"], [time, "view"]])
    for value in (float("inf"), "x", 10**400, 1e39, [], {}, 1j):
        yield Case(f"value {_name(value)}", [[0, "view", value]], "refused")
    for kind in ("", None, [], {}, b"x", object(), " "):
        yield Case(f"type {_name(kind)}", [[0, kind]], "refused")
    for kind in ("x" * 10_000_000, EMOJI, HEBREW, "\ud800", "\0", 7, True, float("nan")):
        yield Case(f"type {_name(kind)}", [[0, kind]])
    many = [[n, "view"] for n in range(300_000)]
    for cell in (
        *(*_NO_TEXT[:4], *_NO_TEXT[5:], "", "null", "{}", "[" * 200_000, "[[[[", [[]], [[1]], many),
        *([[1, "a", 2, 3]], [1, 2], ["ab"], [{"time": 1}], [{"time": 1, "type": "a", "x": 1}]),
        *(json.dumps(many), "[" + "[0, 1]," * 3_000_000 + "]", np.array(5), ["a"] * 3),
    ):
        yield Case(f"cell {_name(cell)}", cell, "refused")
    yield Case("no event", [], "accepted")


SOUNDS_AND_MORE = {"wav": make_wav((make_tone()[0] * 9999).astype("<i2").tobytes())}
KINDS = {
    "audio": Kind({}, build_sounds),
    "events": Kind({}, build_histories),
    "features": Kind({"dim": 4}, build_features),
    "image": Kind({}, build_images),
    "signal": Kind(SIGNAL, build_signals),
    "tabular": Kind({"columns": COLUMNS}, build_rows),
    "text": Kind({}, build_texts),
    "video": Kind({}, build_videos),
}


def build(kind: str, data: Path, port: int) -> list[Case]:
    """Build one kind's cases under a data folder, which may be shared by all kinds."""
    folder = data / kind
    folder.mkdir(parents=True)
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    return list(KINDS[kind].build(folder, rng, port))
