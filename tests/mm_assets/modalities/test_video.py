from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from mm_assets.contracts.errors import BadSampleError, ConfigError
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.image import GREY, Picture
from mm_assets.modalities.video import Clip, _divide_change

RATE = 10
# Containers with the codecs that are usual in them, picture and sound.
FILES = {
    "mp4": ("mp4", "libx264", "aac"),
    "mov": ("mov", "libx264", None),
    "webm": ("webm", "libvpx-vp9", "libopus"),
    "webm8": ("webm", "libvpx", None),
    "mkv": ("matroska", "libx264", "aac"),
    "avi": ("avi", "mpeg4", "mp3"),
    "ts": ("mpegts", "libx264", None),
}


def grey_frames(values, width=32, height=24):
    return [np.full((height, width, 3), value, np.uint8) for value in values]


def write(path, frames, kind="mp4", *, ticks=None, turn=None, aspect=None, **options):
    """Write frames at `RATE`, or at `ticks` of 1 / RATE seconds; a sound beside them where `kind` has one."""
    container_format, codec, sound = FILES[kind]
    with av.open(path, "w", format=container_format, options=options) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if turn:
            stream.set_display_rotation(*turn)
        if aspect:
            stream.sample_aspect_ratio = aspect
        voice = container.add_stream(sound, rate=16_000, layout="mono") if sound else None
        for place, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = ticks[place] if ticks else place
            frame.time_base = Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice:
            hum = np.sin(np.arange(16_000 * len(frames) // RATE) * 0.2).astype(np.float32) / 2
            fifo = av.AudioFifo()
            block = av.AudioFrame.from_ndarray(hum[None], format="flt", layout="mono")
            block.sample_rate = 16_000
            fifo.write(block)
            for part in fifo.read_many(voice.codec_context.frame_size or 1024, partial=True):
                container.mux(voice.encode(part))
            container.mux(voice.encode(None))
    return path.name


@pytest.fixture
def build():
    def build(augment=None, **options):
        return load_modality("video", options, augment or {}, where="modalities.x")

    return build


@pytest.fixture
def refuse(build, tmp_path):
    """Give the reason and detail for which a file is refused."""

    def refuse(name, **options):
        modality = build(**options)
        with pytest.raises(BadSampleError) as decoded:
            modality.decode(name, tmp_path)
        with pytest.raises(BadSampleError) as probed:
            modality.probe(name, tmp_path)
        assert str(decoded.value) == str(probed.value)
        return str(decoded.value)

    return refuse


def make_clip(values=(10, 90, 170, 250), width=32, height=24):
    frames = np.stack(grey_frames(values, width, height))
    return Clip(frames, np.arange(len(values), dtype=np.float32) / 2, len(values) / 2, 40)


@pytest.mark.parametrize("kind", FILES)
def test_frames_are_those_on_screen_in_the_middle_of_equal_stretches(build, tmp_path, kind):
    values = range(0, 200, 10)
    name = write(tmp_path / "x", grey_frames(values), kind)
    clip = build(frames=5).decode(name, tmp_path)
    # 2 s in five stretches: their middles lie at 0.2, 0.6, ... s, where frames 2, 6, ... begin; the
    # rounding of a container's clock may leave the frame before on screen.
    times = np.array([0.2, 0.6, 1.0, 1.4, 1.8])
    assert np.all((times - 0.11 < clip.times_s) & (clip.times_s <= times + 1e-3))
    np.testing.assert_allclose(clip.frames.mean(axis=(1, 2, 3)), clip.times_s * 100, atol=4)
    assert (clip.frames.shape, clip.frames.dtype) == ((5, 24, 32, 3), np.uint8)
    assert (clip.counted, clip.duration_s) == (20, pytest.approx(2, abs=0.02))


@pytest.mark.parametrize(("kind", "has_sound"), [("mp4", 1), ("mov", 0), ("webm", 1)])
def test_a_probe_measures_the_whole_file(build, tmp_path, kind, has_sound):
    name = write(tmp_path / "x", grey_frames(range(20), width=640, height=360), kind)
    probe = build().probe(name, tmp_path)
    assert probe["bytes"] == (tmp_path / "x").stat().st_size
    assert len(probe.pop("content")) == 64
    assert probe == {
        "bytes": probe["bytes"],
        "width_px": 640,
        "height_px": 360,
        "duration_s": pytest.approx(2, abs=0.02),
        "frames": 20,
        "rate_hz": pytest.approx(10, abs=0.1),
        "has_sound": has_sound,
    }


@pytest.mark.parametrize("sampling", ["time", "change"])
def test_a_rate_that_varies_is_followed(build, tmp_path, sampling):
    """Ten frames in the first second, then one that stays for a second: half of the time is its."""
    values = [*range(0, 100, 10), 255]
    name = write(tmp_path / "x", grey_frames(values), "mkv", ticks=[*range(10), 19])
    clip = build(frames=4, sampling=sampling).decode(name, tmp_path)
    found = clip.frames.mean(axis=(1, 2, 3))
    wanted = {"time": [20, 70, 90, 90], "change": [0, 30, 70, 255]}[sampling]
    if sampling == "time":  # the frame before the gap is on screen at two of the moments
        np.testing.assert_allclose(found, sorted(set(wanted)), atol=4)
    else:
        assert found[-1] > 245
        assert found[0] < 10


def test_fewer_frames_than_asked_for_are_all_kept(build, tmp_path):
    name = write(tmp_path / "x", grey_frames([0, 100, 200]))
    clip = build(frames=8).decode(name, tmp_path)
    np.testing.assert_allclose(clip.frames.mean(axis=(1, 2, 3)), [0, 100, 200], atol=4)


def test_change_is_looked_for_where_it_is(build, tmp_path):
    """Nothing for two seconds, a slow brightening for one, then nothing again."""
    values = [0] * 20 + list(range(0, 200, 20)) + [200] * 20
    name = write(tmp_path / "x", grey_frames(values), "mov")
    clip = build(frames=6, sampling="change").decode(name, tmp_path)
    np.testing.assert_allclose(
        clip.frames.mean(axis=(1, 2, 3)),
        [0, 40, 80, 120, 160, 200],
        atol=22,  # one frame
    )
    assert np.all((clip.times_s[1:] > 2) & (clip.times_s[1:] < 3.1))


def test_a_cut_to_another_scene_is_one_step():
    times = [float(time) for time in range(9)]
    assert _divide_change(times, [0.0, *[1.0] * 3, 900.0, *[1.0] * 4], 3) == [0, 4, 8]
    assert _divide_change(times, [0.0] * 9, 3) == [0]
    assert _divide_change(times, [0.0, *[1.0] * 8], 3) == [0, 4, 8]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_camera_that_was_turned_is_turned_back(build, tmp_path, degrees, flip):
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :24], picture[:16, 24:], picture[16:, :24] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    name = write(tmp_path / "x", [picture] * 4, "mov", turn=(degrees, flip))
    clip = build(frames=1).decode(name, tmp_path)
    # Degrees count against the clock, as `numpy.rot90` turns; FFmpeg mirrors what was turned.
    wanted = np.rot90(picture, degrees // 90)
    wanted = wanted[:, ::-1] if flip else wanted
    assert clip.frames[0].shape == wanted.shape
    assert np.abs(clip.frames[0].astype(int) - wanted).mean() < 20
    assert build().probe(name, tmp_path)["width_px"] == wanted.shape[1]


def test_pixels_become_square_and_large_frames_small(build, tmp_path):
    name = write(tmp_path / "x", grey_frames([9] * 3, 360, 288), "mov", aspect=Fraction(16, 9))
    clip = build(max_side_px=64).decode(name, tmp_path)
    assert clip.frames.shape[1:3] == (29, 64)  # 640 x 288
    assert build().probe(name, tmp_path)["width_px"] == 640


def test_times_count_from_the_first_frame_and_always_rise(build, tmp_path):
    name = write(tmp_path / "x", grey_frames(range(0, 200, 10)), "ts")  # its clock starts later
    clip = build(frames=20).decode(name, tmp_path)
    np.testing.assert_allclose(clip.times_s, np.arange(20) / 10, atol=1e-3)


@pytest.mark.parametrize("kind", ["mp4", "mov", "webm", "mkv", "avi"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_file_that_was_cut_off_is_refused(refuse, tmp_path, kind, share):
    rng = np.random.default_rng(0)
    noise = list(rng.integers(0, 256, (20, 48, 64, 3), dtype=np.uint8))
    options = {"movflags": "faststart"} if kind in {"mp4", "mov"} else {}
    write(tmp_path / "whole", noise, kind, **options)
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(share * len(data))])
    assert refuse("cut").startswith(("video_truncated: it ", "video_unreadable: FFmpeg cannot"))


def test_sound_alone_is_no_video(refuse, tmp_path):
    with av.open(tmp_path / "x", "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert refuse("x") == "video_without_picture: it holds no moving picture but sound"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_s": 1.0}, "video_too_long: it lasts 2.0 s, the limit is 1 s"),
        (
            {"max_frames": 9},
            "video_too_many_frames: it has more frames than the limit of 9",
        ),
        ({"min_px": 25}, "video_too_small: a frame has 32 x 24 pixels, each side needs 25"),
        (
            {"max_megapixels": 0.0005},
            "video_too_large: a frame has 32 x 24 pixels, the limit is 0.0005 million",
        ),
        ({"max_streams": 1}, "video_too_many_streams: it has 2 streams, the limit is 1"),
        ({"max_megabytes": 0.001}, "file_too_large"),
    ],
)
def test_each_limit_has_its_reason(refuse, tmp_path, options, reason):
    write(tmp_path / "x", grey_frames(range(20)))
    assert refuse("x", **options).startswith(reason)


