import functools

import numpy as np
import torch

from mm_assets.fusion.low_rank import LowRank, multiply_outer
from mm_assets.fusion.options import LowRankOptions

ALL = torch.ones(5, 3, dtype=torch.bool)


def read_factors(layer, dim):
    """Each modality's factors, (rank, dim, dim + 1): the last column is for the 1."""
    for factor in layer.factors:
        weight = factor.weight.detach().double().numpy().reshape(-1, dim, dim)
        bias = factor.bias.detach().double().numpy().reshape(-1, dim, 1)
        yield np.concatenate([weight, bias], axis=2)


def test_the_output_is_the_papers_equation_computed_with_numpy():
    torch.manual_seed(0)
    layer, rows = LowRank(3, 4, LowRankOptions(rank=2)), torch.randn(5, 3, 4)
    extended = np.concatenate([rows.double().numpy(), np.ones((5, 3, 1))], axis=2)
    sums = layer.sum.detach().double().numpy()
    expected = np.zeros((5, 4))
    for row in range(5):
        for rank in range(2):
            product = np.ones(4)
            for index, factors in enumerate(read_factors(layer, 4)):
                product *= factors[rank] @ extended[row, index]
            expected[row] += sums[rank] * product
    np.testing.assert_allclose(layer(rows, ALL).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_whole_tensor_with_the_factors_products_as_weights_is_the_same():
    """Zadeh et al. 2017 is the exact case of Liu et al. 2018, their equations 5 to 8."""
    torch.manual_seed(0)
    layer, rows = LowRank(3, 4, LowRankOptions(rank=2)), torch.randn(5, 3, 4)
    weights = np.zeros((4, 5, 5, 5))  # output, then a cell of the tensor
    sums = layer.sum.detach().double().numpy()
    a, b, c = read_factors(layer, 4)
    for rank in range(2):
        weights += sums[rank] * np.einsum("oi,oj,ok->oijk", a[rank], b[rank], c[rank])
    whole = LowRank(3, 4, LowRankOptions(rank=None))
    whole.mix.weight.data = torch.from_numpy(weights.reshape(4, -1)).float()
    whole.mix.bias.data.zero_()
    torch.testing.assert_close(whole(rows, ALL), layer(rows, ALL), rtol=1e-4, atol=1e-5)


def test_the_tensor_is_numpys_outer_product():
    rows = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    for row, found in zip(rows, multiply_outer(torch.from_numpy(rows)), strict=True):
        extended = [np.append(vector, 1) for vector in row]
        expected = functools.reduce(np.multiply.outer, extended)
        np.testing.assert_allclose(found.numpy(), expected.ravel(), rtol=1e-5)
