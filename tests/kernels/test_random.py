"""Kernels of random numbers: known values, rules of sizes and dtypes, statistics."""

import ml_dtypes
import numpy as np
import pytest

from taper.core.generator import Generator
from taper.kernels import random, random_streams

F4, F8, I8 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)


def seeded(seed=0):
    return Generator().manual_seed(seed)


def test_the_values_everyone_knows():
    """What manual_seed(0) is followed by in PyTorch."""
    close = dict(rtol=1e-6, atol=0)
    assert np.allclose(
        random.uniform(seeded(), (3,)), [0.49625659, 0.76822180, 0.08847743], **close
    )
    assert np.allclose(
        random.normal(seeded(), (3,)), [1.54099607, -0.29342890, -2.17878938], **close
    )
    seventeen = random.normal(seeded(), (17,))
    expected = [-1.12583983, -1.69593120, -0.84367675, 0.93182659]
    assert np.allclose(seventeen[[0, 1, 15, 16]], expected, **close)
    assert random.integers(seeded(), (6,), I8, 0, 10).tolist() == [4, 9, 3, 0, 3, 9]
    assert random.integers(seeded(), (2,), I8, 0, 2**40).tolist() == [741280623151, 506137267392]
    assert random.permutation(seeded(), 8).tolist() == [4, 0, 7, 3, 2, 5, 1, 6]
    assert random.bernoulli(seeded(), (6,), F4, 0.5).tolist() == [0, 0, 1, 0, 0, 0]
    expected = [3.50832629, 1.23038471, 0.61504412]
    assert np.allclose(random.exponential(seeded(), (3,)), expected, **close)
    weights = np.array([0.1, 0.2, 0.7], np.float32)
    assert random.multinomial(seeded(), weights, 1).tolist() == [2]
    expected = [1.08964884 - 0.20748557j, -1.54063678 + 0.40194160j]
    values = random.normal(seeded(), (2,), np.dtype(np.complex64))
    assert np.allclose(values, expected, rtol=1e-6)


def test_the_second_of_a_pair_is_kept():
    whole = random.normal(seeded(), (10,))
    g = seeded()
    parts = [random.normal(g, (n,)) for n in (1, 3, 0, 1, 5)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert g.next_normal is None


def test_an_unaligned_start_gives_the_same_normals():
    for skip in range(1, 9):
        g, h = seeded(), seeded()
        g.draw(skip), h.draw(skip)
        direct = np.concatenate([random_streams._to_normal64(g.draw(4)) for _ in range(300)])
        small = np.concatenate([random.normal(h, (6,), F8) for _ in range(100)])
        assert np.allclose(direct, small, rtol=1e-14)


def test_a_large_fill_equals_many_small_ones():
    g, h = seeded(), seeded()
    assert np.array_equal(
        random.uniform(g, (100000,)),
        np.concatenate([random.uniform(h, (n,)) for n in (10, 90, 900, 9000, 90000)]),
    )
    assert np.array_equal(
        random.normal(g, (160000,)),
        np.concatenate([random.normal(h, (n,)) for n in (16, 144, 3840, 156000)]),
    )


def test_shapes_and_dtypes():
    for dtype in (np.float16, np.float32, np.float64, np.complex64, np.complex128,
                  ml_dtypes.bfloat16):
        dtype = np.dtype(dtype)
        for shape in ((), (0,), (3, 0), (2, 3), (4, 5, 6)):
            for kernel in (random.uniform, random.normal):
                values = kernel(seeded(), shape, dtype)
                assert values.shape == shape and values.dtype == dtype
                assert values.flags.writeable and values.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_uniform_stays_below_its_upper_bound(dtype):
    values = random.uniform(seeded(), (100000,), np.dtype(dtype), 1.0, 1.0625).astype(float)
    assert values.min() >= 1.0 and values.max() < 1.0625


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("serial", [False, True])
def test_normal_has_its_moments(dtype, serial):
    values = random.normal(seeded(), (200000,), np.dtype(dtype), 1.0, 2.0, serial)
    assert abs(values.mean() - 1) < 0.02 and abs(values.std() - 2) < 0.02
    assert abs((np.abs(values - 1) < 2).mean() - 0.6827) < 0.005


@pytest.mark.parametrize("n", [0, 1, 2, 3, 50, 599, 600, 5000, 20000])
def test_permutation_equals_its_definition(n):
    draws, expected = seeded(n).draw(max(n - 1, 0)).tolist(), list(range(n))
    for i, draw in enumerate(draws):
        j = i + draw % (n - i)
        expected[i], expected[j] = expected[j], expected[i]
    assert random.permutation(seeded(n), n).tolist() == expected


def test_following_swaps_equals_swapping():
    choose = np.random.default_rng(0)
    for n in (2, 3, 4, 5, 8, 30, 300):
        for _ in range(50):
            target = choose.integers(np.arange(n), n)
            items = list(range(n))
            for i, j in enumerate(target.tolist()):
                items[i], items[j] = items[j], items[i]
            assert random._follow_swaps(target).tolist() == items


def test_box_muller_is_close_to_its_formula():
    draws = seeded().draw(16000)
    uniforms = ((draws & 0xFFFFFF) * 2.0**-24).reshape(-1, 2, 8)
    radius = np.sqrt(-2 * np.log1p(-uniforms[:, 0]))
    angle = 2 * np.pi * uniforms[:, 1]
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()
    assert np.allclose(random_streams.box_muller(draws), expected, rtol=1e-5, atol=2e-6)


def test_multinomial_errors_and_shapes():
    ones = np.ones((2, 4), np.float32)
    assert random.multinomial(seeded(), ones, 3).shape == (2, 3)
    assert all(len(set(row)) == 4 for row in random.multinomial(seeded(), ones, 4).tolist())
    only = np.array([0.0, 0.0, 1.0], np.float32)
    assert set(random.multinomial(seeded(), only, 50, True).tolist()) == {2}
    for bad, replacement, text in (
        ([1.0, -1.0], False, "probability tensor contains either `inf`, `nan` or element < 0"),
        ([0.0, 0.0], False, r"invalid multinomial distribution \(sum of probabilities <= 0\)"),
        ([1.0, -1.0], True, r"invalid multinomial distribution \(encountering probability entry <"),
        ([1.0, np.inf], True, "encountering probability entry = infinity or NaN"),
        ([0.0, 0.0], True, r"invalid multinomial distribution \(sum of probabilities <= 0\)"),
    ):
        with pytest.raises(RuntimeError, match=text):
            random.multinomial(seeded(), np.array(bad, np.float32), 2, replacement)


def test_filling_follows_memory():
    values = random.uniform(seeded(), (6,))
    target = np.zeros((2, 3), np.float32).T
    random.fill(target, random.uniform, seeded())
    assert np.array_equal(target.T.ravel(), values)
    serial = random.normal(seeded(), (20,), F4, serial=True)
    target = np.zeros((4, 5), np.float32).T
    random.fill_normal(target, seeded())
    assert np.array_equal(target.T.ravel(), serial)
