import pytest

from mm_assets.contracts.errors import ConfigError
from mm_assets.search.space import compose, list_keys, read_space


def read(embedded, space, **changes):
    embedded.params |= {"search": {"space": space}, **changes}
    return read_space(embedded.load())


def test_the_default_space_is_one_that_every_key_takes(embedded):
    space = read_space(embedded.load())
    assert space[0].key == "fusion.name"
    assert "train.learning_rate" in {one.key for one in space}


def test_bounds_are_whole_where_the_key_takes_whole_numbers_alone(embedded):
    space = read(
        embedded,
        {
            "fusion.dim": {"low": 8, "high": 64, "log": True},
            "fusion.dropout": {"low": 0, "high": 0.5},
            "train.modality_dropout": {"low": 0.0, "high": 0.5},
            "train.weight_decay": {"low": 1, "high": 3},
        },
    )
    assert {one.key: one.whole for one in space} == {
        "fusion.dim": True,
        "fusion.dropout": False,
        "train.modality_dropout": False,
        "train.weight_decay": False,
    }


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("export.enabled", [True, False], r"has `export.enabled`, but only keys of `fusion`"),
        ("modalities.clear.encoder.name", ["a", "b"], r"others change the rows or vectors"),
        ("targets.side.weight", [1.0, 2.0], r"`targets.TARGET.loss` can be searched"),
        ("train.learning_rat", [1e-3, 1e-2], r"not a known key; did you mean `learning_rate`\?"),
        ("train.learning_rate", [1e-3, -1], r"`train.learning_rate`: input should be greater"),
        ("fusion.dim", {"low": 0.5, "high": 9}, r"`fusion.dim`: input should be a valid integer"),
        ("fusion.dropout", {"low": 0.1, "high": 1}, r"`fusion.dropout`: input should be less than"),
        ("fusion.name", ["gated", "sum"], r"`fusion.name` must be one of .*, got 'sum'"),
        ("fusion.options.rank", [2, 4], r"no fusion that is tried has an option `rank`"),
        ("targets.mood.loss.focal", [0, 1], r"targets.mood"),
        ("train.finetune.clear.learning_rate", [1e-5, 1e-4], r"only where params.yaml itself has"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_work(embedded, key, values, message):
    with pytest.raises(ConfigError, match=message):
        read(embedded, {key: values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1], r"`search.space.fusion.dropout.choices`: list should have at least 2 items"),
        ({"low": 0.1}, r"must be a list of values, or bounds such as"),
        ({"low": 0.5, "high": 0.1}, r"with low below high"),
        ({"low": 0, "high": 0.1, "log": True}, r"`log: true` needs a low above 0, got 0"),
        ({"lo": 0, "high": 0.1}, r"not a known key; did you mean `low`\?"),
    ],
)
def test_values_that_are_neither_list_nor_bounds_are_refused(embedded, values, message):
    with pytest.raises(ConfigError, match=message):
        read(embedded, {"fusion.dropout": values})


def test_another_fusion_starts_with_its_own_options(embedded):
    embedded.params["fusion"] = {"name": "low_rank", "options": {"rank": 2}}
    project = embedded.load()
    same, other = (compose(project, {"fusion.name": name}) for name in ("low_rank", "gated"))
    assert same.fusion.options == {"rank": 2}
    assert other.fusion.options == {}
    chosen = compose(project, {"fusion.name": "transformer", "fusion.options.layers": 2})
    assert chosen.fusion.options == {"layers": 2}
    assert project.config.fusion.options == {"rank": 2}


def test_an_option_is_drawn_with_the_fusions_that_have_it(embedded):
    space = read(embedded, {"fusion.options.rank": [1, 2], "fusion.name": ["gated", "low_rank"]})
    assert [one.key for one in list_keys(space, "gated")] == ["fusion.name"]
    assert [one.key for one in list_keys(space, "low_rank")] == [
        "fusion.name",
        "fusion.options.rank",
    ]


def test_a_targets_loss_can_be_searched(embedded):
    (one,) = read(embedded, {"targets.side.loss.focal": {"low": 0, "high": 3}})
    assert not one.whole
    assert compose(embedded.load(), {one.key: 2.0}).targets["side"].loss == {"focal": 2.0}
