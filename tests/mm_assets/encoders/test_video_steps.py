"""`video_gru` and `video_attention`."""

import numpy as np
import pytest
import torch

from mm_assets.modalities.base import load_modality
from mm_assets.modalities.video import Clip

NAMES = ["video_gru", "video_attention"]
GOLDEN = {
    "video_gru": [-0.264177, -0.314007, -0.218984],
    "video_attention": [0.192851, 0.060366, 0.182092],
}


def film(seed, frames, size=32):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8)
    return Clip(pixels, np.arange(frames, dtype=np.float32), 1.0, frames)


@pytest.fixture(params=NAMES)
def encoder(build, request):
    return build(request.param, "video", size_px=32, dim=16)


@pytest.fixture
def network(encoder, give_state):
    return encoder.network(give_state(encoder, outputs=3))


def test_a_vector_does_not_depend_on_padding(encoder, network, encode):
    clips = [film(0, 2), film(1, 5), film(2, 1)]
    together = encode(encoder, network, clips)
    alone = np.concatenate([encode(encoder, network, [clip]) for clip in clips])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_the_direction_of_time_is_seen(encoder, network, encode):
    clip = film(0, 4)
    back = Clip(clip.frames[::-1].copy(), clip.times_s, 1.0, 4)
    there, again = encode(encoder, network, [clip, back])
    assert np.abs(there - again).max() > 1e-4


def test_the_golden_vector_is_unchanged(encoder, network, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    vector = encode(encoder, network, [film(0, 3)])[0]
    np.testing.assert_allclose(vector, GOLDEN[encoder.name], rtol=1e-3, atol=1e-4)
    assert encoder.version == 1


def test_steps_end_where_the_clip_ends(encoder, give_state):
    steps = encoder.sequence_network(give_state(encoder, outputs=3))
    arrays = load_modality("video", {}, {}, where="x").collate(
        [film(0, 2), film(1, 4)], encoder.inputs()
    )
    with torch.inference_mode():
        found, there = steps(*map(torch.from_numpy, arrays.values()))
    assert found.shape == (2, 4, 3)
    assert there.sum(dim=1).tolist() == [2, 4]


def test_all_frames_of_a_clip_are_distorted_alike(encoder):
    """While it is fitted, frames that are equal stay equal, so nothing seems to move."""
    body = encoder.body({}).train()
    body.dropout.p = 0.0
    clip = torch.from_numpy(film(0, 1).frames)[None].expand(3, 4, -1, -1, -1)
    torch.manual_seed(0)
    seen = body.see(clip)  # (batch, frames, dim)
    torch.testing.assert_close(seen[:, 1], seen[:, 3])
    assert not torch.allclose(seen[0, 1], seen[1, 1])


def test_attention_looks_at_the_frame_that_says_so(build):
    """With a score of 50 times the vector's first number, the largest one decides."""
    encoder = build("video_attention", "video", size_px=32, dim=16)
    body = encoder.body({}).eval()
    seen = torch.rand(1, 4, 16)
    body.see = lambda pixels: seen
    body.weigh = torch.nn.Linear(16, 1, bias=False)
    body.weigh.weight.data = torch.eye(16)[:1] * 5000
    found = body(torch.zeros(1, 4, 32, 32, 3, dtype=torch.uint8), torch.tensor([3]))
    torch.testing.assert_close(found[0], seen[0, seen[0, :3, 0].argmax()])


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, network, compare_export):
    assert compare_export(encoder, network, [film(0, 2), film(1, 4), film(2, 3)]) < 1e-4
