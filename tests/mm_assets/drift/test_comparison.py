import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from mm_assets.contracts.errors import SourceError, StageError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.table import read_augmented
from mm_assets.data.vectors import Embeddings, read_embeddings
from mm_assets.drift.batch import embed_batch, validate_batch
from mm_assets.drift.comparison import _pool, compare_batch
from mm_assets.drift.incoming import read_compared, sign_batch
from mm_assets.drift.ingestion import ingest_batch
from mm_assets.drift.reference import ReferenceChangedError
from mm_assets.drift.report import read_drift_report
from mm_assets.registry.origins import keep_origin
from mm_assets.stages.augment import augment
from mm_assets.stages.embed import embed
from mm_assets.stages.project import load_project
from mm_assets.stages.train import train
from mm_assets.stages.validate import validate

SPEC = importlib.util.spec_from_file_location(
    "drift_conftest", Path(__file__).with_name("conftest.py")
)
drift_conftest = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(drift_conftest)
PARAMS = drift_conftest.PARAMS
pytestmark = pytest.mark.slow  # the project is embedded and trained once


def by_title(report):
    return {one.title: one for one in report.compared}


def test_a_batch_of_the_same_kind_has_not_drifted(incoming, draw, read_bytes):
    folder = incoming.drop("b1", draw(np.random.default_rng(1), 30, first=1000))
    report = compare_batch(incoming.root, "b1")
    assert report.drifted == ()
    assert report.refusals == ()
    assert (report.rows_in, report.rows_kept) == (90, 90)
    assert set(by_title(report)) == {
        "text vectors", "scan vectors", "person vectors",
        "text presence", "scan presence", "person presence",
        "mood label", "score label", "age column", "region column",
        "mood answers", "score answers",
    }  # fmt: skip
    assert all(one.p_value is not None for one in report.compared)
    out = incoming.root / ".mm/drift/b1"
    assert read_drift_report(out) == report
    assert read_compared(load_project(incoming.root).workspace, "b1") == sign_batch(folder)
    before = read_bytes(out)
    compare_batch(incoming.root, "b1")
    assert read_bytes(out) == before
    page = (out / "page.html").read_text()
    assert "b1: " in page
    assert "no drift" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_what_has_drifted_is_named_and_nothing_else(incoming, draw):
    rows = draw(np.random.default_rng(2), 30, first=1000, shift=0.0)
    moved = [json.dumps((np.array(json.loads(v)) + 2).tolist()) for v in rows["vector"]]
    rows["vector"], rows["region"] = moved, "west"
    incoming.drop("b2", rows)
    report = compare_batch(incoming.root, "b2")
    titles = {one.title for one in report.drifted}
    assert {"scan vectors", "region column"} <= titles
    assert not titles & {"text vectors", "text presence", "mood label", "age column"}
    region = by_title(report)["region column"]
    assert region.unseen == ("west",)
    # All of the batch in a level that the reference lacks.
    assert region.levels[-1][0] == "west"
    assert region.levels[-1][1:] == (0, 1)
    scan = by_title(report)["scan vectors"]
    assert scan.adjusted >= scan.p_value
    assert len(scan.foreign) == 6
    page = (incoming.root / ".mm/drift/b2/page.html").read_text()
    assert "it has drifted" in page
    assert scan.foreign[0] in page


def test_a_channel_that_stays_away_is_drift(incoming, draw):
    rows = draw(np.random.default_rng(3), 30, first=1000).assign(words=None)
    incoming.drop("b3", rows)
    found = by_title(compare_batch(incoming.root, "b3"))
    assert found["text presence"].drifted
    assert found["text vectors"].note == "a test needs 2 groups on each side"
    assert found["text vectors"].statistic is None


def test_a_batch_without_labels_is_compared_by_all_else(incoming, draw):
    rows = draw(np.random.default_rng(4), 20, first=1000).drop(columns=["feeling", "points"])
    incoming.drop("b4", rows)
    found = by_title(compare_batch(incoming.root, "b4"))
    assert found["mood label"].note == found["score label"].note == "the batch has none"
    assert found["mood answers"].batch_rows == 60


