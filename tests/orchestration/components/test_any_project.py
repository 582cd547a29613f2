"""The component on a project that knows nothing of ours: every kind of thing a `dvc.yaml` may say."""

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox
from ruamel.yaml import YAML

from orchestration.components import DvcPipeline
from orchestration.dvc_stages import DagsterMeta
from orchestration.pages import PageServer

pytestmark = pytest.mark.slow  # DVC and Dagster on a small project

DVC_YAML = """
vars: [folds.yaml]
stages:
  prepare:
    desc: Rows, cleaned.
    cmd: python steps.py prepare
    deps: [raw, steps.py]
    params: [depth, {model.toml: [model.lr]}]
    outs: [work/prepared.txt]
  split:
    foreach: ${folds}
    do:
      cmd: python steps.py copy work/split-${item}.txt ${item}
      deps: [work/prepared.txt]
      outs: ["work/split-${item}.txt"]
  train:
    matrix: {net: [cnn, rnn], fold: ["a-1"]}
    cmd: python steps.py train ${item.net}
    deps: ["work/split-${item.fold}.txt"]
    outs: ["work/model-${item.net}.txt"]
    metrics: ["work/${item.net}.json": {cache: false}]
    plots:
      - "work/${item.net}.csv": {x: epoch, y: loss, title: Loss}
      - "work/${item.net}.png"
  score:
    cmd: python steps.py score
    deps: [work/model-cnn.txt, work/model-rnn.txt]
    outs: [work/scores, work/history.txt: {persist: true}]
    metrics: [work/sum.toml, work/details.yaml]
  icy:
    cmd: python steps.py copy work/icy.txt never
    deps: [work/prepared.txt]
    outs: [work/icy.txt: {cache: false}]
    frozen: true
  announce:
    cmd: python steps.py announce
    deps: [work/history.txt]
metrics: [work/scores/nested.json]
plots:
  - work/scores/curves: {x: step, y: [up, down]}
  - Both nets:
      x: epoch
      y: {work/cnn.csv: loss, work/scores/table.json: value}
  - work/scores/pairs.tsv: {template: confusion, x: said, y: is}
  - work/scores/shares.csv: {template: bar_horizontal, x: share, y: name}
  - work/scores/wrong.csv: {x: step, y: absent}
"""

SUB_YAML = """
stages:
  report:
    cmd: mkdir -p pages && cp ../../work/history.txt pages/report.html
    deps: [../../work/history.txt]
    outs: [pages]
"""

STEPS = """
import base64, json, sys
from pathlib import Path
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
what, *rest = sys.argv[1:]
with open("runs.log", "a") as log:
    log.write("-".join([what, *rest[-1:]]) + "\\n")
work = Path("work")
work.mkdir(exist_ok=True)
if what == "prepare":
    (work / "prepared.txt").write_text(Path("raw/rows.txt").read_text().upper())
if what == "copy":
    Path(rest[0]).write_text(rest[1])
if what == "train":
    net = rest[0]
    (work / f"model-{net}.txt").write_text(net)
    (work / f"{net}.json").write_text(json.dumps({"test": {"accuracy": 0.75, "rows": 8, "of": net, "sound": True, "loss": float("nan"), "by": [1, 2]}}))
    (work / f"{net}.csv").write_text("epoch,loss\\n1,0.5\\n2,0.25\\n")
    (work / f"{net}.png").write_bytes(base64.b64decode(PIXEL))
if what == "score":
    with open(work / "history.txt", "a") as file:
        file.write("scored\\n")
    scores = work / "scores"
    (scores / "curves").mkdir(parents=True)
    (scores / "nested.json").write_text('{"a": {"b": {"c": 3}}}')
    (work / "sum.toml").write_text("total = 7\\n")
    (work / "details.yaml").write_text("mean: 0.125\\n")
    for name in ("one", "two"):
        (scores / "curves" / f"{name}.csv").write_text("step,up,down\\n0,1,3\\n1,2,2\\n")
    (scores / "table.json").write_text(json.dumps({"rows": [{"epoch": 1, "value": 2.0}]}))
    (scores / "pairs.tsv").write_text("said\\tis\\nyes\\tyes\\nno\\tyes\\n")
    (scores / "shares.csv").write_text("name,share\\nfirst,0.25\\n")
    (scores / "wrong.csv").write_text("step,present\\n0,1\\n")
"""

