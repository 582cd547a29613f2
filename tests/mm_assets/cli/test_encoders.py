import pytest
from click.testing import CliRunner

from mm_assets.cli.main import mm
from mm_assets.contracts.errors import ConfigError
from mm_assets.encoders.base import list_encoders
from mm_assets.modalities.base import list_kinds


def ask(*arguments):
    result = CliRunner().invoke(mm, ["encoders", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_encoder_is_listed_under_its_kind():
    lines = ask().splitlines()
    assert {line for line in lines if not line.startswith(" ")} == set(list_kinds())
    assert {line.split()[0] for line in lines if line.startswith(" ")} == set(list_encoders())


def test_one_kind_is_listed_alone():
    assert [line.split()[0] for line in ask("events").splitlines()] == [
        "events",
        *list_encoders("events"),
    ]


def test_an_encoder_tells_what_it_takes_and_which_options_it_has():
    told = ask("tabular_mlp")
    assert "learns its network (supervised or contrastive)" in told
    assert "    hidden: 128\n" in told
    assert "https://arxiv.org/abs/1604.06737" in told


@pytest.mark.parametrize("name", list_encoders())
def test_each_encoder_can_be_described(name):
    assert f"{name}, for " in ask(name)


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match=r"'bert' is neither a kind of input \(audio, .* nor an"):
        ask("bert")
