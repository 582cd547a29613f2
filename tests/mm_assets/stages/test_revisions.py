"""What `dvc metrics diff` and `dvc plots diff` show of two revisions."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mm_assets.stages.baselines import baselines
from mm_assets.stages.evaluate import evaluate
from mm_assets.stages.train import train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PLOTS = "artifacts/evaluation/plot_data"


class Revisions:
    """A project in Git and DVC, with the metrics and plots of our `dvc.yaml`."""

    def __init__(self, embedded):
        self.embedded, self.root = embedded, embedded.root
        declared = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
        # The stages run in this process; DVC is told of what they wrote.
        outs = {"cmd": "true", "outs": ["artifacts/evaluation", "artifacts/model"]}
        pipeline = {"stages": {"evaluate": outs}} | {k: declared[k] for k in ("metrics", "plots")}
        YAML().dump(pipeline, self.root / "dvc.yaml")
        self.run("git", "init", "-q")
        self.run("git", "config", "user.name", "someone")
        self.run("git", "config", "user.email", "someone@example.org")
        self.dvc("init", "-q")
        self.dvc("config", "core.analytics", "false")

    def run(self, *command):
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "failed" not in done.stderr
        return done.stdout

    def dvc(self, *arguments):
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def commit(self, *, epochs):
        """Train and evaluate; returns the numbers of `metrics.json` and of the plots' files."""
        self.embedded.params["train"]["epochs"] = epochs
        project = self.embedded.load()
        train(project)
        baselines(project)
        evaluate(project)
        self.dvc("commit", "-q", "-f", "evaluate")
        self.run("git", "add", ".")
        self.run("git", "commit", "-q", "-m", f"{epochs} epochs")
        folder = self.root / PLOTS
        metrics = json.loads((folder.parent / "metrics.json").read_text())["side"]
        return metrics, {
            path.relative_to(self.root).as_posix(): json.loads(path.read_text())
            for path in folder.rglob("*.json")
        }


def test_two_revisions_can_be_compared(embedded):
    revisions = Revisions(embedded)
    (old, old_plots), (new, new_plots) = revisions.commit(epochs=1), revisions.commit(epochs=12)
    assert old["accuracy"] != new["accuracy"], "the revisions must differ for this test to say much"

    lines = revisions.dvc("metrics", "diff", "--precision", "6", "HEAD~1", "HEAD").splitlines()
    shown = {line.split()[1]: line.split()[2:] for line in lines[1:]}
    assert len(lines) <= 40
    assert shown["side.accuracy"][:2] == [f"{old['accuracy']:g}", f"{new['accuracy']:g}"]
    for key in ("side.ece", "side.recall.left", "side.subsets.clear", "side.accuracy_low"):
        before, after = old, new
        for part in key.split(".")[1:]:
            before, after = before[part], after[part]
        change = float(shown[key][2]) if before != after else 0
        assert change == pytest.approx(after - before, abs=2e-6)

    revisions.dvc("plots", "diff", "HEAD~1", "HEAD", "-o", "compared")
    page = (revisions.root / "compared/index.html").read_text()
    specs = [json.loads(spec) for spec in re.findall(r"var spec = (\{.*?\});\n", page)]
    titles = [
        spec["title"]["text"] if isinstance(spec["title"], dict) else spec["title"]
        for spec in specs
    ]
    assert titles == ["Learning curves", *sorted(old_plots, key=titles.index)]
    for title, spec in zip(titles, specs, strict=True):
        values = spec["data"]["values"]
        assert {value["rev"] for value in values} == {"HEAD~1", "HEAD"}, title
        for rev, plots in (("HEAD~1", old_plots), ("HEAD", new_plots)):
            drawn = [value for value in values if value["rev"] == rev]
            for record in plots.get(title, []):
                assert any(record.items() <= value.items() for value in drawn), (title, record)
