from pathlib import Path

import pytest

from mm_assets.contracts.errors import ConfigError, WeightsError
from mm_assets.encoders.base import find_encoder, list_encoders, load_encoder
from mm_assets.modalities.base import list_kinds


def test_every_encoder_states_what_it_is():
    known = {
        "efficientnet_lite0",
        "hashed_ngrams",
        "minilm",
        "standardized",
        "tabular",
        "voice_functionals",
    }
    names = list_encoders()
    assert known <= set(names)
    for name in names:
        found = find_encoder(name)
        assert found.name == name
        assert found.kind in list_kinds()
        assert found.version >= 1
        assert found.licence
        assert found.source


def test_each_kind_has_an_encoder():
    assert all(list_encoders(kind) for kind in list_kinds())


def test_what_decides_a_vector_decides_the_fingerprint(build, monkeypatch):
    def take(sequence=False, preprocessing=1, **options):
        encoder = build("voice_functionals", "audio", **options)
        encoder.sequence = sequence
        return encoder.fingerprint(preprocessing={"version": preprocessing})

    first = take()
    assert first == take(max_s=15.0)
    changed = [take(max_s=5.0), take(preprocessing=2), take(sequence=True)]
    monkeypatch.setattr(find_encoder("voice_functionals"), "version", 99)
    changed.append(take())
    monkeypatch.undo()
    assert len({first, *changed}) == 5


def test_absent_weights_stop_the_fingerprint(build, tmp_path):
    encoder = build("minilm", "text", tmp_path)
    for use in (encoder.weights_digest, encoder.inputs, encoder.network):
        with pytest.raises(WeightsError, match=r"absent; run `mm weights`"):
            use()


def test_an_encoder_for_another_kind_is_refused(build):
    with pytest.raises(
        ConfigError, match=r"'minilm' reads text, but the modality is of kind audio"
    ):
        build("minilm", "audio", Path())


def test_sequences_of_an_encoder_that_gives_one_vector_are_refused():
    with pytest.raises(
        ConfigError,
        match=r"`modalities\.t\.encoder\.sequence` needs an encoder that gives sequences, and "
        r"hashed_ngrams gives one vector; leave it out or choose one of .*minilm, text_gru",
    ):
        load_encoder(
            "hashed_ngrams",
            {},
            kind="text",
            weights=Path(),
            where="modalities.t.encoder",
            sequence=True,
        )
    with pytest.raises(ConfigError, match=r"leave it out \(none for tabular does\)"):
        load_encoder("tabular", {}, kind="tabular", weights=Path(), where="x", sequence=True)
