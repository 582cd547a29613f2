"""What data says about itself."""

import json

import pytest

from mm_assets.contracts.errors import SourceError
from mm_assets.data.card import read_card


def test_a_card_is_read_and_none_is_empty(tmp_path):
    path = tmp_path / "card.json"
    assert read_card(path) == {}
    for card in ({"title": "mine"}, {"schema_version": 1, "title": "ours"}):
        path.write_text(json.dumps(card))
        assert read_card(path) == card


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"card.json must hold a JSON object \(Expecting .*\); mend or delete it"),
        ("[1]", r"must hold a JSON object \(it holds a list\); mend or delete it"),
        ('{"schema_version": 0}', r"schema version 0, this release reads 1; make the data anew"),
        ('{"schema_version": 2}', r"schema version 2, this release reads 1"),
    ],
)
def test_a_damaged_or_older_card_is_named(tmp_path, text, message):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(SourceError, match=message):
        read_card(tmp_path / "card.json")
