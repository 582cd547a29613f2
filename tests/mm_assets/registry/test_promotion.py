import json
import os
import re
import shutil
import signal
import sys
import threading
import time

import numpy as np
import pytest

from mm_assets.contracts.errors import RegistryError, StageError
from mm_assets.contracts.report import ExpectationResult, SuiteResult
from mm_assets.data.lock import hold_lock
from mm_assets.registry.folders import digest_files, model_folder, publish
from mm_assets.registry.promotion import promote, publish_champion, roll_back
from mm_assets.registry.record import GATES, read_registry, write_registry
from mm_assets.serving.predictor import Predictor

pytestmark = pytest.mark.slow  # each promotes once or more

SHARP, DULL, NEITHER = 0, 1, None


def failed(outcome):
    return {gate.name for gate in outcome.model.verdict.gates if not gate.passed}


def claim_of(outcome, gate):
    [claim] = next(g for g in outcome.model.verdict.gates if g.name == gate).claims
    return claim


def registry_of(pipeline):
    return read_registry(pipeline.workspace.registry)


def promote_two(pipeline):
    """Make two champions, one after the other; the second answers a little more surely."""
    pipeline.export()
    first = promote(pipeline.root).name
    pipeline.export(sure=1.1)
    second = promote(pipeline.root)
    assert second.what == "promoted"
    return first, second.name


def test_the_first_model_is_compared_with_the_best_constant_answer(pipeline):
    pipeline.export()
    outcome = promote(pipeline.root)

    assert (outcome.what, outcome.champion) == ("promoted", outcome.name)
    assert list(GATES) == [gate.name for gate in outcome.model.verdict.gates]
    worse = claim_of(outcome, "candidate_is_not_worse")
    # By construction: sharp is right in 90 %, and half the rows are of either class.
    assert (worse.candidate, worse.champion) == (0.9, 0.5)
    assert worse.threshold == pytest.approx(0.47)
    for gate in ("candidate_is_calibrated", "candidate_is_fast_enough"):
        assert claim_of(outcome, gate).note == "no champion yet"
    assert re.fullmatch(r"\d{8}-[0-9a-f]{8}", outcome.name)


def test_what_is_served_is_a_copy_that_answers_like_the_export(pipeline):
    pipeline.export()
    promote(pipeline.root)
    rows = [{"left": [1, 1]}, {"left": [1, -1], "right": [-1, 1]}]
    served = Predictor(pipeline.workspace.registry / "champion", threads=1).predict(rows)
    assert served == Predictor(pipeline.workspace.onnx, threads=1).predict(rows)
    pipeline.export(left=DULL, right=DULL)
    again = Predictor(pipeline.workspace.registry / "champion", threads=1).predict(rows)
    assert again == served


def test_a_first_model_no_better_than_a_constant_may_pass_but_a_worse_one_may_not(pipeline):
    pipeline.export(left=DULL, right=DULL, sure=-1)  # it says the opposite: right in 30 %
    outcome = promote(pipeline.root)
    assert outcome.what == "refused"
    assert outcome.champion is None
    assert {"candidate_is_not_worse", "worst_subset_is_not_worse"} <= failed(outcome)


