import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs

from mm_assets.contracts.errors import ConfigError
from mm_assets.encoders.networks.video_frames import FrameMean
from mm_assets.modalities.base import load_modality
from mm_assets.modalities.video import Clip

GOLDEN = [0.0, 0.0, 2.611098, 0.0, 5.605651, 0.650836]


def film(*names):
    """Make a clip of photographs that scikit-image ships."""
    frames = [
        np.asarray(Image.fromarray(getattr(photographs, name)()).resize((96, 64))) for name in names
    ]
    return Clip(np.stack(frames), np.arange(len(names), dtype=np.float32), 1.0, len(names))


@pytest.fixture
def encoder(build, weights):
    return build(
        "video_frames", "video", weights, image={"name": "efficientnet_lite0", "size_px": 64}
    )


@pytest.mark.slow
def test_a_clips_vector_is_the_mean_of_its_frames_as_pictures(encoder, build, weights, encode):
    names = ("chelsea", "coffee", "rocket")
    image = build("efficientnet_lite0", "image", weights, size_px=64)
    pictures = [Image.fromarray(film(name).frames[0]) for name in names]
    alone = encode(image, image.network(), pictures)
    clips = [film(*names), film("coffee")]
    vectors = encode(encoder, encoder.network(), clips)
    np.testing.assert_allclose(vectors, [alone.mean(axis=0), alone[1]], rtol=1e-4, atol=1e-5)
    assert vectors.shape[1] == encoder.dim()


def test_a_sequence_has_a_vector_per_frame_and_says_what_is_padding(encoder, build, weights):
    modality = load_modality("video", {}, {}, where="x")
    arrays = modality.collate([film("chelsea", "coffee"), film("rocket")], encoder.inputs())
    with torch.inference_mode():
        steps, there = encoder.sequence_network()(*map(torch.from_numpy, arrays.values()))
    assert there.tolist() == [[True, True], [True, False]]
    assert steps.shape == (2, 2, 1280)


def test_what_decides_the_pictures_vector_decides_the_clips(build, weights):
    def take(size_px):
        image = {"name": "efficientnet_lite0", "size_px": size_px}
        return build("video_frames", "video", weights, image=image).fingerprint(preprocessing={})

    assert take(64) == take(64)
    assert take(64) != take(96)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"name": "minilm"}, r"`encoder video_frames: image\.name` 'minilm' reads text"),
        ({"name": "efficientnet_lite0", "size": 3}, r"image\.size` is not a known key"),
        ({"name": "small_cnn"}, r"weights of its own .*, got 'small_cnn'; .* is video_gru or "),
    ],
)
def test_an_image_encoder_that_does_not_fit_is_refused(build, tmp_path, image, message):
    with pytest.raises(ConfigError, match=message):
        build("video_frames", "video", tmp_path, image=image)


def test_the_golden_vector_is_unchanged(encoder, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    vector = encode(encoder, encoder.network(), [film("chelsea", "coffee")])[0]
    np.testing.assert_allclose(vector[:6], GOLDEN, rtol=1e-3, atol=1e-4)
    assert encoder.version == 1


class Brightness(torch.nn.Module):
    """Stands for an image encoder, whose own export its own tests see to."""

    def forward(self, pixels):
        return pixels.float().mean(dim=(1, 2))


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, compare_export):
    clips = [film("chelsea", "coffee"), film("rocket"), film("coffee", "rocket", "chelsea")]
    assert compare_export(encoder, FrameMean(Brightness()), clips) < 1e-5