@pytest.mark.parametrize("data", [b"\0" * 64, b"RIFF\x40\0\0\0AVI LIST", b"#EXTM3U\nfile:///etc\n"])
def test_what_is_no_video_is_unreadable(refuse, tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    assert refuse("x").startswith("video_unreadable: FFmpeg cannot decode it: ")


@pytest.mark.slow
def test_bytes_that_were_changed_never_crash(build, tmp_path):
    rng = np.random.default_rng(0)
    data = {}
    for kind in ("mp4", "webm", "avi"):
        write(tmp_path / "x", list(rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)), kind)
        data[kind] = np.frombuffer((tmp_path / "x").read_bytes(), np.uint8)
    modality = build(max_s=10.0)
    reasons = []
    for round_ in range(60):
        spoilt = data[("mp4", "webm", "avi")[round_ % 3]].copy()
        at = rng.integers(0, len(spoilt), 8)
        spoilt[at] = rng.integers(0, 256, len(at))
        (tmp_path / "x").write_bytes(spoilt.tobytes())
        try:
            clip = modality.decode("x", tmp_path)
        except BadSampleError as error:
            reasons.append(error.reason)
        else:
            assert clip.frames.ndim == 4
            assert np.isfinite(clip.times_s).all()
            assert (np.diff(clip.times_s) > 0).all()
    assert 0 < len(reasons) < 60
    assert all(reason.startswith("video_") for reason in reasons)


