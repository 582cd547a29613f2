import pytest
import torch

from mm_assets.contracts.config import FusionConfig
from mm_assets.fusion.base import AttendSteps
from mm_assets.fusion.steps import Steps
from mm_assets.targets.multiclass import TARGET as Multiclass
from mm_assets.training.model import FusionModel

LENGTHS = (3, 1, 5)


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def draw(padding):
    """Three sequences of two numbers a step; what stands in their padding is the caller's."""
    values = torch.full((3, 5, 2), padding)
    there = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    values[there] = torch.arange(2.0 * sum(LENGTHS)).reshape(-1, 2).sin()
    return Steps(values, there)


def build(dropout=0.0):
    targets = {"mood": Multiclass.from_state({"classes": ["bad", "good", "none"]})}
    encoders = {"words": {"dim": 2, "sequence": True}, "face": {"dim": 3}}
    config = FusionConfig(dim=4, dropout=dropout)
    return FusionModel(encoders, targets, config, members=2).eval()


def test_attention_that_finds_all_steps_alike_is_their_mean():
    steps = draw(0.0)
    attend = AttendSteps(2)
    torch.nn.init.zeros_(attend.score.weight)
    means = torch.stack([s[:n].mean(dim=0) for s, n in zip(steps.values, LENGTHS, strict=True)])
    torch.testing.assert_close(attend(steps.values, steps.there), means)


def test_attention_weighs_steps_by_the_softmax_of_their_scores():
    attend = AttendSteps(1)
    with torch.no_grad():
        attend.hidden.weight.fill_(1.0)
        attend.hidden.bias.zero_()
        attend.score.weight.fill_(2.0)
    one, two = 0.3, -0.7
    weights = torch.softmax(2 * torch.tanh(torch.tensor([one, two])), dim=0)
    found = attend(torch.tensor([[[one], [two]]]), torch.tensor([[True, True]]))
    torch.testing.assert_close(found, (weights[0] * one + weights[1] * two).reshape(1, 1))


def test_padding_and_absent_sequences_reach_no_answer_and_no_gradient():
    model = build()
    presence = torch.tensor([[True, True], [True, False], [False, True]])
    face = torch.randn(3, 3)
    answers = []
    for padding in (0.0, float("nan"), 1e30):
        steps = draw(padding)
        steps.values[2] = padding  # absent, so that nothing is known of it
        logits = model({"words": steps, "face": face}, presence)["mood"]
        answers.append(logits.detach())
        logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    torch.testing.assert_close(answers[1], answers[0])
    torch.testing.assert_close(answers[2], answers[0])


def test_a_row_does_not_depend_on_how_long_its_neighbours_are():
    model, steps = build(), draw(0.0)
    presence, face = torch.ones(3, 2, dtype=torch.bool), torch.randn(3, 3)
    together = model({"words": steps, "face": face}, presence)["mood"]
    rows = torch.tensor([0, 1])
    fewer = model({"words": steps[rows], "face": face[rows]}, presence[rows])["mood"]
    assert steps[rows].values.shape == (2, 3, 2)
    torch.testing.assert_close(fewer, together[:2])


def test_statistics_are_those_of_all_present_steps():
    model, steps = build(), draw(float("nan"))
    presence = torch.tensor([[True, True], [False, True], [True, True]])
    model.fit_standardization({"words": steps, "face": torch.randn(3, 3)}, presence)
    known = torch.cat([steps.values[0, :3], steps.values[2, :5]])
    torch.testing.assert_close(model.standardize[0].mean, known.mean(dim=0))
    torch.testing.assert_close(model.standardize[0].scale, known.std(dim=0, correction=0))