@pytest.mark.parametrize(
    ("change", "gates", "message"),
    [
        (
            # It is as sure as the other, and wrong more often.
            {"left": DULL, "right": DULL},
            {"candidate_is_not_worse", "worst_subset_is_not_worse", "candidate_is_calibrated"},
            r"candidate_is_not_worse: mood: accuracy: candidate 0\.7, champion 0\.9, needed at least "
            r"0\.87 \(.*worse beyond chance",
        ),
        (
            # The right one has the last word, so that rows as they are lose nothing.
            {"left": NEITHER, "sure": 1.0},
            {"worst_subset_is_not_worse"},
            r"worst_subset_is_not_worse: mood: accuracy of the worst subset: candidate 0\.5, champion "
            r"0\.9, needed at least 0\.85 \(.*left fell from 0\.9000 to 0\.5000",
        ),
        (
            {"sure": 0.1},
            {"candidate_is_calibrated"},
            r"candidate_is_calibrated: mood: expected calibration error: candidate 0\.\d+, champion "
            r"0\.\d+, needed at most 0\.\d+",
        ),
        (
            {"off": 0.01, "sure": 1.001},
            {"candidate_matches_pytorch"},
            r"candidate_matches_pytorch: mood: largest difference from what was evaluated: candidate "
            r"0\.01, champion 0, needed at most 0\.0001",
        ),
    ],
    ids=lambda value: "-".join(sorted(value)) if isinstance(value, set) else "",
)
def test_a_gate_refuses_what_it_is_for_and_names_both_values(pipeline, change, gates, message):
    pipeline.export()
    champion = promote(pipeline.root).name
    pipeline.export(**change)
    outcome = promote(pipeline.root)

    assert outcome.what == "refused"
    assert failed(outcome) == gates
    assert re.search(message, outcome.explain()), outcome.explain()
    registry = registry_of(pipeline)
    assert registry.champion == champion
    assert registry.models[outcome.name].state == "refused"
    assert registry.history[-1].what == "refused"
    assert re.search(message, registry.history[-1].reason)
    assert digest_files(model_folder(pipeline.workspace, outcome.name)) == outcome.model.files
    assert (pipeline.workspace.registry / "champion").resolve().name == champion


def test_a_candidate_that_takes_too_long_is_refused(pipeline, monkeypatch):
    promote_two(pipeline)
    pipeline.export(sure=1.01)
    monkeypatch.setattr("mm_assets.registry.trial.time_rows", lambda *_, **__: (5.0, 1.0))
    outcome = promote(pipeline.root)
    assert (outcome.what, failed(outcome)) == ("refused", {"candidate_is_fast_enough"})
    message = "median milliseconds a row: candidate 5, champion 1, needed at most 4"
    assert message in outcome.explain()


def test_an_equal_model_passes_with_no_difference(pipeline):
    pipeline.export()
    promote(pipeline.root)
    pipeline.export(sure=1 + 1e-6)
    outcome = promote(pipeline.root)
    assert outcome.what == "promoted"
    for gate in ("candidate_is_not_worse", "worst_subset_is_not_worse", "candidate_is_calibrated"):
        claim = claim_of(outcome, gate)
        assert claim.candidate == pytest.approx(claim.champion, abs=1e-6)


def test_the_thresholds_are_those_of_the_parameters(pipeline):
    pipeline.export()
    promote(pipeline.root)
    pipeline.params["promotion"] |= {"worse_by": 0.25, "subset_worse_by": 0.25, "alpha": 1e-6}
    pipeline.params["promotion"]["miscalibrated_by"] = 1.0
    pipeline.write()
    pipeline.export(left=DULL, right=DULL)
    assert promote(pipeline.root).what == "promoted"


def test_promoting_the_champion_again_changes_nothing(pipeline):
    pipeline.export()
    promote(pipeline.root)
    before = (pipeline.workspace.registry / "registry.json").read_bytes()
    assert promote(pipeline.root).what == "unchanged"
    assert (pipeline.workspace.registry / "registry.json").read_bytes() == before


def test_a_person_may_overrule_the_gates_with_a_reason(pipeline):
    pipeline.export()
    promote(pipeline.root)
    pipeline.export(left=DULL, right=DULL)
    with pytest.raises(RegistryError, match="--force needs a reason"):
        promote(pipeline.root, force=" ")
    outcome = promote(pipeline.root, force="the old one may no longer be used")
    assert (outcome.what, outcome.champion) == ("forced", outcome.name)
    assert "candidate_is_not_worse" in failed(outcome)
    event = registry_of(pipeline).history[-1]
    assert (event.what, event.reason) == ("forced", "the old one may no longer be used")


