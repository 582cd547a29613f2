import pytest
import torch
from torch import nn

from mm_assets.contracts.config import ContextConfig, FusionConfig
from mm_assets.fusion.context import build_context, find_places

DIM = 8
NAMES = ["transformer", "gru"]
ALL = ["mean", *NAMES]


def build(name, layers=1):
    torch.manual_seed(0)
    context = build_context(ContextConfig(name=name, layers=layers, heads=2), DIM).eval()
    if name != "mean":
        with torch.no_grad():  # as if trained: untrained, it adds nothing
            nn.init.normal_(context.add.weight)
    return context


def draw(rows, seed=1):
    return torch.randn(rows, DIM, generator=torch.Generator().manual_seed(seed))


def test_places_count_the_rows_before_in_the_same_group():
    groups = torch.tensor([7, 3, 7, 7, 3, 5])
    assert find_places(groups[:, None] == groups).tolist() == [0, 0, 1, 2, 1, 0]


@pytest.mark.parametrize("name", NAMES)
def test_an_untrained_context_adds_nothing(name):
    vectors = draw(6)
    context = build_context(ContextConfig(name=name), DIM)
    assert torch.equal(context(vectors, torch.zeros(6).long()), vectors)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_groups_do_not_see_each_other_however_they_are_mixed(name, layers):
    context, vectors = build(name, layers), draw(7)
    groups = torch.tensor([4, 9, 4, 9, 9, 4, 1])

    together = context(vectors, groups)

    for group in (4, 9, 1):
        rows = groups == group
        torch.testing.assert_close(together[rows], context(vectors[rows], groups[rows]))


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_group_see_each_other_in_their_order(name):
    context, vectors, group = build(name), draw(5), torch.zeros(5).long()
    seen = context(vectors, group)
    for other in range(5):
        changed = vectors.clone()
        changed[other] = draw(1, seed=9)[0]
        moved = (context(changed, group) - seen).abs().amax(dim=1)
        assert (moved > 1e-4).all()  # earlier and later rows alike
    assert (context(vectors.flip(0), group).flip(0) - seen).abs().max() > 1e-3


def test_the_mean_is_that_of_the_other_rows():
    vectors = torch.tensor([[1.0], [2.0], [6.0], [9.0]])
    context = build_context(ContextConfig(name="mean"), 1)
    with torch.no_grad():
        context.share.fill_(0.25)
    # The last row has no other.
    expected = torch.tensor([[1 + (2 + 6) / 8], [2 + (1 + 6) / 8], [6 + (1 + 2) / 8], [9.0]])
    torch.testing.assert_close(context(vectors, torch.tensor([5, 5, 5, 8])), expected)


def test_the_recurrent_context_is_pytorchs_bidirectional_network():
    context, vectors = build("gru"), draw(5)
    theirs = nn.GRU(DIM, DIM, batch_first=True, bidirectional=True)
    ours = {"": context.forwards.state_dict(), "_reverse": context.backwards.state_dict()}
    theirs.load_state_dict({key + end: w for end, held in ours.items() for key, w in held.items()})

    sequence, _ = theirs(context.norm(vectors)[None])
    expected = vectors + context.add(sequence[0])

    torch.testing.assert_close(context(vectors, torch.zeros(5).long()), expected)


def test_the_transformer_is_pytorchs_own_layer():
    context, vectors = build("transformer"), draw(5)
    layer = context.layers.layers[0]
    theirs = nn.TransformerEncoderLayer(DIM, 2, 4 * DIM, norm_first=True, batch_first=True).eval()
    own = theirs.self_attn
    with torch.no_grad():
        for at, part in enumerate((layer.query, layer.key, layer.value)):
            own.in_proj_weight[at * DIM : (at + 1) * DIM] = part.weight
            own.in_proj_bias[at * DIM : (at + 1) * DIM] = part.bias
    own.out_proj.load_state_dict(layer.mix.state_dict())
    theirs.linear1.load_state_dict(layer.inner.state_dict())
    theirs.linear2.load_state_dict(layer.outer.state_dict())
    theirs.norm1.load_state_dict(layer.norm.state_dict())
    theirs.norm2.load_state_dict(layer.inner_norm.state_dict())
    # Vaswani et al., section 3.5, written out.
    place = torch.arange(5.0)[:, None]
    pace = 10_000 ** (-torch.arange(0, DIM, 2) / DIM)
    waves = torch.zeros(5, DIM)
    waves[:, 0::2], waves[:, 1::2] = torch.sin(place * pace), torch.cos(place * pace)

    expected = vectors + context.add(theirs((context.norm(vectors) + waves)[None])[0])

    torch.testing.assert_close(context(vectors, torch.zeros(5).long()), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_a_context_is_exported_with_any_number_of_rows(name, tmp_path):
    import onnxruntime as ort

    context = build(name)
    torch.onnx.export(
        context,
        (draw(4), torch.tensor([0, 0, 1, 1])),
        tmp_path / "context.onnx",
        input_names=["vectors", "groups"],
        dynamic_shapes=({0: torch.export.Dim("batch")}, {0: torch.export.Dim("batch")}),
        dynamo=True,
        verbose=False,
    )
    session = ort.InferenceSession(tmp_path / "context.onnx", providers=["CPUExecutionProvider"])
    for groups in ([5], [0, 1, 2], [3, 8, 3, 8, 8, 3, 3, 3, 3]):
        vectors = draw(len(groups), seed=2)
        feed = {"vectors": vectors.numpy(), "groups": torch.tensor(groups).numpy()}
        (found,) = session.run(None, feed)
        expected = context(vectors, torch.tensor(groups)).detach()
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-5)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(
        ValueError, match=r"`dim` must be a multiple of `context.heads`, got 30 and 4"
    ):
        FusionConfig(dim=30, context=ContextConfig(name="transformer"))
