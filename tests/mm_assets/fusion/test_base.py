import itertools
import math

import numpy as np
import onnxruntime
import pytest
import torch

from mm_assets.contracts.config import FusionConfig
from mm_assets.contracts.errors import ConfigError
from mm_assets.fusion.base import Parts, build_fusion
from mm_assets.fusion.options import OPTIONS, read_fusion_options
from mm_assets.fusion.steps import as_steps

FUSIONS = [
    ("concat", {}),
    ("weighted", {}),
    ("gated", {}),
    ("low_rank", {}),
    ("low_rank", {"rank": None}),
    ("cross_attention", {"heads": 2}),
    ("transformer", {"heads": 2, "layers": 2}),
    ("late", {}),
    ("late", {"weights": "learned"}),
    ("hybrid", {}),
]
EVERY = pytest.mark.parametrize(("name", "options"), FUSIONS)
SUBSETS = [s for s in itertools.product([False, True], repeat=3) if any(s)]
ALL = torch.ones(1, 3, dtype=torch.bool)


def build(name, options, modalities=3, dim=4):
    torch.manual_seed(1)
    config = FusionConfig(name=name, dim=dim, options=options)
    fusion = build_fusion(config, modalities=modalities)
    torch.nn.init.normal_(fusion.absent)
    return fusion.eval()


class Flat(torch.nn.Module):
    """A fusion as a function of vectors, whose parts are put side by side with their shares."""

    def __init__(self, fusion):
        super().__init__()
        self.fusion = fusion

    def forward(self, vectors, presence):
        each = [as_steps(one) for one in vectors.unbind(dim=1)]
        given = each if self.fusion.sequential else vectors
        found = self.fusion(given, presence)
        if not isinstance(found, Parts):
            return found
        # What a part says counts as far as its share goes.
        return (found.vectors * found.log_weights.exp()[..., None]).flatten(1)


def test_every_fusion_is_tried():
    assert {name for name, _ in FUSIONS} == set(OPTIONS)


@EVERY
@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e30])
def test_what_stands_for_an_absent_modality_reaches_neither_output_nor_gradient(
    name, options, subset, junk
):
    fusion, presence = Flat(build(name, options)), torch.tensor([subset])
    clean = torch.randn(1, 3, 4)
    dirty = torch.where(presence[..., None], clean, junk)

    expected, found = fusion(clean, presence), fusion(dirty, presence)
    found.sum().backward()

    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert found.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in fusion.parameters())


@EVERY
def test_a_row_without_any_modality_gets_something_finite(name, options):
    fusion = Flat(build(name, options)).eval()
    found = fusion(torch.full((1, 3, 4), math.nan), ~ALL)
    found.sum().backward()
    assert found.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in fusion.parameters())


@EVERY
def test_every_present_modality_reaches_the_output(name, options):
    fusion = Flat(build(name, options)).eval()
    rows = torch.randn(1, 3, 4)
    for index in range(3):
        changed = rows.clone()
        changed[0, index, 0] += 1
        assert not torch.equal(fusion(rows, ALL), fusion(changed, ALL))


@EVERY
def test_a_row_does_not_depend_on_the_rows_beside_it(name, options):
    fusion, rows = Flat(build(name, options)), torch.randn(6, 3, 4)
    presence = torch.rand(6, 3) < 0.5
    together = fusion(rows, presence)
    for index in range(6):
        alone = fusion(rows[index : index + 1], presence[index : index + 1])
        torch.testing.assert_close(alone[0], together[index])


@EVERY
def test_one_modality_is_enough(name, options):
    fusion = Flat(build(name, options, modalities=1))
    assert fusion(torch.randn(2, 1, 4), torch.ones(2, 1, dtype=torch.bool)).isfinite().all()


@EVERY
def test_shares_add_up_and_say_what_counts(name, options):
    fusion = build(name, options)
    shares = fusion.shares()
    assert (shares is not None) == (name == "weighted")
    if shares is not None:
        torch.testing.assert_close(shares, torch.full((3,), 1 / 3))
        fusion.scores.data = torch.tensor([0.0, 1.0, 2.0])
        torch.testing.assert_close(fusion.shares().sum(), torch.tensor(1.0))
        assert fusion.shares().argmax() == 2


@EVERY
def test_it_learns_a_parity_or_is_known_not_to(name, options):
    """XOR of two signs needs the modalities together; answers of each alone are worth nothing."""
    torch.manual_seed(0)
    fusion = build(name, options, modalities=2, dim=8)
    read = torch.nn.Linear(8 * fusion.parts, 1)
    signs = torch.randint(0, 2, (256, 2)).float() * 2 - 1
    rows = signs[:, :, None] * torch.randn(2, 8) + torch.randn(256, 2, 8) * 0.1
    wanted = (signs.prod(dim=1) > 0).float()
    there = torch.ones(256, 2, dtype=torch.bool)
    optimizer = torch.optim.Adam([*fusion.parameters(), *read.parameters()], lr=0.01)
    flat = Flat(fusion)
    for _ in range(150):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            read(flat(rows, there))[:, 0], wanted
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = ((read(flat(rows, there))[:, 0] > 0) == (wanted > 0)).float().mean()
    additive = name in {"weighted", "late"}
    assert right < 0.8 if additive else right > 0.95


@pytest.mark.slow
@EVERY
def test_the_exported_graph_answers_alike_for_any_batch(name, options, tmp_path):
    fusion, rows = Flat(build(name, options)).eval(), torch.randn(2, 3, 4)
    batch = {0: torch.export.Dim.AUTO}
    program = torch.onnx.export(
        fusion,
        (rows, torch.ones(2, 3, dtype=torch.bool)),
        dynamo=True,
        dynamic_shapes=(batch, batch),
        input_names=["vectors", "presence"],
        verbose=False,
    )
    program.save(tmp_path / "fusion.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "fusion.onnx", providers=["CPUExecutionProvider"]
    )
    for count in (1, 5):
        rows, presence = torch.randn(count, 3, 4), torch.rand(count, 3) < 0.5
        junk = torch.where(presence[..., None], rows, math.nan)
        (found,) = session.run(None, {"vectors": junk.numpy(), "presence": presence.numpy()})
        np.testing.assert_allclose(found, fusion(rows, presence).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"name": "mean"},
            r"`fusion\.name` must be one of concat, weighted, .*hybrid, got 'mean'",
        ),
        ({"name": "gated", "options": {"rank": 2}}, r"`fusion\.options\.rank` is not a known key"),
        ({"name": "low_rank", "options": {"rank": 0}}, r"fusion\.options\.rank.*1.*got 0"),
        (
            {"name": "low_rank", "options": {"rank": None}, "dim": 99},
            r"tensor of 1000000 cells from 3 modalities of `fusion\.dim: 99`.*give a rank",
        ),
        (
            {"name": "transformer", "dim": 30},
            r"`fusion\.dim` must be a multiple of `fusion\.options\.heads`, got 30 and 4",
        ),
        ({"name": "late", "options": {"weights": "best"}}, r"fusion\.options\.weights.*'best'"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(given, message):
    with pytest.raises(ConfigError, match=message):
        read_fusion_options(FusionConfig(**given), modalities=3)