def test_models_with_other_targets_are_compared_by_nobody(pipeline):
    pipeline.export()
    champion = promote(pipeline.root).name
    pipeline.export(classes=["glad", "sad"])
    message = (
        r"the candidate answers mood: multiclass \(glad, sad\) but the champion \S+ answers mood: "
        r"multiclass \(sad, glad\).*`targets` in params\.yaml.*mm promote --force"
    )
    with pytest.raises(RegistryError, match=message):
        promote(pipeline.root)
    assert registry_of(pipeline).champion == champion
    assert promote(pipeline.root, force="the classes are new").what == "forced"


def test_a_champion_of_another_release_is_replaced_by_a_person_alone(pipeline):
    pipeline.export()
    champion = promote(pipeline.root).name
    registry = registry_of(pipeline)
    old = model_folder(pipeline.workspace, champion)
    signature = json.loads((old / "signature.json").read_text())
    (old / "signature.json").write_text(json.dumps(signature | {"schema_version": 1}))
    files = digest_files(old)
    model = registry.models[champion].model_copy(update={"files": files})
    changed = registry.model_copy(update={"models": {champion: model}})
    write_registry(pipeline.workspace.registry, changed)
    pipeline.export(sure=1.1)
    with pytest.raises(RegistryError, match=r"champion cannot be asked.*schema version 1.*--force"):
        promote(pipeline.root)
    assert promote(pipeline.root, force="a new release").what == "promoted"


def test_a_modality_that_the_champion_does_not_know_is_not_given_to_it(pipeline):
    pipeline.export()
    promote(pipeline.root)
    pipeline.export(sure=1.1, more="third")
    outcome = promote(pipeline.root)
    assert outcome.what == "promoted"
    note = claim_of(outcome, "worst_subset_is_not_worse").note
    assert "3 of 3 subsets" in note, "those of left and right"


# Which rows are asked.


def test_rows_that_either_was_trained_on_are_left_out_and_counted(pipeline):
    pipeline.rows.loc[:9, "split"] = "train"
    pipeline.rows.loc[100:119, "split"] = "train"  # by whatever means: a new seed, say
    pipeline.write()
    pipeline.export()
    champion = promote(pipeline.root).name
    pipeline.rows.loc[100:119, "split"] = "test"
    pipeline.rows.loc[109, "id"] = "renamed"
    pipeline.write()
    pipeline.export(sure=1.1)
    verdict = promote(pipeline.root).model.verdict
    assert verdict.left_out == {f"trained on by {champion}": 20}
    assert verdict.rows == 180


def test_too_few_rows_that_neither_has_seen_are_no_evidence(pipeline):
    pipeline.export()
    champion = promote(pipeline.root).name
    pipeline.rows["split"] = pipeline.rows["split"].map(
        {"train": "test", "validation": "validation", "test": "train"}
    )
    pipeline.write()
    pipeline.export(sure=1.1)
    message = (
        "needs at least 30 test rows with a label of mood that neither was trained on, got 0 "
        rf"\(60 trained on by {champion}, left out\); add data, or lower `promotion.rows`"
    )
    with pytest.raises(RegistryError, match=message):
        promote(pipeline.root)
    assert registry_of(pipeline).champion == champion


# Rolling back.


def test_one_command_puts_the_previous_champion_back(pipeline):
    first, second = promote_two(pipeline)
    outcome = roll_back(pipeline.root, reason="complaints")

    assert (outcome.what, outcome.champion) == ("rolled back", first)
    registry = registry_of(pipeline)
    assert registry.models[second].state == "taken_back"
    event = registry.history[-1]
    assert (event.model, event.instead_of, event.reason) == (first, second, "complaints")
    assert (pipeline.workspace.registry / "champion").resolve().name == first
    with pytest.raises(RegistryError, match=f"there is no champion before {first}"):
        roll_back(pipeline.root)


def test_what_was_rolled_back_is_promoted_again_by_a_person_alone(pipeline):
    _, second = promote_two(pipeline)
    roll_back(pipeline.root)
    outcome = promote(pipeline.root)
    assert outcome.what == "taken back"
    assert "is not promoted again by itself" in outcome.explain()
    assert promote(pipeline.root, force="mended the client").champion == second