TRANSLATION = {
    "key": "team/{{ stage.name }}",
    "group_name": "{{ 'nets' if stage.target.startswith('train') else 'rest' }}",
    "owners": ["team:research"],
    "kinds": ["python", "dvc"],
    "tags": {"folder": "{{ stage.folder.name or 'root' }}"},
    "automation_condition": "{{ dg.AutomationCondition.eager() }}",
    "freshness_policy": "{{ dg.FreshnessPolicy.time_window(fail_window=datetime.timedelta(days=1)) }}",
}


class Project:
    """A DVC project and a Dagster project beside it that shows it."""

    def __init__(self, root, sandbox, instance):
        self.root, self.sandbox, self.instance = root, sandbox, instance

    def dvc(self, *arguments):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def load(self, component=DvcPipeline, **attributes):
        """Load the component from a defs.yaml."""
        folder = self.sandbox.scaffold_component(
            component_cls=component,
            defs_yaml_contents={
                "type": f"{component.__module__}.{component.__qualname__}",
                "attributes": {"project": str(self.root), **attributes},
            },
        )
        with self.sandbox.load_component_and_build_defs(folder) as (_, definitions):
            return definitions

    def materialize(self, definitions, *selection):
        selection = dg.AssetSelection.assets(*selection) if selection else dg.AssetSelection.all()
        job = dg.define_asset_job("all", selection=selection)
        definitions = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
        result = definitions.resolve_job_def("all").execute_in_process(
            instance=self.instance, raise_on_error=False
        )
        log = self.root / "runs.log"
        runs = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return result, runs

    def metadata(self, *key):
        event = self.instance.get_latest_materialization_event(dg.AssetKey(key))
        return event.asset_materialization.metadata


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("any") / "project"
    files = {
        "dvc.yaml": DVC_YAML,
        "sub/deeper/dvc.yaml": SUB_YAML,
        "steps.py": STEPS,
        "params.yaml": "depth: 3\n",
        "model.toml": "[model]\nlr = 0.1\n",
        "folds.yaml": "folds: [a-1, a_1]\n",
        "raw/rows.txt": "one",
        "work/icy.txt": "never run",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.ephemeral())
        project = Project(root, stack.enter_context(create_defs_folder_sandbox()), instance)
        project.dvc("init", "--no-scm", "-q")
        project.dvc("config", "core.analytics", "false")
        project.dvc("add", "-q", "raw")
        yield project


@pytest.fixture(scope="module")
def definitions(project):
    return project.load(translation=TRANSLATION, pages="http://127.0.0.1:9")


@pytest.fixture(scope="module")
def finished(project, definitions):
    result, runs = project.materialize(definitions)
    assert result.success
    assert sorted(runs) == sorted(
        ["prepare", "copy-a-1", "copy-a_1", "train-cnn", "train-rnn", "score", "announce"]
    )
    return project


def test_each_stage_is_an_asset_with_a_valid_name_of_its_own(project):
    keys = {key.to_user_string() for key in project.load().resolve_all_asset_keys()}
    twins = {key for key in keys if key.startswith("split_a_1_")}
    assert len(twins) == 2
    assert keys - twins == {
        "raw_raw",
        "prepare",
        "train_cnn_a_1",
        "train_rnn_a_1",
        "score",
        "icy",
        "announce",
        "sub/deeper/report",
    }


def test_translation_says_how_assets_are_called_and_shown(definitions):
    graph = definitions.resolve_asset_graph()
    train = graph.get(dg.AssetKey(["team", "train_cnn_a_1"]))
    [split] = train.parent_keys
    assert split.path[0] == "team"  # what comes before it is found under its translated key
    assert graph.get(split).parent_keys == {dg.AssetKey(["team", "prepare"])}
    assert (train.group_name, graph.get(split).group_name) == ("nets", "rest")
    assert list(train.owners) == ["team:research"]
    assert {"dagster/kind/python", "dagster/kind/dvc"} <= train.tags.keys()
    assert train.tags["folder"] == "root"
    assert graph.get(dg.AssetKey(["team", "report"])).tags["folder"] == "deeper"
    assert train.automation_condition == dg.AutomationCondition.eager()
    assert train.freshness_policy.fail_window.to_timedelta().days == 1
    assert train.metadata["dvc/target"] == "train@cnn-a-1"
    assert "Rows, cleaned." in graph.get(dg.AssetKey(["team", "prepare"])).description


