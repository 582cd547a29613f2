import copy

import pytest

from mm_assets.contracts.config import parse_config, read_config
from mm_assets.contracts.errors import ConfigError

MINIMAL = {
    "version": 2,
    "modalities": {"text": {"kind": "text", "column": "message", "encoder": {"name": "minilm"}}},
    "targets": {"mood": {"kind": "multiclass", "column": "mood"}},
}


def change(path, value):
    raw = copy.deepcopy(MINIMAL)
    *parents, last = path.split(".")
    section = raw
    for part in parents:
        section = section.setdefault(part, {})
    section[last] = value
    return raw


def test_a_minimal_file_gets_every_default():
    config = parse_config(MINIMAL)

    assert config.split.train == 0.7
    assert config.modalities["text"].encoder.options == {}
    assert config.targets["mood"].kind == "multiclass"


def test_an_encoders_own_options_are_kept_for_it():
    config = parse_config(change("modalities.text.encoder.max_tokens", 32))

    assert config.modalities["text"].encoder.options == {"max_tokens": 32}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("version", 1, r"`version` must be 2 .*, got 1; `mm upgrade`"),
        ("trian", {}, r"`trian` is not a known key; did you mean `train`\?"),
        (
            "train.epochs",
            "ten",
            r"`train.epochs`: input should be a valid integer, got 'ten' \(str\)",
        ),
        (
            "train.learning_rate",
            -1,
            r"`train.learning_rate`: input should be greater than 0, got -1",
        ),
        ("train.epocs", 3, r"`train.epocs` is not a known key; did you mean `epochs`\?"),
        (
            "modalities.text.colunm",
            "x",
            r"`modalities.text.colunm` is not a known key; did you mean `column`",
        ),
        ("modalities.text.encoder", "minilm", r"`modalities.text.encoder`: .*got 'minilm' \(str\)"),
        ("modalities.Text", {}, r"`modalities.Text`: string should match pattern"),
        ("modalities", {}, r"`modalities`: dictionary should have at least 1 item"),
        ("train", ["fast"], r"`train`: must be a mapping of keys, got \['fast'\] \(list\)"),
        (
            "train.pseudo_labels",
            {"confidance": 0.9},
            r"`train.pseudo_labels.confidance` is not a known key; did you mean `confidence`\? "
            r"\(known here: confidence, start_epoch\)",
        ),
        ("split", {"train": 0.9}, r"`split`: the three shares must sum to 1, got 1.2"),
        (
            "targets.mood.column",
            "message",
            r"column 'message' is named by both modalities.text.column and targets.mood.column",
        ),
        (
            "targets.text",
            {"kind": "multiclass", "column": "y"},
            r"'text' names both a modality and a target",
        ),
        ("targets.split", {"kind": "multiclass", "column": "y"}, r"'split' is reserved"),
    ],
)
def test_a_wrong_key_is_named_with_what_was_expected_and_what_came(path, value, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(change(path, value))


@pytest.mark.parametrize(
    "columns", [{}, {"column": "age"}, {"column": "age", "columns": {"age": "numeric"}}]
)
def test_a_tabular_modality_needs_columns_with_types(columns):
    raw = copy.deepcopy(MINIMAL)
    raw["modalities"]["who"] = {"kind": "tabular", "encoder": {"name": "tabular"}, **columns}

    with pytest.raises(ConfigError, match=r"`modalities\.who`: kind tabular reads several columns"):
        parse_config(raw)


def test_a_column_of_two_modalities_is_refused():
    raw = copy.deepcopy(MINIMAL)
    raw["modalities"]["who"] = {
        "kind": "tabular",
        "encoder": {"name": "tabular"},
        "columns": {"message": "categorical"},
    }

    with pytest.raises(ConfigError, match=r"'message' is named by both modalities\.text\.column"):
        parse_config(raw)


def test_a_video_and_its_sound_share_a_column():
    raw = copy.deepcopy(MINIMAL)
    raw["modalities"] = {
        "scene": {"kind": "video", "column": "clip", "encoder": {"name": "video_frames"}},
        "sound": {"kind": "audio", "column": "clip", "encoder": {"name": "voice_functionals"}},
    }
    assert parse_config(raw).modalities["sound"].column == "clip"

    raw["modalities"]["sound"]["kind"] = "video"
    with pytest.raises(
        ConfigError, match=r"'clip' is named by both modalities\.scene\.column and "
    ):
        parse_config(raw)


def test_a_modality_without_a_column_is_refused():
    raw = copy.deepcopy(MINIMAL)
    del raw["modalities"]["text"]["column"]

    with pytest.raises(ConfigError, match=r"`modalities\.text`: kind text reads one column"):
        parse_config(raw)


def test_every_problem_is_listed_at_once():
    raw = change("train.epochs", 0) | {"extra": 1}

    with pytest.raises(ConfigError, match="has 2 problems"):
        parse_config(raw)


def test_numbers_in_scientific_notation_are_numbers(tmp_path):
    # YAML 1.1 readers take 1e-3 for a text; DVC and we read YAML 1.2.
    path = tmp_path / "params.yaml"
    path.write_text(
        "version: 2\nmodalities: {t: {kind: text, column: c, encoder: {name: minilm}}}\n"
        "targets: {y: {kind: multiclass, column: y}}\ntrain: {learning_rate: 1e-3}\n"
    )

    assert read_config(path).train.learning_rate == 0.001


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "params.yaml not found in .*mm use sample"),
        ("a: [1", "not valid YAML: while"),
        (
            "a:\n\tb: 1",
            "not valid YAML; it is indented with a tab, and YAML takes spaces alone: wh",
        ),
        ("- 1", "must hold a mapping of sections, got list"),
        ("\xff".encode("latin-1"), "must be UTF-8"),
    ],
)
def test_an_unreadable_file_says_why(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ConfigError, match=message):
        read_config(path)
