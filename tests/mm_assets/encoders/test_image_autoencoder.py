import numpy as np
import pytest
import torch
from PIL import Image

from mm_assets.contracts.errors import ConfigError
from mm_assets.encoders.networks.small_cnn import scale_pixels

GOLDEN = [0.020091, -0.015421, 0.017813, -0.015349]


def picture(seed, size=48):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def encoder(build):
    return build("image_autoencoder", "image", size_px=32, dim=16)


def test_a_vector_does_not_depend_on_its_neighbours(encode, encoder, give_state):
    state = give_state(encoder)
    network = encoder.network(state)
    alone = encode(encoder, network, [picture(0)])
    beside = encode(encoder, network, [picture(1), picture(0)])
    np.testing.assert_allclose(beside[1], alone[0], atol=1e-6)
    assert alone.shape == (1, encoder.dim(state)) == (1, 16)


def test_the_loss_is_the_mean_squared_error_of_what_is_drawn_again(encoder):
    torch.manual_seed(0)
    body = encoder.body({}).eval()
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    expected = np.mean((body.reconstruct(pixels) - scale_pixels(pixels)).detach().numpy() ** 2)
    assert body.self_supervised_loss(pixels).item() == pytest.approx(float(expected), rel=1e-5)
    assert body.reconstruct(pixels).shape == (3, 3, 32, 32)


@pytest.mark.slow
def test_pictures_with_two_causes_are_drawn_again_from_two_numbers(build):
    """Bars of a place and a brightness: two numbers are all there is to know."""
    encoder = build("image_autoencoder", "image", size_px=16, dim=2)
    rng = np.random.default_rng(0)
    pixels = np.full((512, 16, 16, 3), 127, np.uint8)
    for place, shade, row in zip(
        rng.integers(0, 12, 512), rng.integers(160, 256, 512), pixels, strict=True
    ):
        row[:, place : place + 4] = shade
    torch.manual_seed(0)
    body = encoder.body({}).train()
    optimizer = torch.optim.AdamW(body.parameters(), lr=3e-3)
    for _ in range(40):
        for at in range(0, 448, 64):
            loss = body.self_supervised_loss(torch.from_numpy(pixels[at : at + 64]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    unseen = torch.from_numpy(pixels[448:])
    mean = scale_pixels(torch.from_numpy(pixels[:448])).mean(dim=0)
    plain = ((scale_pixels(unseen) - mean) ** 2).mean()
    assert body.eval().self_supervised_loss(unseen) < 0.1 * plain


def test_the_canvas_can_be_halved_three_times(build):
    with pytest.raises(ConfigError, match=r"size_px.*multiple of 8"):
        build("image_autoencoder", "image", size_px=60)


def test_only_what_encodes_is_run(encode, encoder, give_state):
    state = give_state(encoder)
    kept = encode(encoder, encoder.network(state), [picture(0)])
    for name in state:
        if name.startswith("body.decoder.") and state[name].dtype == np.float32:
            state[name] = np.full_like(state[name], np.nan)
    np.testing.assert_array_equal(encode(encoder, encoder.network(state), [picture(0)]), kept)


def test_the_golden_vector_is_unchanged(encode, encoder, give_state):
    """When this fails because the code computes something else, raise the encoder's version."""
    vector = encode(encoder, encoder.network(give_state(encoder)), [picture(0)])[0]
    np.testing.assert_allclose(vector[:4], GOLDEN, rtol=1e-3, atol=1e-5)
    assert encoder.version == 1


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, give_state, compare_export):
    network = encoder.network(give_state(encoder))
    assert compare_export(encoder, network, list(map(picture, range(3)))) < 1e-5