def test_bad_rows_are_quarantined_with_their_reason(incoming, draw):
    rows = draw(np.random.default_rng(5), 10, first=1000)
    rows.loc[3, "vector"] = "[1, 2]"
    rows.loc[4, "feeling"] = "furious"
    rows.loc[6, "id"] = rows.loc[5, "id"]
    incoming.drop("b5", rows)
    report = compare_batch(incoming.root, "b5")
    assert (report.rows_in, report.rows_kept) == (30, 27)
    reasons = {reason: (count, example) for reason, count, example in report.reasons}
    assert reasons["id_duplicated"] == (1, rows.loc[5, "id"])
    assert reasons["label_unknown"] == (1, rows.loc[4, "id"])
    assert len(reasons) == 3


def test_a_batch_of_mostly_bad_rows_waits_for_a_person(incoming, draw):
    rows = draw(np.random.default_rng(6), 10, first=1000)
    rows.loc[:9, "feeling"] = "furious"
    incoming.drop("b6", rows)
    (refusal,) = compare_batch(incoming.root, "b6").refusals
    assert refusal == "10 of 30 rows are bad, `drift.quarantined_share` allows 20%"
    incoming.drop("b7", rows.loc[:9])
    report = compare_batch(incoming.root, "b7")
    assert report.refusals == ("none of its 10 rows is valid",)
    assert report.compared == ()


def test_ids_that_stand_for_something_else_are_a_refusal(incoming, draw):
    incoming.drop("b8", draw(np.random.default_rng(7), 10, first=0))
    (refusal,) = compare_batch(incoming.root, "b8").refusals
    assert refusal.startswith("30 ids are in data/ with another content: s0-0, s0-1")


def test_a_batchs_vectors_are_those_of_the_embed_stage(incoming, draw):
    """The rows of data/ themselves, as a batch: bit for bit, since both come from the store."""
    folder = incoming.root / "incoming/again"
    folder.mkdir(parents=True)
    (folder / "samples.csv").write_bytes((incoming.root / "data/samples.csv").read_bytes())
    project = load_project(incoming.root)
    batch = validate_batch(project, folder)
    rows = read_augmented(project.workspace.augmented, splits=["train", "validation", "test"])
    assert set(batch.samples["id"]) == set(rows["id"])
    for key in project.modalities:
        made = read_embeddings(project.workspace.embeddings(key))
        found = embed_batch(batch, key, made)
        originals = dict(
            zip(made.ids[made.copies == 0], made.matrix[made.copies == 0], strict=True)
        )
        assert set(found.ids) == set(originals)
        for name, vector in zip(found.ids, found.matrix, strict=True):
            assert np.array_equal(vector, originals[name])
        assert found.encoder["fingerprint"] == made.encoder["fingerprint"]
        for name, array in made.state.items():
            assert np.array_equal(found.state[name], array)


def test_no_test_row_is_read(incoming, draw):
    """Whatever test rows hold, the report is the same."""
    incoming.drop("b9", draw(np.random.default_rng(9), 20, first=1000))
    before = compare_batch(incoming.root, "b9")
    path = incoming.root / "artifacts/augmented/samples.parquet"
    rows = pd.read_parquet(path)
    rows.loc[
        rows["split"] == "test", ["feeling", "person", "words" if "words" in rows else "text"]
    ] = None
    rows.to_parquet(path)
    assert compare_batch(incoming.root, "b9") == before


def retrain_on(incoming, batch):
    """Do what a retraining does with a batch: in a tree of its own, which then serves."""
    tree = incoming.root / ".mm/worktrees/retraining"
    if not tree.is_dir():
        shutil.copytree(incoming.root, tree, ignore=shutil.ignore_patterns(".mm", "incoming"))
    project = load_project(tree)
    ingest_batch(batch, project.workspace, project.config)
    validate(project)
    augment(project)
    for key in project.modalities:
        embed(project, key)
    train(project)
    model = tree / "registry/models/m1"
    model.mkdir(parents=True)
    (incoming.root / "registry").mkdir()
    return incoming.root / "registry/champion", model


