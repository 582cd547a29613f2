import pytest
from PIL import Image

from mm_assets.modalities.base import list_kinds, load_modality

OPTIONS = {
    "features": {"dim": 3},
    "signal": {"rate_hz": 250},
    "tabular": {"columns": {"age": "numeric"}},
}


def load(kind, **options):
    return load_modality(kind, {**OPTIONS.get(kind, {}), **options}, {}, where="modalities.x")


@pytest.mark.parametrize("kind", list_kinds())
def test_every_kind_names_what_decodes_it_and_which_options_are_limits(kind, monkeypatch):
    modality = load(kind)
    assert modality.options.limits <= set(type(modality.options).model_fields)
    told = modality.preprocessing()
    assert told["kind"] == kind
    assert not modality.options.limits & set(told["options"])
    monkeypatch.setattr("mm_assets.modalities.base.metadata.version", lambda name: "0")
    assert modality.preprocessing() != told


def test_a_limit_decides_which_cells_are_legal_and_not_what_they_are_decoded_to():
    assert load("image", max_megabytes=1.0).preprocessing() == load("image").preprocessing()


def test_a_picture_is_described_by_itself():
    picture = Image.new("RGB", (4, 3))
    sketch = load("image").describe(picture)
    assert (sketch.caption, sketch.picture) == ("4 x 3 pixels", picture)
