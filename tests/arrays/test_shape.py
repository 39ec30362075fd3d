"""Shapes without data: the same answers as NumPy gives, without computing."""

import numpy as np
import pytest

import taper as torch
from taper.arrays.shape import ShapeArray
from taper.nn import functional as F

A = np.ones((2, 3), np.float32)
B = np.ones((3, 4), np.float64)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a + 1,
        lambda a, b: np.exp(a.T),
        lambda a, b: a @ b,
        lambda a, b: a.dot(b),
        lambda a, b: np.add.reduce(a, 0),
        lambda a, b: np.maximum.reduce(a, None, None, None, True),
        lambda a, b: a.T.reshape(-1),
        lambda a, b: a[:, None, 1:],
        lambda a, b: np.where(a > 0, a, 0.0),
        lambda a, b: np.concatenate([a, a], 1),
        lambda a, b: np.stack([a, a], -1),
        lambda a, b: a.argmax(1) if isinstance(a, np.ndarray) else np.argmax(a, 1),
        lambda a, b: np.argsort(a, 0),
        lambda a, b: np.take_along_axis(a, np.zeros((2, 1), int), 1),
        lambda a, b: np.einsum("ij,jk->ki", a, b),
        lambda a, b: np.pad(a, ((0, 0), (1, 2))),
        lambda a, b: a.astype(np.int8).sum(1) if isinstance(a, np.ndarray)
        else np.sum(a.astype(np.int8), 1),
    ],
)
def test_agrees_with_numpy(function):
    expected = function(A, B)
    found = function(*(ShapeArray(x.shape, x.dtype, x.strides) for x in (A, B)))
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype


@pytest.mark.parametrize(
    "function", [lambda a: a.T, lambda a: a.T + 1, lambda a: a[:, ::2], lambda a: a.reshape(3, 2)]
)
def test_strides_agree_with_numpy(function):
    assert function(ShapeArray(A.shape, A.dtype)).strides == function(A).strides


def test_errors():
    a = ShapeArray((2, 3), np.float32)
    with pytest.raises(ValueError):
        a + ShapeArray((4,), np.float32)
    with pytest.raises(ValueError):
        a @ a
    with pytest.raises(RuntimeError, match="same device"):
        np.add(a, np.ones(3))
    with pytest.raises(NotImplementedError, match="interp"):
        np.interp(a, a, a)
    with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
        bool(a)


def test_meta_tensors():
    x = torch.empty(2, 3, device="meta")
    y = torch.nn.functional.linear(x, torch.empty(5, 3, device="meta")).relu().sum(0)
    assert y.shape == (5,) and y.is_meta
    assert repr(y) == "tensor(..., device='meta', size=(5,))"
    huge = torch.empty(10**6, 10**6, device="meta")
    assert (huge + huge).numel() == 10**12


def test_views_know_where_they_begin():
    m = torch.empty(4, 5, device="meta")
    assert [v.storage_offset() for v in (m[1:], m[2, 3:], m.t()[1], m.diagonal(1))] == [5, 13, 1, 1]
    assert m[1:][1:].storage_offset() == 10 and m.view(2, 10)[1, 2:].storage_offset() == 12
    z = torch.empty(4, dtype=torch.complex64, device="meta")
    assert z[1:].imag.storage_offset() == 3


def test_copies_keep_the_order_of_dimensions():
    m = torch.empty(2, 3, 4, 5, device="meta").to(memory_format=torch.channels_last)
    assert m.is_contiguous(memory_format=torch.channels_last)
    for copy in (m.clone(), m + 1, m.double(), torch.zeros_like(m)):
        assert copy.stride() == (60, 1, 15, 3)
    assert m.contiguous().stride() == (60, 20, 5, 1)


def test_large_tables_are_not_computed():
    """An embedding and its loss, too large for any machine."""
    table = torch.empty(10**7, 10**5, device="meta", requires_grad=True)
    rows = torch.nn.functional.embedding(torch.zeros(2, 3, dtype=torch.int64, device="meta"), table)
    loss = torch.nn.functional.cross_entropy(
        rows.flatten(0, 1), torch.zeros(6, dtype=torch.int64, device="meta"))
    loss.backward()
    assert rows.shape == (2, 3, 10**5) and table.grad.shape == table.shape


def test_random_functions_have_shapes():
    m = torch.ones(2, 3, 4, device="meta", requires_grad=True)
    state = torch.get_rng_state()
    for result in (F.dropout(m), F.alpha_dropout(m, training=True), F.dropout1d(m),
                   F.rrelu(m, training=True), torch.rand_like(m)):
        assert result.is_meta and result.shape == m.shape
    assert torch.multinomial(m[0].detach(), 2).shape == (3, 2)
    assert torch.equal(torch.get_rng_state(), state)
    F.dropout(m).sum().backward()
    assert m.grad.shape == m.shape


def test_a_sort_of_all_elements_is_flat():
    a = ShapeArray((2, 3), np.float32)
    assert np.sort(a, None).shape == (6,) and np.sort(a).shape == (2, 3)
