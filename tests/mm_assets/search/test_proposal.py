import difflib

import pytest

from mm_assets.contracts.errors import ConfigError, StageError
from mm_assets.contracts.workspace import Workspace
from mm_assets.search.proposal import Change, apply_proposal, edit_params, read_proposal

TEXT = """\
version: 2   # of the schema
modalities:
  text: {kind: text, column: words, encoder: {name: minilm}}
targets: {mood: {kind: multiclass, column: 'feeling'}}

# how they meet
fusion: {name: gated}    # or concat, weighted
train:
  epochs: 50   # at most
  learning_rate: 1e-3
"""


def test_only_the_lines_of_changed_keys_differ_and_comments_stay():
    changed = edit_params(
        TEXT,
        {
            "fusion.name": Change(old="gated", new="late"),
            "train.learning_rate": Change(old=0.001, new=0.00052),
            "train.ema": Change(old=None, new=0.99),
            "targets.mood.loss.focal": Change(old=None, new=2.0),
        },
    )
    lines = difflib.unified_diff(TEXT.splitlines(), changed.splitlines(), n=0, lineterm="")
    assert [line for line in lines if line[0] in "+-" and line[1] not in "+-"] == [
        "-targets: {mood: {kind: multiclass, column: 'feeling'}}",
        "+targets: {mood: {kind: multiclass, column: 'feeling', loss: {focal: 2.0}}}",
        "-fusion: {name: gated}    # or concat, weighted",
        "+fusion: {name: late}     # or concat, weighted",
        "-  learning_rate: 1e-3",
        "+  learning_rate: 0.00052",
        "+  ema: 0.99",
    ]


def test_a_key_that_has_changed_since_is_not_overwritten():
    with pytest.raises(
        ConfigError, match=r"`train.epochs` is 50, but the proposal was compared with 100; run `mm"
    ):
        edit_params(TEXT, {"train.epochs": Change(old=100, new=10)})


def test_without_a_search_there_is_no_proposal(tmp_path):
    with pytest.raises(StageError, match=r"no proposal yet; `mm search` makes one"):
        apply_proposal(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"is damaged: .*`mm search` makes it anew"),
        ("schema_version: 2", r"`schema_version`: input should be 1, got 2"),
    ],
)
def test_a_proposal_that_cannot_be_read_says_so(tmp_path, text, message):
    folder = Workspace(tmp_path).search
    folder.mkdir(parents=True)
    (folder / "proposal.yaml").write_text(text)
    with pytest.raises(StageError, match=r"(?s)" + message):
        read_proposal(Workspace(tmp_path))
