"""The trained model on a fresh draw of the sample, beside the best that any model can do.

The test split of the sample is too small to tell 95 % from 97 %. So this draws thousands of rows
of customers who were never heard before, sends them through the real stages (`embed`, then the
model in artifacts/model), and compares with the exact upper bound.

    python benchmarks/sample_against_bound.py [--rows 3000] [--seed 1001]
"""

import argparse
import json
import tempfile
from pathlib import Path

import pandas as pd
from measure import share_weights

from mm_assets.contracts.config import read_config
from mm_assets.contracts.subsets import list_subsets, name_subset
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.vectors import read_embeddings
from mm_assets.evaluation.answers import answer_rows
from mm_assets.sources.sample import generate_sample
from mm_assets.stages.embed import embed
from mm_assets.stages.project import build_project
from mm_assets.training.examples import gather_examples
from mm_assets.training.model import load_model

ROOT = Path(__file__).parents[1]
FIRST_CUSTOMER = 100_000  # the sample's own customers have lower numbers


def main() -> None:
    """Print a table: accuracy, upper bound and their ratio, by target and subset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1001)
    given = parser.parse_args()
    share_weights()
    config = read_config(ROOT / "params.yaml")
    model = load_model(ROOT / "artifacts/model")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        generate_sample(
            workspace.data,
            rows=given.rows,
            customers=given.rows // 11,
            seed=given.seed,
            broken=False,
            missing=0.0,
            first_customer=FIRST_CUSTOMER,
        )
        bounds = json.loads((workspace.data / "card.json").read_text())["upper_bounds"]
        rows = read_fresh_rows(workspace, config.modalities, config.targets)
        workspace.augmented.mkdir(parents=True)
        rows.to_parquet(workspace.augmented / "samples.parquet")
        project = build_project(config, workspace)
        for key in project.modalities:
            embed(project, key)
        vectors = {key: read_embeddings(workspace.embeddings(key)) for key in project.modalities}
        examples = gather_examples(rows, vectors, model.targets)
    answers = {
        name_subset(s): answer_rows(model, examples, s) for s in list_subsets(model.modalities)
    }
    print(f"{len(rows)} rows of {given.rows // 11} new customers")
    print(f"{'target':<12}{'answered from':<20}{'accuracy':>9}{'bound':>9}{'ratio':>8}")
    for target in model.targets:
        for subset, answered in answers.items():
            right = answered[target].probabilities.argmax(axis=1) == examples.labels[target].numpy()
            accuracy, bound = float(right.mean()), bounds[target][subset]
            print(f"{target:<12}{subset:<20}{accuracy:>9.4f}{bound:>9.4f}{accuracy / bound:>8.3f}")


def read_fresh_rows(workspace: Workspace, modalities: dict, targets: dict) -> pd.DataFrame:
    """Lay the drawn table out as the augment stage would, every row a test row."""
    raw = pd.read_csv(workspace.data / "samples.csv", dtype=str)
    rows = pd.DataFrame({"id": raw["id"], "copy": 0, "split": "test", "group": raw["customer"]})
    rows["render"] = pd.Series([None] * len(raw), dtype="str")
    for key, entry in {**modalities, **targets}.items():
        rows[key] = raw[entry.column]
    return rows


if __name__ == "__main__":
    main()
