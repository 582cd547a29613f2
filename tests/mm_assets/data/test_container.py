import contextlib
import io
import socket
import threading

import av
import numpy as np
import pytest

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.container import CONTAINERS, open_container

RATE_HZ = 48_000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ // 2) / RATE_HZ)
SOUNDS = {
    "adts": "aac",
    "aiff": "pcm_s16be",
    "asf": "wmav2",
    "au": "pcm_s16be",
    "avi": "pcm_s16le",
    "caf": "pcm_s16be",
    "flac": "flac",
    "ipod": "aac",  # M4A
    "matroska": "flac",
    "mov": "pcm_s16le",
    "mp3": "libmp3lame",
    "mp4": "aac",
    "mpeg": "mp2",
    "mpegts": "mp2",
    "ogg": "libopus",
    "w64": "pcm_s16le",
    "wav": "pcm_s16le",
    "webm": "libopus",
    "wv": "wavpack",
}


def encode(container, codec):
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=RATE_HZ, layout="mono", bit_rate=128_000)
        frame = av.AudioFrame.from_ndarray(TONE[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        resampler = av.AudioResampler(stream.format, "mono", RATE_HZ, stream.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


def decode(data):
    with open_container(data, reason="audio_unreadable") as container:
        assert [stream.codec_context.thread_count for stream in container.streams] == [1]
        frames = list(container.decode(audio=0))
    resampler = av.AudioResampler("fltp", "mono", RATE_HZ)
    return np.concatenate([p.to_ndarray()[0] for f in frames for p in resampler.resample(f)])


@pytest.mark.parametrize(("container", "codec"), SOUNDS.items())
def test_the_usual_containers_are_opened(container, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg was built without {codec}")
    sound = decode(encode(container, codec))
    assert len(sound) == pytest.approx(len(TONE), abs=4096)  # codecs pad
    peak = np.argmax(np.abs(np.fft.rfft(sound))) * RATE_HZ / len(sound)
    assert peak == pytest.approx(440, abs=3)


def test_every_name_on_the_list_is_a_demuxer_of_this_ffmpeg():
    assert set(CONTAINERS) == {av.format.ContainerFormat(name, "r").name for name in CONTAINERS}


@pytest.fixture
def server():
    """A port that says who connects to it."""
    met = []
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    client, address = tcp.accept()
                    met.append(address)
                    client.close()

        listener = threading.Thread(target=accept, daemon=True)
        listener.start()
        yield tcp.getsockname()[1], met
        tcp.shutdown(socket.SHUT_RDWR)
        listener.join(5)


# What FFmpeg, left to itself, would follow to another file, to a host or to a port.
PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXTINF:1,\n{file}\n"
    "#EXT-X-ENDLIST\n",
    "hls_local": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{file}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{url}'\nfile {file}\n",
    "ffconcat_local": "ffconcat version 1.0\nfile secret.wav\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT1S">'
    '<Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>",
}


def write_playlist(name, folder, port):
    (folder / "secret.wav").write_bytes(encode("wav", "pcm_s16le"))
    url = f"http://127.0.0.1:{port}/part.ts"
    return PLAYLISTS[name].format(url=url, port=port, file=folder / "secret.wav").encode()


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_opens_no_file_and_meets_no_host(name, server, tmp_path, monkeypatch):
    port, met = server
    monkeypatch.chdir(tmp_path)
    data = write_playlist(name, tmp_path, port)
    with (
        pytest.raises(BadSampleError, match=r"^video_unreadable: FFmpeg cannot decode it: \w+"),
        open_container(data, reason="video_unreadable") as container,
    ):
        list(container.decode(audio=0))
    assert not met


def test_ffmpeg_itself_would_follow_these_playlists(server, tmp_path):
    port, met = server
    (tmp_path / "list.m3u8").write_bytes(write_playlist("hls", tmp_path, port))
    with pytest.raises(av.FFmpegError):
        av.open(str(tmp_path / "list.m3u8"), options={"protocol_whitelist": "file,http,tcp"})
    assert met
    (tmp_path / "list.ffconcat").write_bytes(write_playlist("ffconcat_local", tmp_path, port))
    with av.open(str(tmp_path / "list.ffconcat")) as container:
        assert container.streams.audio
    sdp = io.BytesIO(write_playlist("sdp", tmp_path, port))
    with av.open(sdp, timeout=0.3) as container:
        assert container.format.name == "sdp"  # it listens at the port


def test_what_is_no_container_is_refused_with_those_that_are():
    with (
        pytest.raises(BadSampleError, match=r"Invalid .*; files may be aac, .*wav") as caught,
        open_container(b"no sound at all" * 99, reason="audio_unreadable"),
    ):
        pass
    assert caught.value.reason == "audio_unreadable"


def test_a_cut_file_of_a_known_format_is_called_just_that():
    with (
        pytest.raises(BadSampleError, match=r"^audio_unreadable: FFmpeg .* it: End of file$"),
        open_container(encode("ogg", "flac")[:30], reason="audio_unreadable"),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ValueError("no <av.Frame at 0x7f00deadbeef> here"), "no <av.Frame> here"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (av.error.MemoryError(12, "Cannot allocate memory"), "Cannot allocate memory"),
    ],
)
def test_mistakes_while_decoding_are_told_without_addresses(error, detail):
    with (
        pytest.raises(BadSampleError) as caught,
        open_container(encode("wav", "pcm_s16le"), reason="audio_unreadable"),
    ):
        raise error
    assert caught.value.detail == f"FFmpeg cannot decode it: {detail}"


def test_a_mistake_of_ours_stays_one():
    with (
        pytest.raises(AttributeError),
        open_container(encode("wav", "pcm_s16le"), reason="audio_unreadable") as container,
    ):
        container.no_such_attribute()
