import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import models
from torchvision.transforms._presets import VideoClassification

from mm_assets.contracts.errors import ConfigError, WeightsError
from mm_assets.encoders.base import load_encoder
from mm_assets.modalities.video import Clip

GOLDEN = [0.640747, 0.239477, 0.229565, 0.586257]


def film(seed, frames=4, size=32):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8)
    return Clip(pixels, np.arange(frames, dtype=np.float32), 1.0, frames)


def make_random(model):
    """A network whose running statistics are random too, so that each of its tensors counts."""
    torch.manual_seed(0)
    network = models.get_model(model, weights=None).eval()
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.add_(0.2 * torch.rand_like(buffer) - 0.1)
    return network


@pytest.fixture(scope="module")
def network():
    return make_random("mc3_18")


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mc3_18.pth"
    torch.save(network.state_dict(), path)
    return str(path)


@pytest.fixture
def encoder(build, file):
    return build("torchvision_video", "video", model="mc3_18", file=file, size_px=32, frames=4)


@pytest.mark.slow
def test_it_gives_what_the_classifier_would_have_seen(network, encoder, encode):
    """Torchvision's own preset, which takes (batch, frames, 3, size, size), is the witness."""
    clips = [film(0), film(1)]
    given = encode(encoder, encoder.network(), clips)
    seen = []
    hook = network.fc.register_forward_hook(lambda part, taken, found: seen.append(taken[0]))
    preset = VideoClassification(crop_size=(32, 32), resize_size=(32, 32))
    frames = torch.from_numpy(np.stack([clip.frames for clip in clips])).permute(0, 1, 4, 2, 3)
    with torch.inference_mode():
        network(preset(frames))
    hook.remove()
    np.testing.assert_allclose(given, seen[0].numpy(), rtol=1e-3, atol=1e-4)
    assert given.shape == (2, encoder.dim())
    assert (given > 0).mean() > 0.2


@pytest.mark.slow
def test_a_vector_does_not_depend_on_longer_neighbours(encoder, encode):
    clips = [film(0, frames=2), film(1, frames=9)]
    found = encoder.network()
    alone = encode(encoder, found, clips[:1])
    np.testing.assert_allclose(encode(encoder, found, clips)[:1], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "dim", "size_px", "frames"),
    [
        ("r3d_18", 512, 112, 16),
        ("mc3_18", 512, 112, 16),
        ("r2plus1d_18", 512, 112, 8),
        ("s3d", 1024, 224, 16),
        ("mvit_v1_b", 768, 224, 16),
        ("mvit_v2_s", 768, 224, 16),
        ("swin3d_t", 768, 64, 8),
    ],
)
def test_every_network_can_be_cut(build, model, dim, size_px, frames):
    found = build("torchvision_video", "video", model=model, size_px=size_px, frames=frames)
    assert found.dim() == dim
    assert found.inputs() == {"size_px": size_px, "frames": frames}


def test_a_clip_that_the_network_cannot_take_is_refused(build):
    encoder = build("torchvision_video", "video", model="mvit_v2_s", size_px=224, frames=8)
    with pytest.raises(
        ConfigError, match=r"mvit_v2_s cannot take clips of `frames` 8 and `size_px"
    ):
        encoder.dim()


@pytest.mark.slow
def test_weights_of_another_network_are_refused(build, file):
    encoder = build("torchvision_video", "video", model="r3d_18", file=file, size_px=32, frames=4)
    message = r"(?s)needs weights of r3d_18, got others in .*; name the right one in `file`"
    with pytest.raises(WeightsError, match=message):
        encoder.network()


def test_published_weights_are_named(build):
    options = {"weights": "IMAGENET1K_V1"}
    encoder = load_encoder("torchvision_video", options, kind="video", weights=Path(), where="x")
    message = r"must be one of KINETICS400_V1.* for r3d_18, got 'IMAGENET1K_V1'"
    with pytest.raises(ConfigError, match=message):
        encoder.weights_digest()


def test_an_absent_file_is_named_where_it_cannot_be_fetched(
    build, tmp_path, unreachable, monkeypatch
):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = tmp_path / "checkpoints/r3d_18-b3b3357e.pth"
    with pytest.raises(WeightsError, match=rf"torchvision_video needs {re.escape(str(path))}, whi"):
        build("torchvision_video", "video").weights_digest()


def test_the_golden_vector_is_unchanged(encoder, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    vector = encode(encoder, encoder.network(), [film(0)])[0]
    np.testing.assert_allclose(vector[:4], GOLDEN, rtol=1e-3, atol=1e-4)
    assert encoder.version == 1


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, compare_export):
    assert compare_export(encoder, encoder.network(), [film(0), film(1, 2), film(2, 7)]) < 1e-4