def test_roll_back_takes_an_earlier_champion_by_id_and_no_other(pipeline):
    first, second = promote_two(pipeline)
    pipeline.export(left=DULL, right=DULL)
    refused = promote(pipeline.root).name
    origins = pipeline.workspace.origin(first).root.parent
    assert {path.name for path in origins.iterdir()} == {first, second}
    for name, message in (
        (refused, f"{refused} is refused and never was champion; .*{first}"),
        (second, f"{second} is the champion already"),
        ("20200101-00000000", f"no model '20200101-00000000' in the registry; it has .*{first}"),
    ):
        with pytest.raises(RegistryError, match=message):
            roll_back(pipeline.root, name)
    assert roll_back(pipeline.root, first).champion == first
    assert roll_back(pipeline.root, second).champion == second


def test_nothing_is_rolled_back_to_files_that_are_not_what_was_registered(pipeline):
    first, second = promote_two(pipeline)
    (model_folder(pipeline.workspace, first) / "model.onnx").write_bytes(b"other")
    with pytest.raises(RegistryError, match=rf"model {first} must be as it was.*model\.onnx"):
        roll_back(pipeline.root)
    assert registry_of(pipeline).champion == second


# What is not ready.


def test_a_pipeline_that_stopped_at_its_checks_has_no_candidate(pipeline):
    pipeline.export()
    result = ExpectationResult(
        expectation="beats", success=False, expected="more than 0.5", observed="0.4"
    )
    pipeline.report("evaluate", suites=[SuiteResult(name="beats_baselines", results=(result,))])
    with pytest.raises(RegistryError, match="stage evaluate stopped at its checks"):
        promote(pipeline.root)
    assert not (pipeline.workspace.registry / "registry.json").exists()


def test_an_evaluation_of_other_rows_is_told(pipeline):
    pipeline.export()
    pipeline.rows.loc[279, "id"] = "new"
    pipeline.write()
    with pytest.raises(RegistryError, match=r"no answer to test row 'new' .*of another run"):
        promote(pipeline.root)


def test_a_stage_that_has_not_run_is_named(pipeline):
    pipeline.export()
    pipeline.workspace.report("card").unlink()
    with pytest.raises(StageError, match=r"report .*card\.json not found"):
        promote(pipeline.root)
    pipeline.report("card")
    (pipeline.workspace.card / "model_card.html").unlink()
    with pytest.raises(RegistryError, match=r"needs artifacts/card/model_card\.html, .*dvc repro"):
        promote(pipeline.root)


def test_one_change_at_a_time(pipeline):
    pipeline.export()
    with (
        hold_lock(pipeline.workspace.lock("registry"), what="x"),
        pytest.raises(StageError, match="a change of the registry is already running"),
    ):
        promote(pipeline.root)


def test_there_is_nothing_to_publish_or_roll_back_at_first(pipeline):
    with pytest.raises(RegistryError, match="no champion yet; make one with `mm promote`"):
        publish_champion(pipeline.root)
    with pytest.raises(RegistryError, match="no champion to roll back"):
        roll_back(pipeline.root)


# Whatever happens in between.

CHANGES = {"os.rename", "os.symlink", "os.link", "os.mkdir", "os.remove", "os.rmdir"}


def run_killed(action, root, at):
    """Run an action in a process that is killed before its `at`-th change of a file; tell if it was."""
    child = os.fork()
    if child == 0:
        left = [at]

        def watch(event, args):
            writes = event == "open" and isinstance(args[2], int) and args[2] & 3 != os.O_RDONLY
            ours = writes or event in CHANGES
            if ours and any(name in str(args[0]) for name in ("registry", "origins")):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        status = 1
        try:
            action(root)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def leftovers(pipeline):
    known = {*registry_of(pipeline).models}
    models = {path.name for path in (pipeline.workspace.registry / "models").iterdir()}
    others = {path.name for path in pipeline.workspace.registry.iterdir()}
    return (models - known) | (others - {"models", "registry.json", "champion", ".gitignore"})


