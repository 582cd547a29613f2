import av
import numpy
import PIL
import pytest
import tokenizers

from mm_assets.data.versions import decoding_versions
from mm_assets.modalities.base import list_kinds


@pytest.mark.parametrize(
    ("kind", "library"),
    [("text", tokenizers), ("image", PIL), ("audio", av), ("features", numpy), ("tabular", numpy)],
)
def test_the_version_is_that_of_the_library_in_use(kind, library):
    assert list(decoding_versions(kind).values()) == [library.__version__]


def test_every_kind_states_what_decodes_it():
    for kind in list_kinds():
        assert decoding_versions(kind)