def test_all_frames_of_a_copy_change_alike(build):
    modality = build({"cut": 0.0, "erase": 0.3, "rotate_deg": 30.0})
    rng = np.random.default_rng(3)
    frames = np.repeat(rng.integers(0, 256, (1, 24, 32, 3), dtype=np.uint8), 5, axis=0)
    clip = Clip(frames, np.arange(5, dtype=np.float32), 5.0, 5)
    plan = modality.plan(np.random.default_rng(1))
    rendered = modality.render(clip, plan)
    assert (rendered.frames == rendered.frames[:1]).all()
    assert rendered.frames.shape != frames.shape or (rendered.frames != frames).any()
    again = modality.render(clip, plan)
    np.testing.assert_array_equal(again.frames, rendered.frames)


def test_a_copy_loses_what_is_before_and_after_the_cuts(build):
    still = {"crop": 0.0, "stretch": 0.0, "rotate_deg": 0.0, "hue": 0.0, "blur": 0.0, "erase": 0.0}
    still |= {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    modality = build(still)
    plan = modality.plan(np.random.default_rng(0)) | {"cut": [0.3, 0.2]}
    clip = modality.render(make_clip(), plan)  # frames at 0, 0.5, 1 and 1.5 s of 2 s
    np.testing.assert_array_equal(clip.frames, make_clip((170, 250)).frames)
    np.testing.assert_allclose(clip.times_s, [0.4, 0.9], atol=1e-6)
    assert clip.duration_s == pytest.approx(1.0)
    nearly_all = modality.render(make_clip((5, 6)), plan | {"cut": [0.26, 0.6]})
    assert len(nearly_all.frames) == 1


def test_a_batch_is_padded_and_letterboxed_as_pictures_are(build):
    modality = build()
    arrays = modality.collate([make_clip((10, 90)), make_clip((200,), 16, 32)], {"size_px": 16})
    assert list(arrays) == ["pixels", "length"]
    assert arrays["pixels"].shape == (2, 2, 16, 16, 3)
    assert arrays["length"].tolist() == [2, 1]
    assert (arrays["pixels"][1, 1] == 0).all()
    # The same frame through Pillow-free letterboxing: resized by torchvision, the rest grey.
    frame = torch.from_numpy(make_clip((200,), 16, 32).frames[0]).permute(2, 0, 1)
    small = v2.functional.resize(frame, [16, 8], antialias=True)
    wide = v2.functional.pad(small, [4, 0], fill=GREY[0]).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(arrays["pixels"][1, 0], wide, atol=1)


def test_an_encoder_may_ask_for_a_fixed_number_of_frames(build):
    modality = build()
    few, many = make_clip((10, 200)), make_clip(range(0, 240, 20))
    arrays = modality.collate([few, many], {"size_px": 8, "frames": 4})
    assert arrays["length"].tolist() == [4, 4]
    middle = arrays["pixels"][:, :, 4, 4, 0].tolist()
    assert middle == [[10, 10, 200, 200], [20, 80, 140, 200]]


def test_an_absent_clip_is_one_grey_frame(build):
    modality = build()
    arrays = modality.collate([modality.placeholder({"size_px": 8})], {"size_px": 8})
    assert (arrays["pixels"] == GREY[0]).all()
    assert arrays["length"].tolist() == [1]


def test_a_person_sees_a_strip_and_what_it_is_of(build):
    sketch = build().describe(make_clip((0, 250), 320, 240))
    assert sketch.caption == "1.0 s, 2 of 40 frames, 320 x 240"
    assert sketch.picture.size == (256, 96)
    strip = np.asarray(sketch.picture)
    assert (strip[:, :128] == 0).all()
    assert (strip[:, 128:] == 250).all()
    assert build().describe(make_clip(range(20))).picture.width == 8 * 32


def test_limits_are_no_part_of_what_a_cell_is_decoded_to(build):
    default = build().preprocessing()
    assert build(max_s=5.0, max_frames=9).preprocessing() == default
    assert build(frames=9).preprocessing() != default
    assert build(sampling="change").preprocessing() != default


@pytest.mark.slow
def test_the_kind_can_be_sent_to_another_process(build, tmp_path):
    name = write(tmp_path / "x", grey_frames([7] * 3))
    modality = build(frames=2)
    # What crosses the border is pickled on the way.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        clip = pool.submit(modality.decode, name, tmp_path).result()
    np.testing.assert_array_equal(clip.frames, modality.decode(name, tmp_path).frames)


def test_an_option_of_pictures_is_none_of_videos(build):
    with pytest.raises(ConfigError, match=r"`modalities\.x\.options\.size` is not a known key"):
        build(size=3)
    assert set(build().plan(np.random.default_rng(0))) == {
        "cut",
        *load_modality("image", {}, {}, where="x").plan(np.random.default_rng(0)),
    }
    assert issubclass(build().augment_model, Picture.augment_model)


def test_all_frames_are_corrupted_in_the_same_way_and_noise_is_drawn_anew():
    frames = np.random.default_rng(0).integers(0, 256, (1, 24, 32, 3), dtype=np.uint8)
    frames = frames.repeat(4, axis=0)
    clip = Clip(frames, np.arange(4, dtype=np.float32), 4.0, 90)
    modality = load_modality("video", {}, {}, where="x")
    equal = 0
    for seed in range(30):
        noisy = modality.corrupt(clip, 0.8, np.random.default_rng(seed))
        assert noisy.frames.shape == frames.shape
        np.testing.assert_array_equal(noisy.times_s, clip.times_s)
        # The first frame is what kind image makes of it.
        picture = Picture(modality._picture.options, modality.augmentation)
        alone = picture.corrupt(Image.fromarray(frames[0]), 0.8, np.random.default_rng(seed))
        np.testing.assert_array_equal(noisy.frames[0], np.asarray(alone))
        alike = [(noisy.frames[0] == other).all() for other in noisy.frames[1:]]
        assert all(alike) or not any(alike)
        equal += all(alike)
        assert not (noisy.frames == frames).all(axis=(1, 2, 3)).any()
    assert 10 < equal < 29  # blur and contrast leave nothing to chance
