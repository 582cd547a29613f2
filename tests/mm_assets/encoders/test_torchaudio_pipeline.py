import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchaudio.models import wav2vec2_model, wavlm_model

from mm_assets.contracts.errors import ConfigError, WeightsError
from mm_assets.modalities.audio import Waveform

RATE_HZ = 16_000
TINY = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [[16, 10, 5], [16, 8, 8], [16, 8, 8]],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 24,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 32,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.1,
    "aux_num_out": 5,
}
WAVLM = TINY | {
    "encoder_num_buckets": 20,
    "encoder_max_distance": 40,
    "extractor_mode": "layer_norm",
}


def speak(duration_s, seed=0):
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(duration_s * RATE_HZ))
    return Waveform(samples.astype(np.float32), RATE_HZ)


def save(folder, *, architecture="Wav2Vec2", normalize=False, parameters=TINY):
    """Put a random model into a folder, as a user would a trained one; give it."""
    torch.manual_seed(0)
    model = {"Wav2Vec2": wav2vec2_model, "WavLM": wavlm_model}[architecture](**parameters).eval()
    folder.mkdir(exist_ok=True)
    config = {
        "architecture": architecture,
        "normalize_waveform": normalize,
        "parameters": parameters,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "model.safetensors")
    return model


@pytest.mark.parametrize(("architecture", "parameters"), [("Wav2Vec2", TINY), ("WavLM", WAVLM)])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("layer", [None, 2])
def test_vectors_are_those_of_torchaudio_for_each_recording_alone(
    build, encode, tmp_path, architecture, parameters, normalize, layer
):
    model = save(
        tmp_path / "tiny", architecture=architecture, parameters=parameters, normalize=normalize
    )
    encoder = build("torchaudio_pipeline", "audio", model=str(tmp_path / "tiny"), layer=layer)
    waves = [speak(0.2), speak(0.5, 1)]
    found = encode(encoder, encoder.network(), waves)
    assert found.shape == (2, encoder.dim()) == (2, 24)
    for wave, vector in zip(waves, found, strict=True):
        heard = torch.from_numpy(wave.samples[None])
        if normalize:
            heard = (heard - heard.mean()) / heard.std(unbiased=False)
        with torch.inference_mode():
            wanted = model.extract_features(heard)[0][(layer or 3) - 1][0]
        np.testing.assert_allclose(vector, wanted.mean(dim=0).numpy(), atol=1e-4)


def test_a_sequence_has_a_mask_and_the_shortest_recording_a_step(build, encode, tmp_path):
    save(tmp_path / "tiny")
    encoder = build("torchaudio_pipeline", "audio", model=str(tmp_path / "tiny"))
    arrays = [torch.zeros(2, 6400), torch.tensor([3, 6400])]
    steps, valid = encoder.sequence_network()(*arrays)
    # 6400 samples: 1279 after the first convolution, 159 after the second, 19 after the third.
    assert steps.shape == (2, 19, 24)
    assert valid.sum(dim=1).tolist() == [1, 19]


def test_a_model_by_name_takes_a_file_of_weights(build, tmp_path):
    from torchaudio import pipelines

    encoder = build(
        "torchaudio_pipeline", "audio", model="WAV2VEC2_BASE", file=str(tmp_path / "absent.pt")
    )
    assert encoder.dim() == 768
    assert encoder.inputs()["rate_hz"] == pipelines.WAV2VEC2_BASE.sample_rate
    with pytest.raises(
        WeightsError, match=r"weights of WAV2VEC2_BASE in .*absent.pt, which is abse"
    ):
        encoder.weights_digest()


@pytest.mark.slow
def test_a_named_model_is_built_as_its_bundle_builds_it(build, encode, tmp_path):
    torch.manual_seed(0)
    from torchaudio import pipelines

    parameters = pipelines.WAV2VEC2_BASE._params
    model = wav2vec2_model(**parameters).eval()
    torch.save(model.state_dict(), tmp_path / "base.pt")
    encoder = build(
        "torchaudio_pipeline", "audio", model="WAV2VEC2_BASE", file=str(tmp_path / "base.pt")
    )
    wave = speak(0.2)
    with torch.inference_mode():
        wanted = model.extract_features(torch.from_numpy(wave.samples[None]))[0][-1][0].mean(dim=0)
    found = encode(encoder, encoder.network(), [wave])[0]
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)


def test_unreachable_weights_say_which_file_goes_where(build, tmp_path, unreachable, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    encoder = build("torchaudio_pipeline", "audio", model="HUBERT_BASE")
    with pytest.raises(
        WeightsError,
        match=r"could not fetch the weights of HUBERT_BASE: .*put hubert_fairseq_base_ls960.pth"
        r".*at .*checkpoints/hubert_fairseq_base_ls960.pth, or name a file of yours",
    ):
        encoder.weights_digest()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"model": "BERT"}, ConfigError, r"`model` .* or one of .*HUBERT_BASE.*; got 'BERT'"),
        ({"layer": 4}, ConfigError, r"`layer` .* must be 1 to 3 for .*tiny, got 4"),
        ({"file": "other.pt"}, WeightsError, r"needs the weights of .*tiny, got others in"),
        (
            {"file": "evil.pt"},
            WeightsError,
            r"tensors by name in .*evil.pt, got something",
        ),
    ],
)
def test_what_does_not_fit_is_named(build, tmp_path, options, error, match):
    save(tmp_path / "tiny")
    torch.save({"other.weight": torch.zeros(2)}, tmp_path / "other.pt")
    torch.save(print, tmp_path / "evil.pt")
    if "file" in options:
        options = {"file": str(tmp_path / options["file"])}
    encoder = build("torchaudio_pipeline", "audio", **{"model": str(tmp_path / "tiny")} | options)
    with pytest.raises(error, match=match):
        encoder.network()


def test_a_folder_without_a_whole_config_is_refused(build, tmp_path):
    save(tmp_path / "tiny")
    (tmp_path / "tiny" / "config.json").write_text('{"architecture": "BERT"}')
    encoder = build("torchaudio_pipeline", "audio", model=str(tmp_path / "tiny"))
    with pytest.raises(ConfigError, match=r"must hold `architecture` \(Wav2Vec2 or WavLM\)"):
        encoder.dim()


def test_weights_and_their_config_decide_the_digest(build, tmp_path):
    save(tmp_path / "tiny")
    encoder = build("torchaudio_pipeline", "audio", model=str(tmp_path / "tiny"))
    first = encoder.weights_digest()
    save(tmp_path / "tiny", normalize=True)
    second = encoder.weights_digest()
    tensors = {"x": torch.ones(1)}
    save_file(tensors, tmp_path / "tiny" / "model.safetensors")
    assert len({first, second, encoder.weights_digest()}) == 3


def test_the_golden_vector_is_unchanged(build, encode, tmp_path):
    """When this fails because the code computes something else, raise the encoder's version."""
    save(tmp_path / "tiny")
    encoder = build("torchaudio_pipeline", "audio", model=str(tmp_path / "tiny"))
    assert encode(encoder, encoder.network(), [speak(0.3)])[0][:4] == pytest.approx(
        [-0.8669, 1.0343, 1.2187, -0.8378], abs=1e-3
    )
    assert encoder.version == 1
