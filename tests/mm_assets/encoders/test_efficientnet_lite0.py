import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs

from mm_assets.modalities.base import load_modality

GOLDEN = [0.105446, 0.135937, 0.51977, 0.0, 5.709026, 0.0]


@pytest.fixture(scope="module")
def network(weights):
    from mm_assets.encoders.efficientnet_lite0 import EfficientNetLite0, EfficientNetLite0Options

    return EfficientNetLite0(EfficientNetLite0Options(), weights).network()


@pytest.fixture
def encoder(build, weights):
    return build("efficientnet_lite0", "image", weights)


def classify(network, name, size_px=224):
    """Give ImageNet's classes, likeliest first, of a photograph that scikit-image ships."""
    image = Image.fromarray(getattr(photographs, name)()).convert("RGB")
    modality = load_modality("image", {}, {}, where="modalities.image")
    pixels = modality.collate([image], {"size_px": size_px})["pixels"]
    with torch.inference_mode():
        return network.classify(torch.from_numpy(pixels))[0].argsort(descending=True).tolist()


@pytest.mark.parametrize(
    ("name", "wordnet"),
    [
        ("chelsea", "n02124075"),  # Egyptian cat
        ("coffee", "n07920052"),  # espresso
        ("camera", "n04485082"),  # tripod
    ],
)
def test_real_photographs_are_named_rightly(network, name, wordnet):
    from timm.data import ImageNetInfo

    best = classify(network, name)[0]
    assert ImageNetInfo().index_to_label_name(best) == wordnet


def test_a_rocket_on_its_pad_is_among_the_first_five(network):
    from timm.data import ImageNetInfo

    named = {ImageNetInfo().index_to_description(i) for i in classify(network, "rocket")[:5]}
    assert named & {"missile", "projectile, missile"}


def test_pixels_are_scaled_as_the_weights_were_trained(network):
    from mm_assets.encoders.networks.efficientnet_lite0 import _normalize

    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    # mean 127, deviation 128: EfficientNet-Lite's own preprocessing
    torch.testing.assert_close(_normalize(pixels).flatten(), torch.tensor([-127 / 128, 0.0, 1.0]))


@pytest.mark.parametrize("size_px", [224, 97, 33])  # sides that halve evenly, and such as do not
def test_features_are_those_of_timms_network(timm_efficientnet_lite0, network, size_px):
    theirs = timm_efficientnet_lite0
    pixels = torch.randint(256, (2, size_px, size_px, 3), dtype=torch.uint8)
    scaled = ((pixels.float() - 127) / 128).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = theirs.forward_head(theirs.forward_features(scaled), pre_logits=True)
        torch.testing.assert_close(network(pixels), expected, rtol=1e-4, atol=1e-4)


def test_features_are_pooled_and_not_negative(encoder, network, encode):
    vectors = encode(encoder, network, [Image.fromarray(photographs.chelsea())] * 2)
    assert vectors.shape == (2, encoder.dim())
    assert (vectors >= 0).all()
    assert 0.05 < (vectors > 0).mean() < 1


def test_a_vector_does_not_depend_on_its_neighbours(encoder, network, encode):
    cat, cup = (Image.fromarray(getattr(photographs, name)()) for name in ("chelsea", "coffee"))
    alone, beside = encode(encoder, network, [cat]), encode(encoder, network, [cup, cat, cup])
    np.testing.assert_allclose(beside[1], alone[0], atol=1e-5)


def test_the_golden_vector_is_unchanged(build, weights, network, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder = build("efficientnet_lite0", "image", weights, size_px=96)
    vector = encode(encoder, network, [Image.fromarray(photographs.chelsea())])[0]
    np.testing.assert_allclose(vector[:6], GOLDEN, rtol=1e-3, atol=1e-4)
    assert encoder.version == 1


@pytest.mark.slow
def test_the_exported_graph_agrees(build, weights, network, compare_export):
    encoder = build("efficientnet_lite0", "image", weights, size_px=64)
    images = [
        Image.fromarray(getattr(photographs, name)()) for name in ("chelsea", "coffee", "rocket")
    ]
    assert compare_export(encoder, network, images) < 1e-5
