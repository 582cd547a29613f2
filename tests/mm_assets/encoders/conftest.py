import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from mm_assets.contracts.errors import WeightsError
from mm_assets.contracts.workspace import Workspace
from mm_assets.encoders.base import load_encoder
from mm_assets.encoders.weights import PUBLISHED, find_weights
from mm_assets.modalities.base import load_modality


@pytest.fixture(scope="session")
def weights():
    """The folder of published weights; tests that need it are skipped where `mm weights` never ran."""
    folder = Workspace(Path(__file__).parents[3]).weights
    try:
        for name in PUBLISHED:
            find_weights(folder, name)
    except WeightsError as error:
        pytest.skip(str(error))
    return folder


@pytest.fixture
def unreachable(monkeypatch):
    """No hub answers: requests go by a proxy that is not there."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens on the discard port
    # urllib keeps the proxies it saw first, here and, were it not told, in all tests that follow.
    monkeypatch.setattr(urllib.request, "_opener", None)


@pytest.fixture
def build():
    """Build an encoder from its options."""

    def build(name, kind, weights=Path(), **options):
        return load_encoder(name, options, kind=kind, weights=weights, where="modalities.x.encoder")

    return build


@pytest.fixture
def give_state():
    """Give a learned encoder a state as if it had been fitted; the same on every machine."""

    def give(encoder, *, outputs=None, **constants):
        """`outputs`: of all targets together, where the encoder is supervised."""
        torch.manual_seed(0)
        parts = {"body": encoder.body(constants).state_dict()}
        if outputs:
            parts["answers"] = torch.nn.Linear(encoder.options.dim, outputs).state_dict()
        state = {f"constants.{name}": array for name, array in constants.items()}
        for part, tensors in parts.items():
            state |= {f"{part}.{name}": tensor.numpy() for name, tensor in tensors.items()}
        return state

    return give


@pytest.fixture
def encode():
    """Collate and run, as the embed stage does."""

    def encode(encoder, network, values, **options):
        arrays = collate(encoder, values, options)
        with torch.inference_mode():
            return network(*map(torch.from_numpy, arrays.values())).numpy()

    return encode


@pytest.fixture
def compare_export(encode, tmp_path):
    """Export with dynamic axes and give the largest relative difference over batches of 1 and 3."""

    def compare(encoder, network, values, **options):
        import onnxruntime

        assert len(values) == 3
        arrays = collate(encoder, values[:2], options)
        varying = find_kind(encoder, options).varying
        program = torch.onnx.export(
            Whole(network).eval(),
            tuple(map(torch.from_numpy, arrays.values())),
            dynamo=True,
            dynamic_shapes=(
                tuple(
                    dict.fromkeys((0, *varying.get(name, ())), torch.export.Dim.AUTO)
                    for name in arrays
                ),
            ),
            input_names=list(arrays),
            verbose=False,
        )
        program.save(tmp_path / "x.onnx")
        session = onnxruntime.InferenceSession(
            tmp_path / "x.onnx", providers=["CPUExecutionProvider"]
        )
        differences = []
        for batch in (values[2:], values):
            (given,) = session.run(None, collate(encoder, batch, options))
            wanted = encode(encoder, network, batch, **options)
            differences.append(np.abs(given - wanted).max() / np.abs(wanted).max())
        return max(differences)

    return compare


class Whole(torch.nn.Module):
    """Takes any number of arrays, as the end-to-end model does."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *arrays):
        return self.network(*arrays)


def collate(encoder, values, options):
    return find_kind(encoder, options).collate(values, encoder.inputs())


def find_kind(encoder, options):
    return load_modality(encoder.kind, options, {}, where="modalities.x")


@pytest.fixture
def timm_efficientnet_lite0(weights):
    """Give timm's own network with the published weights, whose file has them in timm's order."""
    from timm.models.efficientnet import tf_efficientnet_lite0

    network = tf_efficientnet_lite0(pretrained=False).eval()
    (file,) = (weights / "efficientnet_lite0").glob("*.pth")
    published = torch.load(file, weights_only=True).values()
    network.load_state_dict(dict(zip(network.state_dict(), published, strict=True)))
    return network
