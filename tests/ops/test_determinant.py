import math

import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

A = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_values():
    assert A.det().item() == pytest.approx(-2)
    sign, logarithm = torch.slogdet(A)
    assert (sign.item(), logarithm.item()) == (-1, pytest.approx(math.log(2)))
    assert torch.logdet(A).isnan()
    assert torch.logdet(torch.eye(3)).item() == 0
    assert torch.trace(A).item() == 5
    assert torch.linalg.diagonal(A.expand(3, 2, 2)).shape == (3, 2)
    assert torch.linalg.det(torch.zeros(2, 0, 0)).tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives(dtype):
    torch.manual_seed(0)
    a = torch.randn(2, 3, 3, dtype=dtype).requires_grad_()
    for function in (torch.det, lambda x: tuple(torch.linalg.slogdet(x))):
        assert gradcheck(function, (a,))
        assert gradgradcheck(function, (a,))


def test_the_derivative_at_singular_matrices_is_that_of_the_cofactors():
    a = torch.tensor([[1.0, 2.0], [2.0, 4.0]], requires_grad=True)
    a.det().backward()
    assert a.grad.flatten().tolist() == pytest.approx([4, -2, -2, 1], abs=1e-5)
