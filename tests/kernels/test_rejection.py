"""Variates of a varying number of draws: their moments, and what they leave in the stream."""

import numpy as np
import pytest

from taper.core.generator import Generator
from taper.kernels import random, rejection
from taper.kernels.gamma_derivatives import beta_derivative, gamma_derivative


def seeded():
    return Generator().manual_seed(5)


def test_peeking_takes_nothing():
    one, other = seeded(), seeded()
    one.peek(3000)
    assert np.array_equal(one.draw(2000), other.draw(2000))
    one.peek(5000)
    assert np.array_equal(one.state_bytes(), other.state_bytes())
    assert np.array_equal(one.draw(900), other.draw(900))
    one.peek(10)
    assert np.array_equal(random.uniform(one, (700,)), random.uniform(other, (700,)))


@pytest.mark.parametrize("rate", [0.5, 4.0, 30.0])
def test_poisson_has_its_moments(rate):
    counts = rejection.poisson(seeded(), np.full(5000, rate))
    assert abs(counts.mean() - rate) < 0.1 * max(1, rate**0.5)
    assert abs(counts.var() / rate - 1) < 0.1


@pytest.mark.parametrize(("count", "p"), [(5, 0.3), (40, 0.2), (100, 0.5), (100, 0.9)])
def test_binomial_has_its_moments(count, p):
    successes = rejection.binomial(seeded(), np.full(5000, float(count)), np.array(p))
    deviation = (count * p * (1 - p)) ** 0.5
    assert abs(successes.mean() - count * p) < 0.06 * deviation
    assert abs(successes.std() / deviation - 1) < 0.05
    assert successes.min() >= 0
    assert successes.max() <= count


def test_binomial_of_certain_outcomes():
    counts = np.array([7.0, 7.0, 0.0, np.nan])
    drawn = rejection.binomial(seeded(), counts, np.array([0.0, 1.0, 0.5, 0.5]))
    assert drawn[:3].tolist() == [0, 7, 0]
    assert np.isnan(drawn[3])


@pytest.mark.parametrize("shape", [0.2, 1.0, 3.0, 200.0])
def test_gamma_has_its_moments(shape):
    values = rejection.gamma(seeded(), np.full(5000, shape))
    assert abs(values.mean() - shape) < 0.06 * shape**0.5
    assert abs(values.var() / shape - 1) < 0.2
    assert values.min() > 0


def test_gamma_stays_positive():
    tiny = np.finfo(np.float32).tiny
    assert rejection.gamma(seeded(), np.full(100, 1e-4, np.float32)).min() == tiny
    assert rejection.gamma(seeded(), np.zeros(1, np.float32)).tolist() == [tiny]


def test_dirichlet_sums_to_one():
    values = rejection.dirichlet(seeded(), np.full((2000, 3), [0.5, 1.0, 2.5]))
    assert np.allclose(values.sum(-1), 1)
    assert np.allclose(values.mean(0), np.array([0.5, 1.0, 2.5]) / 4, atol=0.02)


def test_gamma_derivative_of_the_exponential():
    # Of shape 1, P(a, x) = 1 - exp(-x); the quantile's slope, by differences of SciPy's.
    special = pytest.importorskip("scipy.special")
    a = np.array([1.0, 1.0, 0.3, 4.0, 50.0, 1e4])
    x = np.array([0.3, 2.5, 0.01, 6.0, 45.0, 1.01e4])
    u, h = special.gammainc(a, x), 1e-4 * np.sqrt(a)
    slope = (special.gammaincinv(a + h, u) - special.gammaincinv(a - h, u)) / (2 * h)
    assert np.allclose(gamma_derivative(a, x), slope, rtol=1e-6)


def test_beta_derivative_by_differences():
    special = pytest.importorskip("scipy.special")
    a = np.array([1.0, 0.2, 5.0, 300.0, 2.0])
    b = np.array([1.0, 0.7, 0.1, 200.0, 40.0])
    x = np.array([0.4, 0.9, 0.99, 0.61, 0.01])
    u, h = special.betainc(a, b, x), 1e-4 * a
    slope = (special.betaincinv(a + h, b, u) - special.betaincinv(a - h, b, u)) / (2 * h)
    assert np.allclose(beta_derivative(a, b, x), slope, rtol=1e-5)
    # Beta(a, 1) has the quantile u^(1/a), which moves with -x log(x) / a.
    x = np.array([0.1, 0.5, 0.9])
    assert np.allclose(beta_derivative(np.array(3.0), np.array(1.0), x), -x * np.log(x) / 3)