def test_what_retraining_has_learned_is_the_reference_once_it_is_served(incoming, draw):
    b1 = incoming.drop("b1", draw(np.random.default_rng(1), 60, first=1000).assign(region="west"))
    rows = draw(np.random.default_rng(2), 30, first=2000)
    west = draw(np.random.default_rng(3), 30, first=3000).assign(region="west")
    incoming.drop("b2", pd.concat([rows, west[::2]]))
    clash = draw(np.random.default_rng(4), 5, first=1000)
    incoming.drop("clash", clash)
    before = compare_batch(incoming.root, "b2")
    assert by_title(before)["region column"].drifted
    assert compare_batch(incoming.root, "clash").refusals == ()

    link, model = retrain_on(incoming, b1)
    assert compare_batch(incoming.root, "b2") == before  # nothing of it is served yet
    link.symlink_to(model)
    after = compare_batch(incoming.root, "b2")
    assert (before.reference, after.reference) == ("project", "retraining")
    assert after.drifted == ()
    page = (incoming.root / ".mm/drift/b2/page.html").read_text()
    assert "Compared with the rows and the model of branch retraining&#39;s artifacts/" in page
    (refusal,) = compare_batch(incoming.root, "clash").refusals
    assert refusal.startswith("15 ids are in the data of branch retraining with another content")
    # The worktree's parameters made that model, and the person's gates judge it.
    incoming.write_params(drift={"psi": 9.0}, seed=2, train={"epochs": 3, "seeds": 1})
    gates = compare_batch(incoming.root, "b2")
    assert gates == after.model_copy(update={"psi": 9.0})


@pytest.mark.parametrize("retrained", [True, False])
def test_the_champions_origin_is_the_reference_whatever_was_made_since(incoming, draw, retrained):
    incoming.drop("b1", draw(np.random.default_rng(1), 30, first=1000))
    before = compare_batch(incoming.root, "b1")
    tree = incoming.root / ".mm/worktrees/retraining" if retrained else incoming.root
    if retrained:
        shutil.copytree(incoming.root, tree, ignore=shutil.ignore_patterns(".mm", "incoming"))
    keep_origin(Workspace(tree), "m1")
    (tree / "registry/models/m1").mkdir(parents=True)
    (incoming.root / "registry").mkdir(exist_ok=True)
    (incoming.root / "registry/champion").symlink_to(tree / "registry/models/m1")
    shutil.rmtree(tree / "artifacts")
    (tree / "params.yaml").write_text((tree / "params.yaml").read_text().replace("dim: ", "dim: 1"))

    after = compare_batch(incoming.root, "b1")
    whose = {"reference": "retraining" if retrained else "project", "model": "m1"}
    assert after == before.model_copy(update=whose)
    page = (incoming.root / ".mm/drift/b1/page.html").read_text()
    assert "Compared with the champion m1 and the rows that it was trained on" in page


@pytest.mark.parametrize(
    "change", [{"targets": {"feeling": PARAMS["targets"]["mood"]}}, {"version": 1}]
)
def test_a_champion_of_other_targets_or_another_release_is_no_reference(incoming, draw, change):
    incoming.drop("b1", draw(np.random.default_rng(1), 30, first=1000))
    before = compare_batch(incoming.root, "b1")
    workspace = load_project(incoming.root).workspace
    keep_origin(workspace, "m1")
    (workspace.registry / "models/m1").mkdir(parents=True)
    (workspace.registry / "champion").symlink_to(workspace.registry / "models/m1")
    YAML().dump(PARAMS | change, workspace.origin("m1").params)
    assert compare_batch(incoming.root, "b1") == before


def test_another_encoder_than_the_models_is_an_error(incoming, draw):
    incoming.drop("b10", draw(np.random.default_rng(10), 5, first=1000))
    params = YAML(typ="safe").load(incoming.root / "params.yaml")
    params["modalities"]["text"]["encoder"]["dim"] = 64
    YAML().dump(params, incoming.root / "params.yaml")
    with pytest.raises(
        StageError, match=r"`modalities\.text` of params\.yaml has changed.*dvc repro"
    ):
        compare_batch(incoming.root, "b10")


def test_a_pipeline_that_has_not_run_is_an_error(incoming, draw):
    incoming.drop("b11", draw(np.random.default_rng(11), 5, first=1000))
    shutil.rmtree(incoming.root / "artifacts/embeddings")
    with pytest.raises(StageError, match="no embeddings of 'text'"):
        compare_batch(incoming.root, "b11")


def test_a_batch_without_a_model_has_no_answers(incoming, draw):
    incoming.drop("b12", draw(np.random.default_rng(12), 5, first=1000))
    shutil.rmtree(incoming.root / "artifacts/model")
    kinds = {one.kind for one in compare_batch(incoming.root, "b12").compared}
    assert kinds == {"vectors", "presence", "label", "column"}


