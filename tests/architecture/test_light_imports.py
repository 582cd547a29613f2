"""Start-up stays light: heavy libraries are imported where they are used."""

import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "torchvision",
    "torchaudio",
    "transformers",
    "timm",
    "pandas",
    "great_expectations",
    "onnx",
    "onnxruntime",
    "sklearn",
    "matplotlib",
    "dvc",
}
TORCH = {"torch", "torchvision", "torchaudio", "transformers", "timm"}


def loaded_by(statement):
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "import mm_assets",
        "import mm_assets.cli.main",
        "import mm_assets.contracts.config, mm_assets.contracts.report, mm_assets.contracts.workspace",
        "import mm_assets.stages.summary",
        "import orchestration.definitions",
    ],
)
def test_start_up_loads_nothing_heavy(statement):
    assert loaded_by(statement) & HEAVY == set()


@pytest.mark.slow
def test_loading_the_definitions_loads_nothing_heavy_but_dvc():
    """Each run of the web UI does so in a process of its own."""
    loaded = loaded_by("from orchestration.definitions import defs\ndefs()")
    assert loaded & {*HEAVY, "numpy"} == {"dvc"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "from mm_assets.modalities.base import list_kinds, load_modality\n"
        "needed = {'features': {'dim': 1}, 'tabular': {'columns': {'age': 'numeric'}}, 'signal': {'rate_hz': 1.0}}\n"
        "for kind in list_kinds(): load_modality(kind, needed.get(kind, {}), {}, where='x')",
        "from mm_assets.encoders.base import list_encoders, find_encoder\n"
        "for name in list_encoders(): find_encoder(name)",
        "from mm_assets.targets.base import find_target, list_kinds\n"
        "for kind in list_kinds(): find_target(kind)",
        "import mm_assets.serving.predictor",
        "import mm_assets.stages.validate, mm_assets.stages.augment",
        "from mm_assets.stages.project import load_project\nfrom pathlib import Path\nload_project(Path())",
    ],
)
def test_decoding_serving_and_configuration_load_no_torch(statement):
    assert loaded_by(statement) & TORCH == set()