@pytest.mark.parametrize("action", [promote, roll_back])
def test_a_kill_between_any_two_steps_is_completed_or_undone_by_the_next_command(pipeline, action):
    pipeline.params["evaluation"]["bootstrap"] = 100
    pipeline.write()
    first, _ = promote_two(pipeline)
    pipeline.export(sure=1.2)
    origins = pipeline.workspace.origin(first).root.parent
    saved = pipeline.root / "saved"
    saved.mkdir()
    for folder in (pipeline.workspace.registry, origins):
        folder.rename(saved / folder.name)
    at, killed = 0, True
    while killed:
        for folder in (pipeline.workspace.registry, origins):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(saved / folder.name, folder, symlinks=True)
        killed = run_killed(action, pipeline.root, at)
        link = (pipeline.workspace.registry / "champion").resolve()
        assert (link / "model.onnx").is_file(), "a reader finds a model at any time"
        if action is promote:
            new = promote(pipeline.root)
            assert new.what in ("promoted", "unchanged")
            champion = new.name
        else:
            # Killed after it was decided, it is completed; before, nothing has happened.
            decided = registry_of(pipeline).champion
            champion = decided if decided == first else roll_back(pipeline.root).champion
            publish_champion(pipeline.root)
            assert champion == first
        registry = registry_of(pipeline)
        assert registry.champion == champion
        assert (pipeline.workspace.registry / "champion").resolve().name == champion
        assert pipeline.workspace.origin(champion).augmented.is_dir()
        for name, model in registry.models.items():
            assert digest_files(model_folder(pipeline.workspace, name)) == model.files
        assert leftovers(pipeline) <= {".champion"} | {
            name for name in leftovers(pipeline) if name.startswith((".registry.json", ".champion"))
        }
        at += 1
    assert at > (15 if action is promote else 3), "it was killed at each step"


def test_a_reader_sees_the_old_model_or_the_new_one(pipeline):
    first, second = promote_two(pipeline)
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            folder = (pipeline.workspace.registry / "champion").resolve(strict=True)
            assert (folder / "model.onnx").is_file()
            seen.add(folder.name)

    failures = []
    threading.excepthook, before = failures.append, threading.excepthook
    reader = threading.Thread(target=read)
    reader.start()
    turn, ends = 0, time.monotonic() + 60
    # The reader has its turn when the machine gives it one.
    while turn < 300 or (seen != {first, second} and time.monotonic() < ends):
        publish(pipeline.workspace, (first, second)[turn % 2])
        turn += 1
    stop.set()
    reader.join()
    threading.excepthook = before
    assert not failures
    assert seen == {first, second}


def test_a_folder_in_the_place_of_the_link_is_not_overwritten(pipeline):
    (pipeline.workspace.registry / "champion").mkdir(parents=True)
    pipeline.export()
    with pytest.raises(RegistryError, match=r"registry/champion must be the link .*is a folder"):
        promote(pipeline.root)


def test_the_answers_of_both_models_are_what_their_users_would_get(pipeline):
    """A subset's answers are those to rows that have nothing else."""
    from mm_assets.registry.trial import AS_GIVEN, answer_subsets

    pipeline.rows.loc[::7, "left"] = None
    pipeline.rows.loc[3::7, "right"] = None
    pipeline.export()
    rows = pipeline.rows.iloc[:40]
    predictor = Predictor(pipeline.workspace.onnx, threads=1)
    found = answer_subsets(
        predictor, rows, [("left",), ("left", "right")], folder=pipeline.root / "data"
    )
    for at, row in enumerate(rows[["left", "right"]].to_dict("records")):
        cells = {key: cell for key, cell in row.items() if isinstance(cell, str)}
        for subset in (AS_GIVEN, ("left",), ("left", "right")):
            shown = {key: cells[key] for key in subset or cells if key in cells}
            answer = found[subset]["mood"][at]
            if set(subset) <= set(cells):
                expected = predictor.compute([shown])["mood"][0]
                np.testing.assert_allclose(answer, expected, rtol=1e-6)
            else:
                assert np.isnan(answer).all()