class Shouting(DvcPipeline):
    def get_asset_spec(self, stage):
        spec = super().get_asset_spec(stage)
        return spec.replace_attributes(key=[*spec.key.path[:-1], spec.key.path[-1].upper()])


def test_a_subclass_says_in_python_what_yaml_cannot(project):
    graph = project.load(Shouting, translation={"key_prefix": "loud"}).resolve_asset_graph()
    train = graph.get(dg.AssetKey(["loud", "TRAIN_RNN_A_1"]))
    assert {key.path[-1][:8] for key in train.parent_keys} == {"SPLIT_A_"}


def test_frozen_stages_say_so_and_are_not_run(finished, definitions):
    node = definitions.resolve_asset_graph().get(dg.AssetKey(["team", "icy"]))
    assert node.tags["dvc/frozen"] == "true"
    assert "Frozen: DVC keeps its outs as they are" in node.description
    assert (finished.root / "work/icy.txt").read_text() == "never run"
    (finished.root / "work/icy.txt").unlink()
    result, runs = finished.materialize(definitions, dg.AssetKey(["team", "icy"]))
    assert runs == []
    [failure] = [event for event in result.all_events if event.is_step_failure]
    reason = failure.step_failure_data.user_failure_data.description
    assert "missing data 'source': work/icy.txt" in reason
    (finished.root / "work/icy.txt").write_text("never run")


def test_after_dagster_dvc_has_nothing_to_do_and_nor_has_dagster(finished, definitions):
    assert "up to date" in finished.dvc("status")
    result, runs = finished.materialize(definitions)
    assert result.success
    assert runs == []
    assert "up to date" in finished.dvc("repro", "-P")
    assert not (finished.root / "runs.log").exists()


def test_outs_that_persist_are_there_for_the_next_run(finished, definitions):
    history = finished.root / "work/history.txt"
    assert history.read_text() == "scored\n"
    (finished.root / "params.yaml").write_text("depth: 4\n")
    _, runs = finished.materialize(definitions)
    assert runs == ["prepare"]  # its out is as it was, so nothing after it runs
    (finished.root / "folds.yaml").write_text("folds: [a-1]\n")
    assert len(finished.load().resolve_all_asset_keys()) == 9
    (finished.root / "folds.yaml").write_text("folds: [a-1, a_1]\n")


def test_metrics_are_numbers_that_dagster_plots(finished):
    metadata = finished.metadata("team", "train_cnn_a_1")
    written = json.loads((finished.root / "work/cnn.json").read_text())["test"]
    assert metadata["test.accuracy"] == dg.MetadataValue.float(written["accuracy"])
    assert metadata["test.rows"] == dg.MetadataValue.int(written["rows"])
    assert metadata["test.of"] == dg.MetadataValue.text("cnn")
    assert metadata["test.sound"] == dg.MetadataValue.bool(True)
    assert metadata["test.loss"] == dg.MetadataValue.text("NaN")
    assert metadata["test.by"] == dg.MetadataValue.text("[1, 2]")
    metadata = finished.metadata("team", "score")  # several files, one in a folder
    assert metadata["nested.a.b.c"] == dg.MetadataValue.int(3)
    assert metadata["sum.total"] == dg.MetadataValue.int(7)
    assert metadata["details.mean"] == dg.MetadataValue.float(0.125)


def test_plots_are_pictures(finished):
    metadata = finished.metadata("team", "train_cnn_a_1")
    assert metadata["Loss"].value.startswith("![Loss](data:image/svg+xml;base64,")
    assert metadata["work/cnn.png"].value.startswith("![work/cnn.png](data:image/png;base64,iVBOR")
    assert "Both nets" in metadata
    metadata = finished.metadata("team", "score")
    drawn = {name for name, value in metadata.items() if "data:image/svg" in str(value.value)}
    assert drawn == {
        "work/scores/curves/one",
        "work/scores/curves/two",
        "Both nets",
        "work/scores/pairs.tsv",
        "work/scores/shares.csv",
    }
    assert metadata["work/scores/wrong.csv"].value == (
        "work/scores/wrong.csv has no column 'absent', which `plots` of dvc.yaml names; it has "
        "step, present"
    )


def test_stages_without_outs_have_the_version_of_what_they_ran_on(finished):
    event = finished.instance.get_latest_materialization_event(dg.AssetKey(["team", "announce"]))
    assert len(event.asset_materialization.tags["dagster/data_version"]) == 32


