import numpy as np
import pytest
import torch
from scipy import signal, stats

from mm_assets.contracts.errors import ConfigError
from mm_assets.encoders.networks.signal_statistics import (
    BANDS,
    QUANTILES,
    SignalStatistics,
    cut_bands,
)
from mm_assets.modalities.signal import Recording
from mm_assets.training.encoder_fitting import fit_signal_scale

RATE_HZ = 100.0
OPTIONS = {"rate_hz": RATE_HZ, "channels": 2}
MEAN, SCALE = np.float32([0.1, -0.2]), np.float32([1.0, 2.0])
LEARNED = ["signal_cnn", "signal_transformer"]
GOLDEN = {
    "signal_statistics": [-0.23406, 1.62154, -2.81142, 0.05996, -0.60469, -3.87708, -4.08431],
    "signal_cnn": [-0.0068, -0.08647, 0.02002, -0.03677, -0.07403, 0.03339, 0.05877, -0.03237],
    "signal_transformer": [
        -0.16931,
        0.34394,
        0.74335,
        0.27230,
        -0.09046,
        -0.44756,
        0.17859,
        0.44265,
    ],
}


def walk(steps, seed=0, channels=2):
    """Noise whose neighbours are alike; the same on every machine."""
    noise = np.random.default_rng(seed).standard_normal((channels, steps))
    return Recording(signal.lfilter([1], [1, -0.9], noise, axis=1).astype(np.float32), RATE_HZ)


@pytest.fixture
def make(build, give_state):
    """Build an encoder and its network, a learned one with a state as if it had been fitted."""

    def make(name, **options):
        if name == "signal_statistics":
            encoder = build(name, "signal", channels=2, **options)
            return encoder, encoder.network()
        encoder = build(name, "signal", **options)
        return encoder, encoder.network(give_state(encoder, mean=MEAN, scale=SCALE))

    return make


@pytest.mark.parametrize("name", GOLDEN)
def test_a_vector_ignores_its_neighbours_and_padding(name, make, encode):
    encoder, network = make(name)
    short, long = walk(333), walk(1001, seed=1)
    alone = encode(encoder, network, [short], **OPTIONS)
    beside = encode(encoder, network, [short, long], **OPTIONS)
    assert alone.shape == (1, 62 if name == "signal_statistics" else 64)
    np.testing.assert_allclose(beside[:1], alone, atol=2e-5)
    assert np.abs(beside[1] - beside[0]).max() > 0.01


@pytest.mark.parametrize("name", GOLDEN)
def test_a_signal_beyond_max_s_is_not_seen(name, make, encode):
    encoder, network = make(name, max_s=3.0)
    one, two = walk(600), walk(600)
    two.samples[:, 300:] = 9
    vectors = encode(encoder, network, [one, two], **OPTIONS)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("steps", [2, 3, 9, 17])
