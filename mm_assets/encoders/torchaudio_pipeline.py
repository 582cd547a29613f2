"""Any of torchaudio's speech models by name or folder: wav2vec 2.0, HuBERT, WavLM, XLS-R."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mm_assets.contracts.errors import ConfigError, WeightsError
from mm_assets.encoders import base
from mm_assets.encoders.weights import digest_file, read_tensors

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

ARCHITECTURES = ("Wav2Vec2", "WavLM")
CONFIG, WEIGHTS = "config.json", "model.safetensors"


class TorchaudioPipelineOptions(base.Options):
    """Which model, its weights, and what is taken from it.

    `model`: A name of `torchaudio.pipelines`, or a folder with ``config.json`` and
    ``model.safetensors``. The former holds ``architecture`` (``Wav2Vec2``, which HuBERT shares, or
    ``WavLM``), ``normalize_waveform`` and ``parameters`` (of `torchaudio.models.wav2vec2_model` or
    `wavlm_model`).

    `file`: A state dictionary on this machine for a model given by name, ``.safetensors`` or
    what `torch.save` wrote; null: fetched by torchaudio once.
    """

    model: str = "WAV2VEC2_BASE"
    file: str | None = None
    # Middle layers often tell more about sounds and voices than the last, which is null.
    layer: Annotated[int, Field(ge=1)] | None = None
    max_s: Annotated[float, Field(ge=0.1, le=600)] = 15.0


class TorchaudioPipeline(base.Encoder):
    """A transformer over raw sound, pre-trained on thousands of hours; a vector each 20 ms.

    It is no part of the ONNX file: each recording is computed at its own length, since padding
    would change what these models hear.
    """

    name: ClassVar[str] = "torchaudio_pipeline"
    kind: ClassVar[str] = "audio"
    version: ClassVar[int] = 1
    exportable: ClassVar[bool] = False
    sequential: ClassVar[bool] = True
    input_shape: ClassVar[str] = "float32 (batch, time) at 16 kHz and int64 (batch,)"
    output_shape: ClassVar[str] = "float32 (batch, dim), or (batch, steps, dim); dim 768 to 1920"
    size: ClassVar[str] = "94 M parameters, 360 MB (BASE) to 2.2 G, 8 GB (XLSR_2B)"
    licence: ClassVar[str] = "of the weights: MIT (wav2vec 2.0, HuBERT, WavLM); see torchaudio"
    source: ClassVar[str] = (
        "Baevski et al. 2020, https://arxiv.org/abs/2006.11477; Hsu et al. 2021, "
        "https://arxiv.org/abs/2106.07447; Chen et al. 2022, https://arxiv.org/abs/2110.13900"
    )
    options_model: ClassVar[type[base.Options]] = TorchaudioPipelineOptions
    options: TorchaudioPipelineOptions

    @property
    def folder(self) -> Path | None:
        """The folder that the model lies in, or null where it has a name."""
        folder = Path(self.options.model)
        return folder if (folder / CONFIG).is_file() else None

    def inputs(self) -> dict[str, Any]:
        """Say what `Audio.collate` needs: 16 kHz, on which all are trained, and the cut."""
        return {"rate_hz": 16_000, "max_s": self.options.max_s}

    def weights_digest(self) -> str:
        """Give the SHA-256 of the weights' file; see `Encoder.weights_digest`."""
        path = self.find_file()
        config = json.dumps(self.read_config(), sort_keys=True, default=str)
        return hashlib.sha256(f"{config}{digest_file(path)}".encode()).hexdigest()

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector."""
        return int(self.read_config()["parameters"]["encoder_embed_dim"])

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network, which averages over steps; see `Encoder.network`."""
        from mm_assets.encoders.networks.mean_over_steps import MeanOverSteps

        return MeanOverSteps(self.sequence_network(state)).eval()

    def sequence_network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network; see `Encoder.sequence_network`.

        Raises:
            WeightsError: The weights are absent, or those of another model.
            ConfigError: There is no such model or layer.
        """
        from mm_assets.encoders.networks.torchaudio_pipeline import (
            SpeechTransformer,
            build_speech_transformer,
        )

        config = self.read_config()
        layers = config["parameters"]["encoder_num_layers"]
        if self.options.layer is not None and self.options.layer > layers:
            raise ConfigError(
                f"params.yaml: `layer` of encoder torchaudio_pipeline must be 1 to {layers} for "
                f"{self.options.model}, got {self.options.layer}"
            )
        model = build_speech_transformer(
            config["architecture"],
            config["parameters"],
            normalize=config["normalize_waveform"],
        )
        path = self.find_file()
        # What pre-training and recognition put behind the encoder is not needed here.
        tensors = {
            name: tensor
            for name, tensor in read_tensors(path).items()
            if not name.startswith("aux.")
        }
        inner = model.get_submodule("model") if config["normalize_waveform"] else model
        try:
            inner.load_state_dict(tensors)
        except RuntimeError as error:
            raise WeightsError(
                f"torchaudio_pipeline needs the weights of {self.options.model}, got others in "
                f"{path}: {str(error)[:300]}; name the right one in `file`"
            ) from None
        return SpeechTransformer(model, layer=self.options.layer).eval().requires_grad_(False)

    def read_config(self) -> dict[str, Any]:
        """Give ``architecture``, ``normalize_waveform`` and ``parameters``.

        Raises:
            ConfigError: There is no such model, or its ``config.json`` is none.
        """
        if self.folder is not None:
            return _check_config(self.folder / CONFIG)
        from torchaudio import pipelines

        names = [
            name
            for name in pipelines.__all__
            if isinstance(getattr(pipelines, name), pipelines.Wav2Vec2Bundle)
        ]
        if self.options.model not in names:
            raise ConfigError(
                "params.yaml: `model` of encoder torchaudio_pipeline must be a folder with "
                f"{CONFIG} and {WEIGHTS}, or one of {', '.join(names)}; got {self.options.model!r}"
            )
        bundle = getattr(pipelines, self.options.model)
        return {
            "architecture": bundle._model_type,
            "normalize_waveform": bundle._normalize_waveform,
            "parameters": bundle._params,
        }

    def find_file(self) -> Path:
        """Give the weights' file; of a model given by name, torchaudio fetches it once.

        Raises:
            WeightsError: There is none.
        """
        given = self.options.file
        path = Path(given) if given else self.folder and self.folder / WEIGHTS
        if path is None:
            return self._fetch()
        if not path.is_file():
            raise WeightsError(
                f"torchaudio_pipeline needs the weights of {self.options.model} in {path}, which "
                "is absent; put them there, or correct `model` or `file` in params.yaml"
            )
        return path

    def _fetch(self) -> Path:
        """Give the file in torch's cache, after torchaudio put it there.

        Raises:
            WeightsError: It could not.
        """
        import torch
        from torchaudio import pipelines

        self.read_config()
        bundle = getattr(pipelines, self.options.model)
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(bundle._path).name
        if not path.is_file():
            try:
                bundle.get_model()
            except (OSError, RuntimeError) as error:
                raise WeightsError(
                    f"torchaudio could not fetch the weights of {self.options.model}: {error}; "
                    f"check the network, or put {path.name}, which torchaudio publishes, at {path}, or "
                    "name a file of yours in `file`"
                ) from None
        return path


def _check_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
        known = config["architecture"] in ARCHITECTURES and {
            "normalize_waveform",
            "parameters",
        } < set(config)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ConfigError(
            f"{path} must hold `architecture` ({' or '.join(ARCHITECTURES)}), `normalize_waveform` "
            "and `parameters`; see TorchaudioPipelineOptions"
        )
    found: dict[str, Any] = config
    return found


ENCODER = TorchaudioPipeline
