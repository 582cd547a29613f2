import numpy as np
import pytest
import torch
from scipy.special import softmax

from mm_assets.contracts.config import FusionConfig
from mm_assets.fusion.late import Late
from mm_assets.fusion.options import LateOptions
from mm_assets.targets.multiclass import Multiclass
from mm_assets.training.model import FusionModel, Heads

PRESENCE = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0]], dtype=torch.bool)


@pytest.mark.parametrize("scores", [None, [1.0, 0.0, -2.0]])
def test_the_answer_is_the_mean_of_the_modalities_own_probabilities(scores):
    torch.manual_seed(0)
    fusion = Late(3, 4, LateOptions(weights="learned" if scores else "equal"))
    target = Multiclass(("a", "b", "c"))
    heads = Heads(target, 4, parts=3, weighing=fusion.weighed_by_target)
    if scores:
        heads.scores.data = torch.tensor(scores)
    heads.temperature.copy_(torch.tensor([0.5, 1.0, 3.0]))
    rows = torch.randn(3, 3, 4)
    found = target.probabilities(heads(*fusion(rows, PRESENCE)))

    for row, present in enumerate(PRESENCE.numpy()):
        expected = np.zeros(3)
        equal = np.full(present.sum(), 1 / present.sum())
        shares = (softmax(np.array(scores)[present]) + equal) / 2 if scores else equal
        for share, index in zip(shares, np.flatnonzero(present), strict=True):
            hidden = torch.tanh(fusion.content[index](rows[row, index]))
            logits = heads.parts[index](hidden).detach().numpy()
            expected += share * softmax(logits / heads.temperature[index].item())
        np.testing.assert_allclose(found[row].detach().numpy(), expected, atol=1e-6)


def test_each_target_weighs_the_modalities_for_itself():
    encoders = {"text": {"dim": 2}, "voice": {"dim": 2}}
    targets = {name: Multiclass(("a", "b")) for name in ("mood", "topic")}
    config = FusionConfig(name="late", dim=4, options={"weights": "learned"})
    model = FusionModel(encoders, targets, config, members=2)
    assert set(model.shares.values()) == {0.5}
    for member in model.members:
        member.heads[1].scores.data = torch.tensor([np.log(4), 0.0])
    expected = {"mood_text": 0.5, "mood_voice": 0.5}  # of 4 / 5 and 1 / 5 half the way to a half:
    expected |= {"topic_text": 0.65, "topic_voice": 0.35}
    assert model.shares == pytest.approx(expected)


def test_equal_weights_are_not_learned():
    model = FusionModel(
        {"text": {"dim": 2}, "voice": {"dim": 2}},
        {"mood": Multiclass(("a", "b"))},
        FusionConfig(name="late", dim=4),
    )
    assert model.shares == {}
    assert not any("scores" in name for name, _ in model.named_parameters())
