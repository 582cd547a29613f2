"""What is remembered from run to run."""

from orchestration.retraining.state import State, read_state, write_state


def test_the_persons_data_are_remembered_until_a_batch_is_added_to_them(tmp_path):
    first = State().begin("a").model_copy(update={"copied": "3 files"}).finish("v1")
    assert (first.persons_state, first.persons_data) == ("3 files", "v1")
    write_state(tmp_path, first)
    second = read_state(tmp_path).begin("b")
    assert second == State(run="b", persons_state="3 files", persons_data="v1")

    grown = second.model_copy(update={"copied": "4 files", "batches": {"monday": "state"}}).finish(
        "v2"
    )
    assert (grown.persons_state, grown.persons_data) == ("4 files", "v1")
    assert second.finish("v3") == second.model_copy(update={"done": True})  # nothing was copied


def test_batches_that_an_earlier_release_wrote_as_names_count_as_changed_since():
    assert State.model_validate_json('{"batches": ["monday"]}').batches == {"monday": ""}
    assert State.model_validate_json('{"batches": []}').batches == {}
