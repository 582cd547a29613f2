import pytest

from mm_assets.contracts.workspace import Workspace
from mm_assets.registry.merging import adopt, merge_registries
from mm_assets.registry.record import Event, Model, Registry, read_registry, write_registry


def add(registry, *names):
    models = {
        name: Model(
            made="2026", state="candidate", digest=name, files={}, params="p", data=None, metrics={}
        )
        for name in names
    }
    return registry.model_copy(update={"models": {**registry.models, **models}})


def promote(registry, name, at):
    event = Event(at=at, what="promoted", model=name, instead_of=registry.champion)
    return add(registry, name).crown(name, event=event)


def refuse(registry, name, at):
    event = Event(at=at, what="refused", model=name, instead_of=registry.champion, reason="worse")
    changed = add(registry, name).change(name, "refused")
    return changed.model_copy(update={"history": (*registry.history, event)})


def roll_back(registry, name, at):
    event = Event(at=at, what="rolled back", model=name, instead_of=registry.champion)
    return registry.crown(name, event=event)


BASE = promote(promote(Registry(), "a", "1"), "b", "2")


def test_a_registry_that_knows_all_is_what_comes_of_it():
    grown = roll_back(refuse(promote(BASE, "c", "3"), "d", "4"), "b", "5")
    assert merge_registries(grown, BASE) == grown
    assert merge_registries(BASE, grown).model_dump() == grown.model_dump()


@pytest.mark.parametrize(
    ("mine", "theirs", "champion", "states"),
    [
        (promote(BASE, "c", "4"), promote(BASE, "d", "3"), "c", {"b": "retired", "d": "retired"}),
        (promote(BASE, "c", "3"), promote(BASE, "d", "4"), "d", {"b": "retired", "c": "retired"}),
        (promote(BASE, "c", "3"), roll_back(BASE, "a", "4"), "a", {"c": "taken_back"}),
        (promote(BASE, "c", "4"), roll_back(BASE, "a", "3"), "c", {"b": "taken_back"}),
        (refuse(BASE, "c", "3"), refuse(BASE, "d", "4"), "b", {"c": "refused", "d": "refused"}),
    ],
)
def test_what_happened_last_decides_wherever_it_did(mine, theirs, champion, states):
    for merged in (merge_registries(mine, theirs), merge_registries(theirs, mine)):
        assert merged.champion == champion
        assert merged.models.keys() == mine.models.keys() | theirs.models.keys()
        assert [event.at for event in merged.history] == ["1", "2", "3", "4"]
        assert states.items() <= {name: one.state for name, one in merged.models.items()}.items()


def test_what_one_side_pruned_does_not_come_back_unless_it_is_the_champion():
    def without(registry, name):
        kept = {key: one for key, one in registry.models.items() if key != name}
        return registry.model_copy(update={"models": kept})

    assert "a" not in merge_registries(without(BASE, "a"), promote(BASE, "c", "3"), BASE).models
    merged = merge_registries(without(BASE, "a"), roll_back(BASE, "a", "3"), BASE)
    assert merged.champion == "a"
    assert "a" in merge_registries(without(BASE, "a"), BASE).models  # from what, is not known


def test_taking_over_brings_records_and_what_dvc_needs_to_find_the_files(tmp_path):
    mine, theirs = Workspace(tmp_path / "mine"), Workspace(tmp_path / "theirs")
    for workspace in (mine, theirs):
        (workspace.registry / "models").mkdir(parents=True)
    write_registry(mine.registry, BASE)
    write_registry(theirs.registry, promote(BASE, "c", "3"))
    (theirs.registry / "models" / "c.dvc").write_text("outs: []")
    before = (theirs.registry / "registry.json").read_bytes()

    assert adopt(mine, theirs)
    assert read_registry(mine.registry) == read_registry(theirs.registry)
    assert (mine.registry / "models" / "c.dvc").read_text() == "outs: []"
    assert (mine.registry / ".gitignore").read_text() == "/champion\n/.champion.*\n/models/*/\n"
    assert not adopt(mine, theirs)
    assert (theirs.registry / "registry.json").read_bytes() == before
