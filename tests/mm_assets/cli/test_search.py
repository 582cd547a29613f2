import pytest


@pytest.fixture
def searchable(embedded, monkeypatch):
    """Today's learning rate is far too low."""
    embedded.params["train"] = {"epochs": 4, "learning_rate": 0.0001, "seeds": 1}
    space = {"train.learning_rate": [0.01, 0.03]}
    embedded.params["search"] = {"space": space, "trials": 2}
    embedded.load()
    monkeypatch.chdir(embedded.root)
    return embedded.root


@pytest.mark.slow
def test_a_search_shows_its_trials_and_what_it_proposes_and_edits_when_asked(searchable, run):
    before = (searchable / "params.yaml").read_text()
    output = run("search")
    assert "params.yaml as it is" in output
    assert output.count("train.learning_rate=0.0") == 2
    assert "proposed:\n  train.learning_rate: 0.0001 -> 0.0" in output
    assert "every trial drawn: .mm/search/history.svg" in output
    assert (searchable / "params.yaml").read_text() == before
    assert run("search", "--show") == output

    output = run("search", "--apply")
    assert "params.yaml has changed:\n  train.learning_rate: 0.0001 -> 0.0" in output
    assert "kept as params.yaml.bak; now run `dvc repro`" in output
    assert (searchable / "params.yaml.bak").read_text() == before
    assert (searchable / "params.yaml").read_text() != before


def test_options_that_contradict_each_other_are_refused(searchable, run):
    assert "take one of" in run("search", "--show", "--apply", status=2)
