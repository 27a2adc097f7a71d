import numpy as np
import pytest

from graphc.train.data.draws import Draws, philox

KNOWN = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
"""Counter, key and result: the known answers of Random123, the authors' own implementation."""


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_known_answers(counter, key, expected):
    result = philox(np.array(key, np.uint64), np.array(counter, np.uint64)[:, None])
    assert result.ravel().tolist() == list(expected)


def test_numbers_depend_on_the_sample_alone_whatever_others_are_there():
    rows = np.random.default_rng(0).permutation(50)
    whole, part = Draws(3, 2, 1, np.arange(50)), Draws(3, 2, 1, rows[:7])
    for draw in (lambda d: d.uniform(3), lambda d: d.normal(2, 5), lambda d: d.integers(9)[0], lambda d: d.beta(0.4)):
        np.testing.assert_array_equal(draw(whole)[rows[:7]], draw(part))


def test_seed_epoch_step_call_and_sample_all_count():
    def first(seed=0, epoch=1, step=0, number=0, call=0):
        draws = Draws(seed, epoch, step, np.array([number]))
        return [draws.words(1) for _ in range(call + 1)][-1].item()

    others = [first(seed=1), first(epoch=2), first(step=1), first(number=1), first(number=1 << 40), first(call=1)]
    assert len({first(), *others}) == 7


@pytest.fixture(scope="module")
def many():
    return np.arange(100_000)


def test_uniform_numbers_are_uniform(many):
    u = Draws(0, 1, 0, many).uniform(2, low=-1, high=3)
    assert -1 <= u.min() < u.max() < 3
    counts = np.histogram(u, bins=20, range=(-1, 3))[0] / 10_000
    np.testing.assert_allclose(counts, 1, atol=0.05)
    assert abs(np.corrcoef(u.T)[0, 1]) < 0.02


def test_normal_numbers_have_the_moments_of_the_normal_distribution(many):
    z = Draws(0, 1, 0, many).normal(3).astype(np.float64)
    assert np.isfinite(z).all()
    np.testing.assert_allclose([(z**k).mean() for k in (1, 2, 3, 4)], [0, 1, 0, 3], atol=0.08)
    np.testing.assert_allclose(np.corrcoef(z.T), np.eye(3), atol=0.02)


def test_integers_are_uniform_below_their_limits(many):
    five, three = Draws(0, 1, 0, many).integers(5, 3)
    np.testing.assert_allclose(np.bincount(five) / 20_000, np.ones(5), atol=0.03)
    np.testing.assert_allclose(np.bincount(three) / 33_333, np.ones(3), atol=0.03)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.5, 1.0, 4.0])
def test_beta_numbers_follow_the_beta_distribution(many, alpha):
    stats = pytest.importorskip("scipy.stats")
    b = Draws(0, 1, 0, many).beta(alpha)
    assert 0 <= b.min() <= b.max() <= 1
    np.testing.assert_allclose(b.mean(), 0.5, atol=0.01)
    np.testing.assert_allclose(b.var(), 1 / (4 * (2 * alpha + 1)), rtol=0.02)
    places = np.linspace(0.05, 0.95, 19)
    shares = [(b < place).mean() for place in places]
    np.testing.assert_allclose(shares, stats.beta(alpha, alpha).cdf(places), atol=0.006)
