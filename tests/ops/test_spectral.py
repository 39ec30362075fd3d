import math

import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

linalg = torch.linalg


def test_symmetric_eigenvalues():
    values, vectors = linalg.eigh(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
    assert values.tolist() == pytest.approx([1, 3])
    assert vectors.abs().flatten().tolist() == pytest.approx([math.sqrt(0.5)] * 4)
    triangular = torch.tensor([[2.0, 9.0], [0.0, 1.0]])
    assert linalg.eigvalsh(triangular).tolist() == [1, 2]
    assert linalg.eigvalsh(triangular, UPLO="U").tolist() != [1, 2]
    with pytest.raises(RuntimeError, match="Expected UPLO argument to be 'L' or 'U', but got x"):
        linalg.eigh(triangular, "x")


def test_general_eigenvalues_are_complex():
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    values, vectors = linalg.eig(turn)
    assert values.dtype is torch.complex64
    assert sorted(values.imag.tolist()) == [-1, 1]
    assert torch.allclose(turn.to(torch.complex64) @ vectors, vectors * values)
    with pytest.raises(RuntimeError, match="should not contain infs or NaNs"):
        linalg.eig(torch.full((2, 2), math.nan))


def test_singular_values():
    a = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    u, s, vh = linalg.svd(a, full_matrices=False)
    assert s.tolist() == [2, 1]
    assert torch.allclose(u * s @ vh, a)
    assert linalg.svd(a).Vh.shape == (3, 3)
    assert torch.svd(a).V.shape == (3, 2)
    assert torch.svd(a, compute_uv=False).U.tolist() == [[0, 0], [0, 0]]
    with pytest.raises(linalg.LinAlgError, match="contained non-finite values"):
        linalg.svd(torch.full((2, 2), math.nan))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives(dtype):
    torch.manual_seed(0)
    a = torch.randn(3, 3, dtype=dtype).requires_grad_()
    tall = torch.randn(4, 2, dtype=dtype).requires_grad_()

    def hermitian(x):
        values, vectors = linalg.eigh(x + x.mH)
        return values, vectors.abs()

    def general(x):
        values, vectors = linalg.eig(x)
        return values, vectors.abs()

    def singular(x):
        u, s, vh = linalg.svd(x, full_matrices=False)
        return u.abs(), s, vh.abs()

    for function, x in ((hermitian, a), (general, a), (singular, a), (singular, tall),
                        (lambda x: singular(x.mH), tall), (linalg.svdvals, tall)):
        assert gradcheck(function, (x,))
        assert gradgradcheck(function, (x,))
