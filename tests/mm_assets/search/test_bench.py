import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from mm_assets.search.bench import average_losses, open_bench, sum_losses_by_group
from mm_assets.stages.train import train
from mm_assets.training.examples import number_groups
from mm_assets.training.model import load_model
from mm_assets.training.scoring import predict_logits, score_views

pytestmark = pytest.mark.slow


@pytest.fixture
def quick(embedded):
    """Trains in a second; two validation rows have no label, some no group."""
    embedded.params["train"] |= {"epochs": 3, "seeds": 1}
    embedded.rows.loc[[200, 201], "side"] = None
    embedded.rows.loc[210:220, "group"] = None
    return embedded


def test_losses_by_group_add_up_to_the_calibrated_loss_of_all_views(quick):
    project = quick.load()
    train(project)
    model = load_model(project.workspace.model)
    with open_bench(project) as bench:
        rows, table = bench.material.validation, bench.rows[bench.rows["split"] == "validation"]
        found = sum_losses_by_group(model, rows, number_groups(table))
        assert len(found) == 60 // 3 - 4 + 11 + 1  # the groups cut into by rows without one
        loss = average_losses(found.sum(axis=0), bench.weights)
        assert loss == pytest.approx(score_views(model, rows, {"side": 1.0}), abs=1e-5)

        # The view of rows as they are, by scikit-learn.
        logits = model.temper(predict_logits(model, rows))["side"]
        known = table["side"].notna().to_numpy()
        expected = log_loss(table["side"][known], torch.softmax(logits, 1).double().numpy()[known])
        total, count = found[:, 0, 0].sum(axis=0)
        assert count == known.sum() == 58
        assert total / count == pytest.approx(expected, abs=1e-5)


def test_a_trial_of_todays_parameters_is_what_the_train_stage_makes(quick):
    project = quick.load()
    train(project)
    model = load_model(project.workspace.model)
    with open_bench(project) as bench:
        found = bench.measure(project.config, title="again")
        table = bench.rows[bench.rows["split"] == "validation"]
        expected = sum_losses_by_group(model, bench.material.validation, number_groups(table))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_loss_that_is_weighted_otherwise_is_scored_alike(quick):
    """With focal loss the training loss falls by itself; the score does not follow it."""
    project = quick.load()
    focal = project.config.model_copy(deep=True)
    focal.targets["side"].loss["focal"] = 5.0
    with open_bench(project) as bench:
        plain, other = (
            average_losses(bench.measure(config, title="x").sum(axis=0), bench.weights)
            for config in (project.config, focal)
        )
    assert 0.5 * plain < other < 2.5 * plain  # focal loss itself would be about 1/10 of it
