import pickle
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.models import Weights, WeightsEnum
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.v2 import functional

from mm_assets.contracts.errors import ConfigError, WeightsError
from mm_assets.encoders.base import load_encoder
from mm_assets.modalities.base import load_modality

GOLDEN = [0.003182, 0.020826, 0.003391, 0.0]


def picture(seed, size=48):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def make_random(model, **options):
    """A network whose running statistics are random too, so that each of its tensors counts."""
    torch.manual_seed(0)
    network = models.get_model(model, weights=None, **options).eval()
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.add_(0.2 * torch.rand_like(buffer))
    return network


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "resnet18.pth"
    torch.save(make_random("resnet18").state_dict(), path)
    return path


def make(build, file, model="resnet18", size_px=64, **options):
    file = None if file is None else str(file)
    name = "torchvision_backbone"
    return build(name, "image", model=model, file=file, size_px=size_px, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["resnet18", "shufflenet_v2_x0_5", "regnet_y_400mf", "mobilenet_v3_small", "swin_t"]
)
def test_it_gives_what_the_classifier_would_have_seen(build, encode, tmp_path, model):
    network = make_random(model)
    torch.save(network.state_dict(), tmp_path / "x.pth")
    encoder = make(build, tmp_path / "x.pth", model)
    images = [picture(0), picture(1)]
    given = encode(encoder, encoder.network(), images)

    seen = []
    classifier = [part for part in network.modules() if isinstance(part, torch.nn.Linear)][-1]
    assert classifier.out_features == 1000
    classifier.register_forward_hook(lambda part, taken, found: seen.append(taken[0].flatten(1)))
    pixels = load_modality("image", {}, {}, where="x").collate(images, {"size_px": 64})["pixels"]
    scaled = functional.to_dtype(torch.from_numpy(pixels).permute(0, 3, 1, 2), scale=True)
    with torch.inference_mode():
        network(functional.normalize(scaled, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    np.testing.assert_allclose(given, seen[0].numpy(), rtol=1e-4, atol=1e-5)
    assert given.shape == (2, encoder.dim())
    assert given.dtype == np.float32


@pytest.mark.slow
def test_of_squeezenet_it_gives_the_mean_of_the_last_maps(build, encode, tmp_path):
    network = make_random("squeezenet1_1")
    torch.save(network.state_dict(), tmp_path / "x.pth")
    encoder = make(build, tmp_path / "x.pth", "squeezenet1_1")
    found = encoder.network()
    given = encode(encoder, found, [picture(0)])
    pixels = torch.from_numpy(
        load_modality("image", {}, {}, where="x").collate([picture(0)], {"size_px": 64})["pixels"]
    )
    scaled = (pixels.permute(0, 3, 1, 2) / 255 - found.mean) / found.std
    with torch.inference_mode():
        expected = network.features(scaled).relu().mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-6)
    assert encoder.dim() == 512


@pytest.mark.slow
@pytest.mark.parametrize("model", ["googlenet", "densenet121"])
def test_further_classifiers_in_a_file_are_passed_over(build, tmp_path, model):
    options = {"init_weights": False, "aux_logits": True} if model == "googlenet" else {}
    torch.save({"model": make_random(model, **options).state_dict()}, tmp_path / "x.pth")
    encoder = make(build, tmp_path / "x.pth", model)
    encoder.network()
    assert encoder.dim() == 1024


@pytest.mark.slow
def test_any_number_of_classes_and_any_wrapping_load_alike(build, encode, file, tmp_path):
    from safetensors.torch import save_file

    state = torch.load(file)
    save_file(state, tmp_path / "x.safetensors")
    fewer = state | {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}
    parallel = {f"module.{name}": tensor for name, tensor in fewer.items()}
    torch.save({"state_dict": parallel, "epoch": 3}, tmp_path / "wrapped.pt")
    vectors = [
        encode(encoder := make(build, path), encoder.network(), [picture(0)])
        for path in (file, tmp_path / "x.safetensors", tmp_path / "wrapped.pt")
    ]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_array_equal(vectors[0], vectors[2])


@pytest.mark.slow
def test_the_golden_vector_is_unchanged(build, encode, file):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder = make(build, file)
    vector = encode(encoder, encoder.network(), [picture(0)])[0]
    np.testing.assert_allclose(vector[:4], GOLDEN, rtol=1e-3, atol=1e-5)
    assert encoder.version == 1


@pytest.mark.slow
def test_the_exported_graph_agrees(build, compare_export, file):
    encoder = make(build, file)
    assert compare_export(encoder, encoder.network(), list(map(picture, range(3)))) < 1e-5


def test_the_file_decides_the_fingerprint(build, tmp_path):
    paths = [tmp_path / name for name in ("a.pth", "b.pth")]
    for path in paths:
        path.write_bytes(path.name.encode())
    digests = [make(build, path).weights_digest() for path in paths]
    assert digests == [sha256(path.name.encode()).hexdigest() for path in paths]


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Torchvision with one network more, whose weights lie where a web address leads."""
    network = make_random("squeezenet1_1")
    torch.save(network.state_dict(), tmp_path / "x")
    digest = sha256((tmp_path / "x").read_bytes()).hexdigest()
    served = (tmp_path / "x").rename(tmp_path / f"tiny-{digest[:8]}.pth")

    class TinyWeights(WeightsEnum):
        V1 = Weights(
            url=served.as_uri(),
            transforms=lambda: ImageClassification(crop_size=64, mean=(0.5,) * 3, std=(0.25,) * 3),
            meta={},
        )
        DEFAULT = V1

    def tiny(*, weights: TinyWeights | None = None, progress: bool = True):
        network = models.squeezenet1_1()
        if weights is not None:
            network.load_state_dict(weights.get_state_dict(progress=progress, check_hash=True))
        return network

    tiny.__module__ = "torchvision.models.tiny"
    monkeypatch.setitem(models._api.BUILTIN_MODELS, "tiny", tiny)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return served


@pytest.mark.slow
def test_published_weights_are_fetched_once_and_normalise_as_they_say(
    build, encode, published, tmp_path
):
    encoder = make(build, None, "tiny")
    given = encode(encoder, network := encoder.network(), [picture(0)])
    assert network.mean.flatten().tolist() == [0.5] * 3
    assert network.std.flatten().tolist() == [0.25] * 3
    local = make(build, published, "squeezenet1_1").network()
    local.mean, local.std = network.mean, network.std
    np.testing.assert_array_equal(given, encode(encoder, local, [picture(0)]))

    kept = tmp_path / "home/hub/checkpoints" / published.name
    assert encoder.weights_digest() == sha256(kept.read_bytes()).hexdigest()
    published.unlink()
    encoder.network()  # from the cache
    kept.write_bytes(b"another")
    with pytest.raises(WeightsError, match=r"needs .*tiny.* starts with .*; delete it"):
        encoder.weights_digest()


def test_published_weights_out_of_reach_have_their_place_named(build, published):
    published.unlink()
    wanted = (
        rf"needs .*checkpoints/{re.escape(published.name)}, which is absent, and could not fetch"
    )
    with pytest.raises(WeightsError, match=wanted):
        make(build, None, "tiny").weights_digest()


def test_an_unknown_network_or_weights_are_refused(build):
    with pytest.raises(ConfigError, match=r"`model` of .* must be one of alexnet, .*got 'resnet'"):
        make(build, None, "resnet").dim()
    options = {"model": "resnet50", "weights": "V9"}  # the fixture's `weights` is the folder
    encoder = load_encoder("torchvision_backbone", options, kind="image", weights=Path(), where="x")
    with pytest.raises(ConfigError, match=r"`weights` of .* IMAGENET1K_V1, .*got 'V9'.*`file`"):
        encoder.weights_digest()


@pytest.mark.slow
def test_a_canvas_that_a_network_cannot_take_is_refused(build):
    assert make(build, None, "vit_b_32", size_px=224).dim() == 768
    with pytest.raises(ConfigError, match=r"vit_b_32 cannot take pictures of `size_px` 96: .*224"):
        make(build, None, "vit_b_32", size_px=96).dim()


class Code:
    def __reduce__(self):
        return print, ("code from a file ran",)


@pytest.mark.slow
def test_a_bad_file_is_refused_and_none_of_its_code_runs(build, file, tmp_path, capsys):
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"a": Code()}))
    torch.save({"a": Code()}, tmp_path / "code_too.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes(file.read_bytes()[:5000])
    (tmp_path / "cut.safetensors").write_bytes(b"\x05")
    for name in ("code.pth", "code_too.pth", "list.pth", "cut.pth", "cut.safetensors"):
        with pytest.raises(WeightsError, match=rf"tensors by name in .*{name}, got something"):
            make(build, tmp_path / name).network()
    assert "ran" not in capsys.readouterr().out
    with pytest.raises(WeightsError, match=r"weights need the file .*none.pth, which is absent"):
        make(build, tmp_path / "none.pth").weights_digest()
    with pytest.raises(WeightsError, match=r"weights of resnet34, got others in .*resnet18.pth"):
        make(build, file, "resnet34").network()
