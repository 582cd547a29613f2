import dagster as dg
import pytest

from orchestration.defs.retraining import PIPELINE
from orchestration.defs.search import search_job

pytestmark = pytest.mark.slow  # each starts Dagster anew

SEARCH = dg.AssetKey("hyperparameter_search")


def test_only_its_job_runs_it():
    from orchestration.definitions import defs

    definitions = defs()
    graph = definitions.resolve_asset_graph()
    assert not graph.get(SEARCH).is_executable  # so *Materialize all* leaves it out
    assert SEARCH not in PIPELINE.resolve(graph)
    assert list(definitions.resolve_job_def("search").graph.node_dict) == [SEARCH.path[0]]
    names = {key.to_user_string() for key in graph.get(SEARCH).parent_keys}
    assert {"augmented_samples", "text_embeddings"} <= names


def test_a_pipeline_without_samples_has_none(root):
    from orchestration.definitions import defs

    assert SEARCH not in defs().resolve_asset_graph().get_all_asset_keys()


def launch(project, monkeypatch, **config):
    monkeypatch.setenv("MM_PROJECT", str(project.root))
    with dg.DagsterInstance.ephemeral() as instance:
        result = search_job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {"hyperparameter_search": {"config": config}}},
        )
        return result, instance.get_latest_materialization_event(SEARCH)


def test_its_metadata_shows_proposal_trials_and_picture_and_params_stay(embedded, monkeypatch):
    embedded.params["train"] = {"epochs": 3, "learning_rate": 0.0001, "seeds": 1}
    embedded.params["search"] = {"space": {"train.learning_rate": [0.01, 0.03]}}
    embedded.load()
    before = (embedded.root / "params.yaml").read_bytes()
    result, event = launch(embedded, monkeypatch, trials=2)
    assert result.success
    metadata = event.asset_materialization.metadata
    (change,) = metadata["proposal"].records
    assert change.data["key"] == "train.learning_rate"
    assert change.data["old"] == "0.0001"
    assert [record.data["trial"] for record in metadata["trials"].records] == [1, 2]
    assert metadata["history"].value.startswith("![history](data:image/svg+xml;base64,")
    assert metadata["expected_gain_nats"].value > 0
    assert (embedded.root / "params.yaml").read_bytes() == before


def test_wrong_parameters_fail_the_run_with_their_message(embedded, monkeypatch):
    embedded.params["search"] = {"space": {"export.enabled": [True, False]}}
    embedded.load()
    result, event = launch(embedded, monkeypatch)
    assert event is None
    (failure,) = [step for step in result.all_events if step.is_step_failure]
    said = failure.step_failure_data.user_failure_data.description
    assert "only keys of `fusion`, `train` and" in said
