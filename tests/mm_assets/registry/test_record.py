import json

import pytest

from mm_assets.contracts.errors import RegistryError
from mm_assets.registry.promotion import promote
from mm_assets.registry.record import Registry, read_registry, write_registry


def test_what_is_written_is_read_again(pipeline):
    pipeline.export()
    promote(pipeline.root)
    folder = pipeline.workspace.registry
    before = (folder / "registry.json").read_bytes()
    write_registry(folder, read_registry(folder))
    assert (folder / "registry.json").read_bytes() == before


def test_a_project_has_an_empty_registry_at_first(tmp_path):
    assert read_registry(tmp_path) == Registry()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<<<<<<< HEAD", r"registry\.json cannot be read: .*git checkout"),
        (
            json.dumps({"champion": "a"}),
            r"`champion` is a but the models in state champion are none",
        ),
        (json.dumps({"schema_version": 9}), "has schema version 9, this release reads 1"),
    ],
)
def test_a_damaged_registry_is_not_guessed_at(tmp_path, text, message):
    (tmp_path / "registry.json").write_text(text)
    with pytest.raises(RegistryError, match=f"(?s){message}"):
        read_registry(tmp_path)
