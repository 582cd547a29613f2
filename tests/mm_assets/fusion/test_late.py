import numpy as np
import pytest
import torch
from scipy.special import softmax

from mm_assets.fusion.late import Late
from mm_assets.fusion.options import LateOptions
from mm_assets.targets.multiclass import Multiclass
from mm_assets.training.model import Heads

PRESENCE = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0]], dtype=torch.bool)


@pytest.mark.parametrize(
    ("weights", "scores"), [("equal", [0.0, 0.0, 0.0]), ("learned", [1.0, 0.0, -2.0])]
)
def test_the_answer_is_the_mean_of_the_modalities_own_probabilities(weights, scores):
    torch.manual_seed(0)
    fusion, target = Late(3, 4, LateOptions(weights=weights)), Multiclass(("a", "b", "c"))
    fusion.scores.data = torch.tensor(scores)
    heads, rows = Heads(target, 4, parts=3), torch.randn(3, 3, 4)
    found = target.probabilities(heads(*fusion(rows, PRESENCE)))

    for row, present in enumerate(PRESENCE.numpy()):
        expected = np.zeros(3)
        shares = softmax(np.array(scores)[present])
        for share, index in zip(shares, np.flatnonzero(present), strict=True):
            hidden = torch.tanh(fusion.content[index](rows[row, index]))
            expected += share * softmax(heads.parts[index](hidden).detach().numpy())
        np.testing.assert_allclose(found[row].detach().numpy(), expected, atol=1e-6)


def test_only_learned_weights_are_learned():
    for weights in ("equal", "learned"):
        fusion = Late(2, 4, LateOptions(weights=weights))
        assert fusion.scores.requires_grad == (weights == "learned")
