"""Opening sound and video that nobody vouches for: FFmpeg sees these bytes and nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import av

from mm_assets.contracts.errors import BadSampleError

# Demuxers by FFmpeg's names. Playlists and scripts (hls, dash, concat, sdp, image2, lavfi …) name
# other files, hosts and ports, and are left out.
CONTAINERS = (
    "aac",  # ADTS
    "aiff",
    "amr",
    "asf",  # WMA, WMV
    "au",
    "avi",
    "caf",
    "flac",
    "matroska",  # and WebM
    "mov",  # and MP4, M4A, 3GP
    "mp3",
    "mpeg",  # program streams
    "mpegts",
    "nistsphere",  # of older speech corpora
    "ogg",  # Opus, Vorbis, Theora, Speex
    "w64",
    "wav",
    "wv",  # WavPack
)
# A protocol of this name there is not: of all URLs none may be opened.
_NO_PROTOCOL = "none"
# What PyAV raises beside FFmpeg's own errors where a file names a layout, format or rate that
# there is not.
_MISTAKES = (ValueError, LookupError, ArithmeticError)
_NO_FORMAT = (av.error.InvalidDataError, av.error.ArgumentError)  # none of the list's, also


@contextmanager
def open_container(data: bytes, *, reason: str) -> Iterator[av.container.InputContainer]:
    """Open a file's bytes for decoding, inside a `with` block.

    Each stream decodes in the calling thread: whoever decodes many files runs these beside each
    other already. What goes wrong inside the block, while packets are decoded, is told as well.

    Args:
        data: The whole file.
        reason: The code to give, such as ``audio_unreadable``.

    Yields:
        The container; of a stream that FFmpeg has no decoder for, `codec_context` is null.

    Raises:
        BadSampleError: With `reason`: the format is none of `CONTAINERS`, or is damaged.

    Source:
        https://ffmpeg.org/ffmpeg-formats.html (format_whitelist),
        https://ffmpeg.org/ffmpeg-protocols.html (protocol_whitelist).
    """
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": _NO_PROTOCOL}
    known = False
    try:
        with av.open(io.BytesIO(data), options=options, metadata_errors="ignore") as container:
            known = True
            for stream in container.streams:
                if stream.codec_context is not None:
                    stream.codec_context.thread_count = 1
            yield container
    except (av.FFmpegError, *_MISTAKES) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        detail = f"FFmpeg cannot decode it: {why}"
        if not known and isinstance(error, _NO_FORMAT):
            detail += f"; files may be {', '.join(CONTAINERS)}"
        raise BadSampleError(reason, detail) from None
