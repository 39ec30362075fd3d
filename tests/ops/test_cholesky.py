import warnings

import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

linalg = torch.linalg
A = torch.tensor([[4.0, 2.0], [2.0, 5.0]])


def test_factors():
    assert linalg.cholesky(A).tolist() == [[2, 0], [1, 2]]
    assert linalg.cholesky(A, upper=True).tolist() == [[2, 1], [0, 2]]
    spoilt = torch.tensor([[4.0, 99.0], [2.0, 5.0]])  # only the lower triangle is read
    assert linalg.cholesky(spoilt).tolist() == [[2, 0], [1, 2]]


def test_matrices_that_are_not_definite():
    with pytest.raises(linalg.LinAlgError, match=r"the leading minor of order 2 is not posi"):
        linalg.cholesky(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    found = linalg.cholesky_ex(torch.stack([torch.eye(2), -torch.eye(2)]))
    assert found.info.tolist() == [0, 1]
    with pytest.raises(linalg.LinAlgError, match=r"linalg.cholesky_ex: The factorization"):
        linalg.cholesky_ex(-torch.eye(2), check_errors=True)


def test_solving_and_inverting():
    factor = linalg.cholesky(A)
    x = torch.cholesky_solve(torch.tensor([[6.0], [7.0]]), factor)
    assert x.flatten().tolist() == pytest.approx([1, 1])
    inverse = [[0.3125, -0.125], [-0.125, 0.25]]
    assert torch.cholesky_inverse(factor).tolist() == inverse
    assert torch.cholesky_inverse(factor.T, upper=True).tolist() == inverse
    with pytest.raises(RuntimeError, match="Incompatible matrix sizes for cholesky_solve"):
        torch.cholesky_solve(torch.ones(3, 1), factor)


def test_the_old_name_warns_once_at_the_callers_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            assert torch.cholesky(A).tolist() == [[2, 0], [1, 2]]
    assert len(caught) <= 1
    assert all(w.filename == __file__ for w in caught)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives(dtype):
    torch.manual_seed(0)
    root = torch.randn(3, 3, dtype=dtype).requires_grad_()
    b = torch.randn(3, 2, dtype=dtype).requires_grad_()

    def definite(x):
        return x @ x.mH + torch.eye(3, dtype=dtype)

    def factor(x):
        return linalg.cholesky(definite(x))

    for function, inputs in (
        (factor, (root,)),
        (lambda x: linalg.cholesky_ex(definite(x), upper=True)[0], (root,)),
        (lambda x, y: torch.cholesky_solve(y, factor(x)), (root, b)),
        (lambda x: torch.cholesky_inverse(factor(x)), (root,)),
    ):
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs)
