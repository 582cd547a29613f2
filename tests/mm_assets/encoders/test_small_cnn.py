import numpy as np
import pytest
import torch
from PIL import Image

from mm_assets.encoders.networks.small_cnn import Distortion, scale_pixels

GOLDEN = [0.001266, 0.034224, 0.022723, 0.00717]


def picture(seed, size=48):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def encoder(build):
    return build("small_cnn", "image", size_px=32)


def test_a_supervised_vector_is_the_logits_and_else_the_body(build, encode, encoder, give_state):
    state = give_state(encoder, outputs=7)
    assert encode(encoder, encoder.network(state), [picture(0)]).shape == (1, 7)
    assert encoder.dim(state) == 7
    contrasted = build("small_cnn", "image", size_px=32, objective="contrastive", dim=24)
    state = give_state(contrasted)
    assert encode(contrasted, contrasted.network(state), [picture(0)]).shape == (1, 24)
    assert contrasted.dim(state) == 24


def test_a_vector_does_not_depend_on_its_neighbours(encode, encoder, give_state):
    network = encoder.network(give_state(encoder))
    alone = encode(encoder, network, [picture(0)])
    beside = encode(encoder, network, [picture(1), picture(0), picture(2)])
    np.testing.assert_allclose(beside[1], alone[0], atol=1e-6)
    assert np.abs(beside[0] - beside[1]).max() > 1e-3


def test_its_size_is_as_stated(build):
    body = build("small_cnn", "image").body({})
    assert sum(p.numel() for p in body.parameters()) == pytest.approx(78_000, rel=0.01)


def test_the_grey_around_a_picture_is_zero():
    pixels = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).view(1, 4, 1, 1).expand(1, 4, 1, 3)
    expected = torch.tensor([-1, -1 / 255, 1 / 255, 1])
    torch.testing.assert_close(scale_pixels(pixels)[0, 0, :, 0], expected)


STILL = {"shift": 0.0, "zoom": 0.0, "rotate_deg": 0.0, "light": 0.0}


def distort(pictures, **changes):
    torch.manual_seed(0)
    return Distortion(**STILL | changes).train()(pictures)


def test_nothing_allowed_and_evaluation_distort_nothing():
    light = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(distort(light), light)
    still = Distortion(shift=0.5, zoom=1.0, rotate_deg=180.0, light=0.9).eval()
    assert still(light) is light


@pytest.mark.parametrize(
    ("changes", "far"),  # how far a dot that lies 8 of 64 pixels off the centre may come
    [({"shift": 0.25}, (0, 16)), ({"zoom": 1.0}, (4, 16)), ({"rotate_deg": 180.0}, (8, 8))],
)
def test_a_dot_moves_as_far_as_it_may(changes, far):
    light = torch.zeros(500, 3, 64, 64)
    start = torch.tensor([31.5, 39.5])
    light[:, :, 30:34, 38:42] = 1
    moved = distort(light, **changes)[:, 0]
    share = moved / moved.sum(dim=(1, 2), keepdim=True)
    axis = torch.arange(64.0)
    place = torch.stack([share.sum(2) @ axis, share.sum(1) @ axis], dim=1)  # (row, down and across)
    if "shift" in changes:
        moves = (place - start).abs()
        assert moves.max() == pytest.approx(16, abs=0.5)
        assert moves.mean() == pytest.approx(8, abs=0.6)  # uniform
    else:
        distances = (place - 31.5).norm(dim=1)
        assert distances.min() == pytest.approx(far[0], abs=0.3)
        assert distances.max() == pytest.approx(far[1], abs=0.3)


def test_light_changes_each_picture_by_one_factor():
    pictures = torch.rand(500, 3, 4, 4) + 0.5
    factors = distort(pictures, light=0.2) / pictures
    torch.testing.assert_close(factors.amin((1, 2, 3)), factors.amax((1, 2, 3)))
    assert factors.min() == pytest.approx(0.8, abs=0.01)
    assert factors.max() == pytest.approx(1.2, abs=0.01)


def test_the_golden_vector_is_unchanged(encode, encoder, give_state):
    """When this fails because the code computes something else, raise the encoder's version."""
    vector = encode(encoder, encoder.network(give_state(encoder)), [picture(0)])[0]
    np.testing.assert_allclose(vector[:4], GOLDEN, rtol=1e-3, atol=1e-5)
    assert encoder.version == 1


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, give_state, compare_export):
    network = encoder.network(give_state(encoder, outputs=3))
    assert compare_export(encoder, network, list(map(picture, range(3)))) < 1e-5
