"""taper/ops/bitwise.py: bits, truth values, whole numbers."""

import pytest

import taper as torch


def test_bits():
    x = torch.tensor([6, 3])
    assert (x & 2).tolist() == [2, 2]
    assert (x | 1).tolist() == [7, 3]
    assert (1 ^ x).tolist() == [7, 2]
    assert (~x).tolist() == [-7, -4]
    x &= 4
    assert x.tolist() == [4, 0]


def test_bools():
    yes_no = torch.tensor([True, False])
    assert (~yes_no).tolist() == [False, True]
    assert (yes_no & True).tolist() == [True, False]
    assert (yes_no ^ yes_no).dtype is torch.bool


def test_floats_have_no_bits():
    with pytest.raises(NotImplementedError, match="\"bitwise_and_cpu\" not implemented for 'F"):
        torch.ones(1) & torch.ones(1)
    with pytest.raises(NotImplementedError, match="\"bitwise_not_cpu\" not implemented for 'F"):
        ~torch.ones(1)


def test_shifts_beyond_the_width():
    x = torch.tensor([3, -3])
    assert (x << 1).tolist() == [6, -6]
    assert (x >> 1).tolist() == [1, -2]
    assert (x << 64).tolist() == [0, 0]
    assert (x >> 64).tolist() == [0, -1]
    assert (1 << torch.tensor([3])).tolist() == [8]
    assert (16 >> torch.tensor([3])).tolist() == [2]
    with pytest.raises(NotImplementedError, match="\"lshift_cpu\" not implemented for 'Float'"):
        torch.ones(1) << torch.ones(1)


def test_truth_of_numbers():
    x, y = torch.tensor([0.0, 2.0]), torch.tensor([1, 0])
    assert torch.logical_and(x, y).tolist() == [False, False]
    assert torch.logical_or(x, y).tolist() == [True, True]
    assert torch.logical_xor(x, y).tolist() == [True, True]
    assert torch.logical_not(x).tolist() == [True, False]


def test_divisors():
    assert torch.gcd(torch.tensor([12, 0]), torch.tensor([-18, -4])).tolist() == [6, 4]
    assert torch.lcm(torch.tensor([4]), torch.tensor([-6])).tolist() == [12]
    with pytest.raises(NotImplementedError, match="\"gcd_cpu\" not implemented for 'Float'"):
        torch.gcd(torch.ones(1), torch.ones(1))
