import math

import pytest
import torch

from mm_assets.fusion.attention import AttentionLayer, AttentionStack, add_positions
from mm_assets.fusion.cross_attention import CrossAttention
from mm_assets.fusion.options import AttentionOptions
from mm_assets.fusion.steps import Steps
from mm_assets.fusion.transformer import Transformer

DIM, HEADS = 8, 2
THERE = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool)


def as_pytorchs(layer):
    """The same layer of PyTorch's own."""
    theirs = torch.nn.TransformerEncoderLayer(
        layer.query.in_features,
        layer.heads,
        layer.inner.out_features,
        dropout=0.0,
        activation="relu",
        batch_first=True,
        norm_first=True,
    ).eval()
    parts = [layer.query, layer.key, layer.value]
    ours = {
        "self_attn.in_proj_weight": torch.cat([part.weight for part in parts]),
        "self_attn.in_proj_bias": torch.cat([part.bias for part in parts]),
        **{
            f"{theirs}.{kind}": getattr(part, kind)
            for theirs, part in {
                "self_attn.out_proj": layer.mix,
                "linear1": layer.inner,
                "linear2": layer.outer,
                "norm1": layer.norm,
                "norm2": layer.inner_norm,
            }.items()
            for kind in ("weight", "bias")
        },
    }
    theirs.load_state_dict(ours)
    return theirs


def disturb(module):
    """Give every parameter, norms and biases too, numbers of its own."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_a_layer_asking_itself_is_pytorchs_encoder_layer():
    layer, x = disturb(AttentionLayer(DIM, HEADS)), torch.randn(2, 5, DIM)
    expected = as_pytorchs(layer)(x, src_key_padding_mask=~THERE)
    torch.testing.assert_close(layer(x, x, THERE), expected, rtol=1e-4, atol=1e-5)


def ask_pytorch(layer, x, context, there):
    """Cross-attention by `torch.nn.MultiheadAttention`, equation 5 of Tsai et al. 2019."""
    theirs = as_pytorchs(layer)
    found, _ = theirs.self_attn(
        theirs.norm1(x), theirs.norm1(context), theirs.norm1(context), key_padding_mask=~there
    )
    x = x + found
    return x + theirs.linear2(torch.relu(theirs.linear1(theirs.norm2(x))))


def test_a_layer_asking_another_sequence_is_pytorchs_attention():
    layer = disturb(AttentionLayer(DIM, HEADS))
    x, context = torch.randn(2, 3, DIM), torch.randn(2, 5, DIM)
    expected = ask_pytorch(layer, x, context, THERE)
    torch.testing.assert_close(layer(x, context, THERE), expected, rtol=1e-4, atol=1e-5)


def test_what_padding_holds_is_not_seen():
    stack, x = disturb(AttentionStack(DIM, HEADS, 2)), torch.randn(2, 5, DIM)
    other = torch.where(THERE[..., None], x, 99.0)
    found, again = (stack(one, THERE)[THERE] for one in (x, other))
    torch.testing.assert_close(found, again)


def test_positions_are_the_papers_waves():
    found = add_positions(Steps(torch.zeros(1, 7, 6), torch.ones(1, 7, dtype=torch.bool))).values
    for place in range(7):
        for pair in range(3):
            angle = place / 10_000 ** (2 * pair / 6)
            assert found[0, place, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-5)
            assert found[0, place, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-5)


def make_rows():
    """Two modalities of other lengths: row 1 lacks the second one."""
    first = Steps(torch.randn(2, 5, DIM), THERE)
    second = Steps(torch.randn(2, 2, DIM), torch.tensor([[1, 0], [1, 1]], dtype=torch.bool))
    return [first, second], torch.tensor([[True, True], [True, False]])


def unpad(sequences, row, presence, absent):
    """One row's sequences without padding, a learned step in the place of an absent one."""
    return [
        one.values[row, one.there[row]][None] if presence[row, index] else absent[index][None, None]
        for index, one in enumerate(sequences)
    ]


def place(values):
    return add_positions(Steps(values, torch.ones(values.shape[:2], dtype=torch.bool))).values


def test_the_transformer_is_pytorchs_over_all_tokens():
    fusion = disturb(Transformer(2, DIM, AttentionOptions(heads=HEADS, layers=2)))
    sequences, presence = make_rows()
    found = fusion(sequences, presence)
    for row in range(2):
        alone = unpad(sequences, row, presence, fusion.absent)
        tokens = [place(one) + kind for one, kind in zip(alone, fusion.kind, strict=True)]
        x = torch.cat([fusion.read.expand(1, 1, -1), *tokens], dim=1)
        for layer in fusion.layers.layers:
            x = as_pytorchs(layer)(x)
        torch.testing.assert_close(found[row], fusion.norm(x[0, 0]), rtol=1e-4, atol=1e-5)


def test_cross_attention_is_pytorchs_in_each_direction():
    fusion = disturb(CrossAttention(2, DIM, AttentionOptions(heads=HEADS)))
    sequences, presence = make_rows()
    found = fusion(sequences, presence)
    for row in range(2):
        first, second = map(place, unpad(sequences, row, presence, fusion.absent))
        last = []
        for pair, own, asking, asked in zip(
            fusion.pairs, fusion.own, (first, second), (second, first), strict=True
        ):
            seen = torch.ones(asked.shape[:2], dtype=torch.bool)
            x = ask_pytorch(pair.layers[0], asking, asked, seen)
            last.append(as_pytorchs(own.layers[0])(x)[:, -1])
        expected = torch.relu(fusion.mix(torch.cat(last, dim=1)))[0]
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)
