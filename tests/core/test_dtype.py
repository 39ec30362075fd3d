"""Dtypes: those that exist by name only."""

import pickle

import pytest

import taper as torch


def test_complex_numbers_of_half_precision_are_only_named():
    d = torch.complex32
    assert d is torch.chalf and isinstance(d, torch.dtype) and repr(d) == "torch.complex32"
    assert d.is_complex and d.itemsize == 4
    assert d.to_real() is torch.float16 and torch.float16.to_complex() is d
    assert pickle.loads(pickle.dumps(d)) is d
    x = torch.ones(2)
    for make in (
        lambda: torch.zeros(2, dtype=d), lambda: x.to(d), x.chalf,
        lambda: torch.complex(x.half(), x.half()), lambda: torch.view_as_complex(x.half()),
    ):
        with pytest.raises(NotImplementedError, match=r"Use torch.complex64"):
            make()