def test_there_must_be_such_a_batch(incoming):
    with pytest.raises(
        SourceError, match=r"no batch 'b0' in .*incoming, which has none; put a folder"
    ):
        compare_batch(incoming.root, "b0")
    with pytest.raises(SourceError, match=r"must be letters.*got '\.\./data'"):
        compare_batch(incoming.root, "../data")


def test_each_gate_is_that_of_the_parameters(incoming, draw):
    rows = draw(np.random.default_rng(13), 20, first=1000).assign(region="west")
    rows.loc[:9, "feeling"] = "furious"
    incoming.drop("b13", rows)
    strict = compare_batch(incoming.root, "b13")
    psi = by_title(strict)["region column"].statistic
    assert by_title(strict)["region column"].drifted
    assert strict.refusals == ()
    changes = {"psi": psi + 0.1, "rows": 30, "quarantined_share": 0.1}
    incoming.write_params(drift=changes)
    loose = compare_batch(incoming.root, "b13")
    assert not by_title(loose)["region column"].drifted
    assert by_title(loose)["scan vectors"].reference_rows <= 30
    assert loose.refusals == ("10 of 60 rows are bad, `drift.quarantined_share` allows 10%",)
    incoming.write_params(drift={"p_value": 0.9, "folder": "inbox"})
    (incoming.root / "incoming").rename(incoming.root / "inbox")
    lenient = compare_batch(incoming.root, "b13")
    drifted = {one.title for one in lenient.drifted}
    assert drifted >= {one.title for one in strict.drifted}


def test_what_an_encoder_has_learned_from_is_no_reference(incoming, draw):
    """It makes other vectors of rows that it has seen than of any new ones."""
    params = {**PARAMS["modalities"]["person"], "encoder": {"name": "tabular_mlp", "epochs": 2}}
    incoming.write_params(modalities={**PARAMS["modalities"], "person": params})
    shutil.rmtree(incoming.root / "artifacts/model")
    embed(load_project(incoming.root), "person")
    incoming.drop("b14", draw(np.random.default_rng(14), 30, first=1000))
    found = by_title(compare_batch(incoming.root, "b14"))
    rows = pd.read_parquet(incoming.root / "artifacts/augmented/samples.parquet")
    counts = rows[rows["copy"] == 0]["split"].value_counts()
    # Every group has three rows on both sides, so that none is left out.
    assert found["person vectors"].reference_rows == counts["validation"]
    assert found["scan vectors"].reference_rows == counts["train"]


def test_a_sequence_is_compared_by_its_mean():
    made = Embeddings(
        ids=np.array(["a", "b"], dtype=object),
        copies=np.zeros(2, np.int64),
        matrix=np.array([[1, 0], [3, 0], [5, 7]], np.float32),
        encoder={"name": "any", "sequence": True},
        state={},
        steps=np.array([2, 1]),
    )
    rows = pd.DataFrame({"id": ["b", "a"], "copy": 0})
    assert _pool(made, rows).tolist() == [[5, 7], [2, 0]]


def test_an_ingested_batch_is_what_the_pipeline_validates(incoming, draw):
    rows = draw(np.random.default_rng(15), 10, first=1000)
    rows.loc[0, "feeling"] = "furious"
    folder = incoming.drop("b15", rows)
    project = load_project(incoming.root)
    report = compare_batch(incoming.root, "b15")
    before = len(pd.read_parquet(project.workspace.validated / "samples.parquet"))
    ingest_batch(folder, project.workspace, project.config)
    after = validate(project)
    assert after.rows_out == before + report.rows_kept == before + 29
    assert after.find_table("reason").rows[0][:2] == ("label_unknown", 1)


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ("incoming/b7/new.txt", SourceError, "'b7' changed while it was compared; wait until"),
        (
            "artifacts/model/new.txt",
            ReferenceChangedError,
            "what batch 'b7' is compared with changed mean",
        ),
    ],
)
def test_what_changes_meanwhile_is_noticed(incoming, draw, monkeypatch, changed, error, match):
    incoming.drop("b7", draw(np.random.default_rng(7), 30, first=1000))

    def draw_and_change(report, *given):
        (incoming.root / changed).write_text("new")
        return report

    monkeypatch.setattr("mm_assets.drift.comparison.draw_pictures", draw_and_change)
    with pytest.raises(error, match=match):
        compare_batch(incoming.root, "b7")
    assert not (incoming.root / ".mm/drift/b7").exists()
