"""wav2vec 2.0, HuBERT and WavLM as torchaudio builds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from torchaudio.models import Wav2Vec2Model


class SpeechTransformer(nn.Module):
    """Hidden states of one layer, each recording by itself.

    Some of these models normalise over all samples of a recording, padding included, and WavLM
    takes no mask; without neighbours, a recording is heard as it was in their training.

    Args:
        model: `torchaudio.models.Wav2Vec2Model`, or its wrapper that normalises the waveform.
        layer: Of the transformer, from 1; null: the last.
    """

    model: Wav2Vec2Model | _Normalized

    def __init__(self, model: Wav2Vec2Model | _Normalized, *, layer: int | None) -> None:
        super().__init__()
        self.model = model
        self.layer = layer
        convolutions = [
            one
            for name, one in model.named_modules()
            if isinstance(one, nn.Conv1d) and "feature_extractor" in name
        ]
        self.least = 1  # samples of which the convolutions make one step
        for one in reversed(convolutions):
            self.least = (self.least - 1) * one.stride[0] + one.kernel_size[0]

    def forward(
        self, samples: Float[Tensor, "batch time"], length: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch step dim"], Bool[Tensor, "batch step"]]:
        """Embed recordings.

        Args:
            samples: Mono at 16 kHz in [-1, 1], zero padded at the end.
            length: True number of samples of each; a recording too short for one step is followed
                by silence.

        Returns:
            A vector each 20 ms, and which of them are none of padding.
        """
        padded = nn.functional.pad(samples, (0, self.least))
        rows = []
        for row, count in zip(padded, length.tolist(), strict=True):
            heard = row[None, : max(count, self.least)]
            layers, _ = self.model.extract_features(heard, num_layers=self.layer)
            rows.append(layers[-1][0])
        steps = torch.tensor([len(row) for row in rows], device=samples.device)
        vectors = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        place = torch.arange(vectors.shape[1], device=samples.device)
        return vectors, place < steps[:, None]


def build_speech_transformer(
    architecture: str, parameters: Mapping[str, Any], *, normalize: bool
) -> Wav2Vec2Model | _Normalized:
    """Build a model with random weights and without a head for letters.

    Args:
        architecture: ``Wav2Vec2``, which HuBERT shares, or ``WavLM``.
        parameters: Of `torchaudio.models.wav2vec2_model` or `wavlm_model`.
        normalize: Whether the waveform is brought to mean 0 and variance 1 first.
    """
    from torchaudio.models import wav2vec2_model, wavlm_model

    build = {"Wav2Vec2": wav2vec2_model, "WavLM": wavlm_model}[architecture]
    model = build(**{**parameters, "aux_num_out": None})
    return _Normalized(model) if normalize else model


class _Normalized(nn.Module):
    """Bring one recording to mean 0 and variance 1 before a model hears it."""

    model: Wav2Vec2Model

    def __init__(self, model: Wav2Vec2Model) -> None:
        super().__init__()
        self.model = model

    def extract_features(
        self, waveforms: Float[Tensor, "one time"], *, num_layers: int | None
    ) -> tuple[list[Tensor], Tensor | None]:
        """See `torchaudio.models.Wav2Vec2Model.extract_features`."""
        heard = nn.functional.layer_norm(waveforms, waveforms.shape)
        found: tuple[list[Tensor], Tensor | None] = self.model.extract_features(
            heard, num_layers=num_layers
        )
        return found