def test_the_shortest_and_the_flat_give_finite_numbers(name, steps, make, encode):
    encoder, network = make(name)
    for value in (walk(steps), Recording(np.full((2, steps), 1e6, np.float32), RATE_HZ)):
        assert np.isfinite(encode(encoder, network, [value], **OPTIONS)).all()


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_vector_is_unchanged(name, make, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder, network = make(name)
    vector = encode(encoder, network, [walk(500)], **OPTIONS)[0]
    np.testing.assert_allclose(vector[::9], GOLDEN[name], atol=1e-4)
    assert encoder.version == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_the_exported_graph_agrees(name, make, compare_export):
    encoder, network = make(name)
    assert compare_export(encoder, network, [walk(700), walk(333), walk(128)], **OPTIONS) < 1e-5


@pytest.fixture
def summary():
    """Statistics of one channel, whose padding must not matter."""

    def summarize(samples, segment=256):
        padded = np.pad(samples.astype(np.float32), (0, 77))
        network = SignalStatistics(1, segment).eval()
        return network(torch.from_numpy(padded)[None, None], torch.tensor([len(samples)]))[
            0
        ].numpy()

    return summarize


def test_the_distribution_is_what_scipy_and_numpy_say(summary):
    samples = np.random.default_rng(0).gamma(2.0, 3.0, 1500) + 40
    found = summary(samples)
    assert found[0] == pytest.approx(samples.mean(), rel=1e-5)
    assert np.exp(found[1]) == pytest.approx(samples.std(), rel=1e-4)
    assert found[2] == pytest.approx(stats.skew(samples), rel=1e-3)
    assert np.expm1(found[3]) == pytest.approx(stats.kurtosis(samples, fisher=False), rel=1e-3)
    expected = np.quantile((samples - samples.mean()) / samples.std(), QUANTILES)
    np.testing.assert_allclose(found[4:11], expected, atol=1e-3)


def test_change_of_a_sine_is_in_closed_form(summary):
    period, steps = 40, 4000
    samples = 3 * np.sin(2 * np.pi * (np.arange(steps) + 0.5) / period)
    crossing, length, mobility, complexity = summary(samples)[11:15]
    assert crossing == pytest.approx(2 / period, rel=0.05)
    step = 2 * np.sin(np.pi / period)  # of a sine's differences, by its amplitude
    assert length == pytest.approx(np.sqrt(2) * step * 2 / np.pi, rel=1e-2)
    assert mobility == pytest.approx(step, rel=1e-3)
    assert complexity == pytest.approx(1, rel=1e-2)  # Hjorth: that of a sine is 1


def test_the_spectrum_is_welchs(summary):
    samples = walk(3000).samples[0]
    score = (samples - samples.mean()) / samples.std()
    frequency, power = signal.welch(score, nperseg=256, noverlap=128, detrend="constant")
    share = power[1:] / power[1:].sum()
    found = summary(samples)[15:30]
    np.testing.assert_allclose(found[:BANDS], np.log(share @ cut_bands(128).numpy()), atol=1e-3)
    centroid = (share * frequency[1:]).sum()
    spread = np.sqrt((share * (frequency[1:] - centroid) ** 2).sum())
    entropy = -(share * np.log(share)).sum() / np.log(128)
    np.testing.assert_allclose(found[BANDS:], [centroid, spread, entropy], rtol=1e-3)


def test_bands_share_every_bin_out_once():
    np.testing.assert_allclose(cut_bands(128).sum(axis=1), 1, rtol=1e-5)


def test_channels_are_compared_by_their_correlation(make, encode):
    value = walk(800)
    value.samples[1] += value.samples[0]
    vector = encode(*make("signal_statistics"), [value], **OPTIONS)[0]
    assert vector[60] == pytest.approx(np.corrcoef(value.samples)[0, 1], abs=1e-4)
    assert vector[61] == pytest.approx(np.log(800))


def test_a_tiny_change_of_the_signal_is_a_tiny_change_of_the_vector(make, encode):
    value = walk(2000)
    nudged = value.samples * (1 + 1e-6 * np.sign(walk(2000, seed=1).samples))
    pair = [value, Recording(nudged.astype(np.float32), RATE_HZ)]
    one, other = encode(*make("signal_statistics"), pair, **OPTIONS)
    assert np.abs(one - other).max() < 1e-3


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_the_scale_is_fitted_over_all_samples_but_padding(offset):
    rng = np.random.default_rng(0)
    rows = [rng.normal([[offset], [3.0]], [[1.0], [0.0]], (2, n)) for n in (30, 7, 50)]
    samples = np.zeros((3, 2, 50))
    for place, row in enumerate(rows):
        samples[place, :, : row.shape[1]] = row
    length = np.array([30, 7, 50])
    state = fit_signal_scale(
        [
            {"samples": samples[:1], "length": length[:1]},
            {"samples": samples[1:], "length": length[1:]},
        ],
        None,
    )
    whole = np.concatenate(rows, axis=1)
    np.testing.assert_allclose(state["mean"], whole.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(state["scale"], [whole[0].std(), 1], rtol=1e-4)


@pytest.mark.slow
def test_hidden_patches_are_learnt_from_those_beside_them(make):
    encoder, _ = make("signal_transformer", objective="masked")
    body = encoder.body({"mean": np.zeros(1, np.float32), "scale": np.ones(1, np.float32)})
    torch.manual_seed(0)
    phase = 6.28 * torch.rand(32, 1, 1)
    samples = 1.4142 * torch.sin(torch.arange(192) / 8 + phase)  # of variance 1
    length = torch.full((32,), 192)
    optimizer = torch.optim.AdamW(body.train().parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        loss = body.self_supervised_loss(samples, length)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # To know nothing costs the variance of what is hidden.
    assert losses[0] > 0.9
    assert np.mean(losses[-5:]) < 0.6


@pytest.mark.slow
def test_padding_does_not_enter_the_masked_loss(make):
    encoder, _ = make("signal_transformer", objective="masked")
    body = encoder.body({"mean": MEAN, "scale": SCALE}).eval()
    values, padded = torch.zeros(1, 2, 160), torch.full((1, 2, 400), 99.0)
    values[:], padded[:, :, :160] = torch.from_numpy(walk(160).samples), values
    losses = []
    for samples in (values, padded):
        torch.manual_seed(0)
        with torch.no_grad():
            losses.append(
                np.mean(
                    [body.self_supervised_loss(samples, torch.tensor([160])) for _ in range(300)]
                )
            )
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize("name", LEARNED)
def test_labels_are_answered_by_logits(name, build, give_state, encode):
    encoder = build(name, "signal")
    state = give_state(encoder, outputs=3, mean=MEAN, scale=SCALE)
    assert encoder.supervised
    assert encode(encoder, encoder.network(state), [walk(200)], **OPTIONS).shape == (1, 3)


def test_heads_must_divide_the_width(build):
    with pytest.raises(ConfigError, match=r"`dim` 20 must be a multiple of 2 `heads` = 8"):
        build("signal_transformer", "signal", dim=20)


def test_an_unknown_objective_is_refused(build):
    with pytest.raises(ConfigError, match=r"must be one of supervised, contrastive, got 'masked'"):
        build("signal_cnn", "signal", objective="masked")