def test_what_ran_at_the_shell_is_told_under_the_translated_key(finished, definitions):
    sensor = definitions.resolve_sensor_def("shell_runs")
    context = dg.build_sensor_context(instance=finished.instance)
    assert sensor(context).asset_events == []
    (finished.root / "sub/deeper/dvc.yaml").write_text(SUB_YAML.replace("cp ", "cp -f "))
    finished.dvc("repro", "-q", "sub/deeper/dvc.yaml:report")
    [event] = sensor(context).asset_events
    assert event.asset_key == dg.AssetKey(["team", "report"])
    (finished.root / "sub/deeper/dvc.yaml").write_text(SUB_YAML)
    finished.dvc("repro", "-q", "-P")


def test_a_page_opens_as_its_own_run_wrote_it(finished):
    link = finished.metadata("team", "report")["page: report"]
    assert isinstance(link, dg.UrlMetadataValue)
    address = link.url.removeprefix("http://127.0.0.1:9/")
    server = PageServer(finished.root, port=0)
    page = finished.root / "sub/deeper/pages/report.html"
    page.unlink()  # what lies there by now is another matter
    file, name = server.find(address)
    assert (file.read_text(), name) == ("scored\n", "report.html")
    finished.dvc("checkout", "-q")
    server.server_close()


def refuse(at, **attributes):
    """Say why the definitions cannot be loaded: what Dagster shows last."""
    with pytest.raises(Exception, match=r"defs\.yaml") as raised:
        at.load(**attributes)
    error = raised.value
    while error.__cause__:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


def wrong(**translation):
    return {"translation": translation}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (wrong(grup="x"), r"translation\S*grup at .*defs\.yaml:3"),
        (wrong(key="{{ stage.nme }}"), "Stage object' has no attribute 'nme'"),
        (
            wrong(owners=["bob"]),
            r"stage 'prepare' cannot be the asset that `translation` in defs\.yaml .*'bob'",
        ),
        (wrong(key="a b/{{ stage.name }}"), r"stage '\S+' cannot be the asset .* \"a b_raw_raw"),
        (wrong(automation_condition="eager"), r"'prepare' cannot be .*automation_condition"),
        (wrong(key="same"), r"stages '.*' and '.*' both name the Dagster asset 'same'"),
        (
            wrong(partitions_def={"type": "static", "partition_keys": ["a"]}),
            r"has partitions, but DVC runs a stage as a whole; use `foreach` or `matrix`",
        ),
        ({"project": "/nowhere/at/all"}, "is no DVC project"),
        ({"projekt": "x"}, r"attributes\.projekt at .*defs\.yaml:3"),
    ],
)
def test_what_a_user_gets_wrong_is_named(project, attributes, message):
    assert re.search(message, refuse(project, **attributes))


def test_a_folder_inside_a_project_and_one_without_stages_are_refused(project, tmp_path):
    message = refuse(project, project=str(project.root / "sub"))
    assert re.search(r"is a folder inside the DVC project .*; name that one", message)
    command = [sys.executable, "-m", "dvc", "init", "--no-scm", "-q"]
    subprocess.run(command, cwd=tmp_path, check=True)
    message = refuse(project, project=str(tmp_path))
    assert re.search(r"ConfigError: .* has no dvc\.yaml with a stage in it; write one", message)


def blocks(language):
    page = Path(__file__).parents[3] / "docs" / "component.md"
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_every_snippet_of_the_page_about_the_component_works(project, monkeypatch):
    seen = []
    for text in blocks("yaml"):
        content = YAML(typ="safe").load(text)
        if "attributes" in content:
            assert content["type"] == "orchestration.components.DvcPipeline"
            attributes = content["attributes"] | {"project": str(project.root)}
            keys = project.load(**attributes).resolve_all_asset_keys()
            seen.append(dg.AssetKey(["vision", "score"]) in keys)
        else:
            meta = content["stages"]["train"]["meta"]["dagster"]
            assert DagsterMeta.model_validate(meta, strict=False).group == "models"
    assert seen == [False, True, False]
    module = ModuleType("vision")
    [python] = blocks("python")
    exec(python, module.__dict__)
    monkeypatch.setitem(sys.modules, "vision", module)
    module.VisionPipeline.__module__ = "vision"
    graph = project.load(module.VisionPipeline).resolve_asset_graph()
    assert graph.get(dg.AssetKey("icy")).group_name == "frozen"
    assert graph.get(dg.AssetKey("score")).group_name == "default"
