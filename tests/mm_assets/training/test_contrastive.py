import math

import pytest
import torch
from torch.nn import functional as F

from mm_assets.training.contrastive import align_modalities, contrastive_loss


@pytest.mark.parametrize("pairs", [2, 5, 8])
def test_contrastive_loss_of_orthonormal_pairs(pairs):
    vectors = torch.eye(8)[:pairs]

    matched = contrastive_loss(3 * vectors, 0.5 * vectors, temperature=0.5).item()
    crossed = contrastive_loss(vectors, vectors.roll(1, 0), temperature=0.5).item()
    blind = contrastive_loss(torch.ones(pairs, 4), torch.ones(pairs, 4), temperature=0.5).item()

    # One cosine is 1, the others 0: cross-entropy of a softmax over [2, 0, 0, ...].
    total = math.log(math.exp(2) + pairs - 1)
    assert matched == pytest.approx(total - 2, abs=1e-5)
    assert crossed == pytest.approx(total, abs=1e-5)
    assert blind == pytest.approx(math.log(pairs), abs=1e-5)


def test_contrastive_loss_is_the_same_from_either_side():
    one, other = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).unbind()
    there = contrastive_loss(one, other, temperature=0.2)
    torch.testing.assert_close(there, contrastive_loss(other, one, temperature=0.2))
    # And it is neither direction alone.
    cosines = F.normalize(one, dim=1) @ F.normalize(other, dim=1).T / 0.2
    assert there.item() != pytest.approx(F.cross_entropy(cosines, torch.arange(6)).item())


def test_modalities_are_aligned_on_the_rows_that_have_both():
    vectors = [torch.eye(4), torch.eye(4), torch.full((4, 4), torch.nan)]
    presence = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1]]).bool()

    loss = align_modalities(vectors, presence, temperature=1.0)

    # Three orthonormal pairs of the first two; the third has one row, which nothing contrasts.
    assert loss.item() == pytest.approx(math.log(math.e + 2) - 1, abs=1e-6)


def test_nothing_is_aligned_where_no_rows_share_modalities():
    apart = torch.tensor([[True, False], [False, True]])
    assert align_modalities([torch.eye(2)] * 2, apart, temperature=1.0).item() == 0
