"""Modalities of one row are drawn together, with labels or without."""

import pytest
import torch
from torch.nn import functional as F

from mm_assets.contracts.config import AlignmentConfig, FusionConfig, TrainConfig
from mm_assets.fusion.steps import Steps, average_steps
from mm_assets.targets.multiclass import Multiclass
from mm_assets.training.examples import Examples
from mm_assets.training.loop import train_model
from mm_assets.training.model import FusionModel

TARGETS = {"side": Multiclass(("left", "right"))}
DIMS = {"sound": 12, "sight": 10, "touch": 8}


def draw(rows, seed, *, labelled=False, sequence=False):
    """Each modality is another random map of the same 6 hidden numbers, with noise."""
    maps = torch.Generator().manual_seed(0)
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, 6, generator=generator)
    vectors = {
        name: hidden @ torch.randn(6, dim, generator=maps)
        + 0.3 * torch.randn(rows, dim, generator=generator)
        for name, dim in DIMS.items()
    }
    if sequence:  # a row's steps scatter about its vector
        scattered = vectors["sound"][:, None] + torch.randn(rows, 5, 12, generator=generator)
        there = torch.rand(rows, 5, generator=generator) < 0.7
        there[:, 0] = True
        vectors["sound"] = Steps(scattered, there)
    presence = torch.rand(rows, 3, generator=generator) < 0.9
    side = torch.randint(0, 2, (rows,), generator=generator) if labelled else -torch.ones(rows)
    return Examples(vectors, presence, {"side": side.long()})


def fit(alignment, train, *, validation=None, epochs=1, sequence=False):
    torch.manual_seed(0)
    encoders = {name: {"dim": dim} for name, dim in DIMS.items()}
    encoders["sound"]["sequence"] = sequence
    model = FusionModel(encoders, TARGETS, FusionConfig(dim=16, dropout=0.0), members=2)
    config = TrainConfig(epochs=epochs, learning_rate=0.01, seeds=2, alignment=alignment)
    curve = train_model(
        model,
        train,
        draw(60, 2) if validation is None else validation,
        config=config,
        weights={"side": 1.0},
        seed=3,
    )
    return model, curve


def retrieve(model, rows, *, member):
    """Give how often, of two modalities, a row's nearest neighbour is the row itself."""
    everything = torch.ones_like(rows.presence)
    with torch.inference_mode():
        projected = model.project(rows.vectors, everything).members[member]
    flat = [average_steps(one) if isinstance(one, Steps) else one for one in projected]
    flat = [F.normalize(one, dim=1) for one in flat]
    truth = torch.arange(len(rows))
    pairs = [(one, other) for one in flat for other in flat if one is not other]
    return [((one @ other.T).argmax(dim=1) == truth).double().mean() for one, other in pairs]


@pytest.mark.slow
@pytest.mark.parametrize("sequence", [False, True])
def test_without_a_label_the_modalities_of_a_row_find_each_other(sequence):
    train, fresh = draw(600, 1, sequence=sequence), draw(200, 9, sequence=sequence)
    validation = draw(60, 2, sequence=sequence)
    asked = AlignmentConfig(weight=0.0, epochs=20)
    before, after = (
        fit(given, train, validation=validation, sequence=sequence)[0] for given in (None, asked)
    )
    for member in (0, 1):
        assert max(retrieve(before, fresh, member=member)) < 0.05  # chance: 1 of 200
        assert min(retrieve(after, fresh, member=member)) > 0.6


def test_alignment_without_labels_is_blind_to_labels():
    """Where no validation row has a label, no epoch is better than the first: that is kept."""
    asked = AlignmentConfig(weight=0.0, epochs=2)
    rows = draw(150, 1)
    kept = [
        fit(asked, Examples(rows.vectors, rows.presence, {"side": side}))[0].state_dict()
        for side in (rows.labels["side"], draw(150, 5, labelled=True).labels["side"])
    ]
    plain = fit(None, rows)[0].state_dict()
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in plain)
    moved = {name.split(".")[2] for name in plain if not torch.equal(kept[0][name], plain[name])}
    assert moved == {"projections"}


def test_alignment_of_weight_0_is_none():
    train, validation = draw(150, 1, labelled=True), draw(60, 2, labelled=True)
    (one, curve), (other, same) = (
        fit(asked, train, validation=validation, epochs=3)
        for asked in (None, AlignmentConfig(weight=0.0))
    )
    assert curve == same
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, other.state_dict()[name])


@pytest.mark.slow
def test_a_weight_draws_modalities_together_beside_the_labels():
    train, validation = draw(300, 1, labelled=True), draw(60, 2, labelled=True)
    found = []
    for weight in (0.0, 10.0):
        asked = AlignmentConfig(weight=weight)
        model, _ = fit(asked, train, validation=validation, epochs=6)
        found.append(torch.stack(retrieve(model, draw(100, 9), member=0)).mean())
    assert found[1] > 2 * found[0]
