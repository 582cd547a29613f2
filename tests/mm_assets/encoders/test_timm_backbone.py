import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models import save_for_hf

from mm_assets.contracts.errors import ConfigError, WeightsError
from mm_assets.encoders.networks.backbone import Backbone
from mm_assets.modalities.base import load_modality

GOLDEN = [0.00284, 0.0, 0.185985, 0.266164]
MODELS = ["test_resnet", "test_vit", "test_convnext"]  # timm's own small ones for tests


def picture(seed, size=48):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def make_random(model, **options):
    torch.manual_seed(0)
    return timm.create_model(model, **options).eval()


def make(build, model="test_resnet", size_px=64, **options):
    return build("timm_backbone", "image", model=str(model), size_px=size_px, **options)


@pytest.fixture
def save(tmp_path):
    """Write a network's weights to a file and give its path."""

    def save(network, name="x.safetensors"):
        save_file(network.state_dict(), tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_it_gives_what_timm_gives_without_a_classifier(build, encode, save, model):
    canvas = {"img_size": 64} if model == "test_vit" else {}
    network = make_random(model, **canvas)
    encoder = make(build, model, file=save(network))
    given = encode(encoder, encoder.network(), [picture(0), picture(1)])

    network.reset_classifier(0)
    pixels = load_modality("image", {}, {}, where="x").collate(
        [picture(0), picture(1)], {"size_px": 64}
    )["pixels"]
    light = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():  # mean and deviation of these models are 0.5
        expected = network((light - 0.5) / 0.5).numpy()
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)
    assert given.shape == (2, encoder.dim())


@pytest.mark.slow
def test_positions_of_patches_are_interpolated_for_another_canvas(build, encode, save):
    file = save(make_random("test_vit", img_size=160))
    vectors = [
        encode(
            encoder := make(build, "test_vit", size_px, file=file), encoder.network(), [picture(0)]
        )
        for size_px in (160, 96)
    ]
    assert vectors[0].shape == vectors[1].shape
    cosine = (vectors[0] * vectors[1]).sum() / np.prod([np.linalg.norm(v) for v in vectors])
    assert cosine > 0.9


@pytest.mark.slow
def test_a_folder_as_the_hub_keeps_it_says_all_about_itself(build, encode, save, tmp_path):
    network = make_random("test_resnet", num_classes=7)
    network.pretrained_cfg["mean"] = (0.1, 0.2, 0.3)
    save_for_hf(network, tmp_path / "model", safe_serialization=True)
    encoder = make(build, tmp_path / "model")
    found = encoder.network()
    assert found.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    named = make(build, file=save(network))
    other = named.network()
    other.mean = found.mean
    given = encode(encoder, found, [picture(0)])
    np.testing.assert_array_equal(given, encode(named, other, [picture(0)]))

    first = encoder.weights_digest()
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace("0.3", "0.4"))
    assert encoder.weights_digest() != first, "what normalises decides the vectors"


HUB = """
from pathlib import Path
from mm_assets.contracts.errors import WeightsError
from mm_assets.encoders.base import load_encoder

def load(model):
    options = {"model": model, "size_px": 64}
    return load_encoder("timm_backbone", options, kind="image", weights=Path(), where="x")

encoder = load("test_resnet")
print(encoder.weights_digest())
print(sum(float(p.double().sum()) for p in encoder.network().parameters()))
try:
    load("test_vit").network()
except WeightsError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_name_is_looked_up_in_the_hubs_cache(build, tmp_path):
    cache = tmp_path / "models--timm--test_resnet.r160_in1k"
    for folder in ("refs", "snapshots/abc"):
        (cache / folder).mkdir(parents=True)
    (cache / "refs/main").write_text("abc")
    file = cache / "snapshots/abc/model.safetensors"
    save_file(make_random("test_resnet").state_dict(), file)

    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", HUB]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    digest, total, message = done.stdout.splitlines()[:3]
    encoder = make(build, file=str(file))
    assert digest == encoder.weights_digest()
    wanted = sum(float(p.double().sum()) for p in encoder.network().parameters())
    assert float(total) == pytest.approx(wanted)
    assert "needs model.safetensors of timm/test_vit.r160_in1k on Hugging Face's hub and" in message


@pytest.mark.slow
def test_efficientnet_lite0_is_the_one_we_have(build, encode, weights, timm_efficientnet_lite0):
    """Both load the same published weights; ours normalises by 127 and 128, timm by 127.5."""
    skimage = pytest.importorskip("skimage.data")
    ours = build("efficientnet_lite0", "image", weights, size_px=128)
    images = [Image.fromarray(getattr(skimage, name)()) for name in ("chelsea", "coffee")]
    given = encode(ours, ours.network(), images)
    theirs = Backbone(timm_efficientnet_lite0, mean=(0.5,) * 3, std=(0.5,) * 3).eval()
    theirs.network.reset_classifier(0)
    expected = encode(ours, theirs, images)
    cosines = (given * expected).sum(1) / np.prod(
        [np.linalg.norm(v, axis=1) for v in (given, expected)], axis=0
    )
    assert cosines.min() > 0.999


@pytest.mark.slow
def test_the_golden_vector_is_unchanged(build, encode, save):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder = make(build, file=save(make_random("test_resnet")))
    vector = encode(encoder, encoder.network(), [picture(0)])[0]
    np.testing.assert_allclose(vector[:4], GOLDEN, rtol=1e-3, atol=1e-4)
    assert encoder.version == 1


@pytest.mark.slow
@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_the_exported_graph_agrees(build, compare_export, save, model):
    canvas = {"img_size": 64} if model == "test_vit" else {}
    encoder = make(build, model, file=save(make_random(model, **canvas)))
    assert compare_export(encoder, encoder.network(), list(map(picture, range(3)))) < 1e-5


def test_an_unknown_network_is_refused_with_the_likeliest(build):
    with pytest.raises(ConfigError, match=r"folder with config.json, got 'resnet5'.*resnet50"):
        make(build, "resnet5").dim()


class Code:
    def __reduce__(self):
        return print, ("code from a file ran",)


@pytest.mark.slow
def test_a_bad_file_is_refused_and_none_of_its_code_runs(build, save, tmp_path, capsys):
    torch.save({"a": Code()}, tmp_path / "code.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps({"a": Code()}))
    save(make_random("test_vit"), "vit.safetensors")
    partial = make_random("test_resnet").state_dict()
    partial.pop(next(iter(partial)))
    save_file(partial, tmp_path / "partial.safetensors")
    for name in ("code.pth", "pickle.pth", "vit.safetensors", "partial.safetensors"):
        with pytest.raises(WeightsError, match=rf"weights of test_resnet, got others in .*{name}"):
            make(build, file=str(tmp_path / name)).network()
    assert "ran" not in capsys.readouterr().out
    with pytest.raises(WeightsError, match=r"weights need the file .*none, which is absent"):
        make(build, file=str(tmp_path / "none")).weights_digest()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"needs model.safetensors in .*empty, which is absent"):
        make(build, tmp_path / "empty").weights_digest()
