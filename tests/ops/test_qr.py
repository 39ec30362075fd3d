import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

linalg = torch.linalg


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3), (2, 4, 2)])
def test_factors(shape):
    torch.manual_seed(0)
    a = torch.randn(*shape, dtype=torch.float64)
    q, r = linalg.qr(a)
    m, n = shape[-2:]
    k = min(m, n)
    assert q.shape == (*shape[:-2], m, k)
    assert r.shape == (*shape[:-2], k, n)
    assert torch.allclose(q @ r, a)
    assert torch.allclose(q.mT @ q, torch.eye(k, dtype=torch.float64).expand(*shape[:-2], k, k))
    assert torch.equal(r, r.triu())


def test_modes():
    a = torch.ones(3, 2)
    assert linalg.qr(a, "complete").Q.shape == (3, 3)
    assert linalg.qr(a, "r").Q.shape == (0,)
    with pytest.raises(RuntimeError, match="qr received unrecognized mode 'x'"):
        linalg.qr(a, "x")
    a.requires_grad_()
    with pytest.raises(RuntimeError, match="not differentiable when mode='complete' and nrows > "):
        linalg.qr(a, "complete").R.sum().backward()
    with pytest.raises(RuntimeError, match=r"The derivative of linalg.qr depends on Q"):
        linalg.qr(a, "r").R.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3)])
def test_derivative_of_qr(shape, dtype):
    torch.manual_seed(0)
    a = torch.randn(*shape, dtype=dtype).requires_grad_()
    for function in (lambda x: tuple(linalg.qr(x)), lambda x: linalg.qr(x).R):
        assert gradcheck(function, (a,))
        assert gradgradcheck(function, (a,))


def test_reflectors():
    a = torch.tensor([[3.0, 1.0], [4.0, 2.0]], dtype=torch.float64)
    packed, tau = torch.geqrf(a)
    q = linalg.householder_product(packed, tau)
    assert torch.allclose(q @ packed.triu(), a)
    assert torch.allclose(torch.ormqr(packed, tau, torch.eye(2, dtype=a.dtype)), q)
    assert torch.allclose(torch.ormqr(packed, tau, a, transpose=True), packed.triu())
    assert torch.allclose(torch.ormqr(packed, tau, a, left=False), a @ q)
    with pytest.raises(RuntimeError, match=r"greater than or equal to input.shape\[-1\]"):
        linalg.householder_product(torch.ones(2, 3), torch.ones(2))
    with pytest.raises(RuntimeError, match=r"other.shape\[-2\] must be equal to input.shape\[-2\]"):
        torch.ormqr(packed, tau, torch.ones(3, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives_of_reflectors(dtype):
    torch.manual_seed(0)
    a, tau = (torch.randn(*s, dtype=dtype).requires_grad_() for s in ((4, 2), (2,)))
    c = torch.randn(4, 3, dtype=dtype).requires_grad_()
    row = torch.randn(3, 4, dtype=dtype).requires_grad_()
    for function, inputs in (
        (linalg.householder_product, (a, tau)),
        (torch.ormqr, (a, tau, c)),
        (lambda x, t, y: torch.ormqr(x, t, y, transpose=True), (a, tau, c)),
        (lambda x, t, y: torch.ormqr(x, t, y, left=False), (a, tau, row)),
    ):
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs, fast_mode=True)
