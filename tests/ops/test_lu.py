import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

linalg = torch.linalg


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 3, 3)])
def test_factors(shape):
    torch.manual_seed(0)
    a = torch.randn(*shape, dtype=torch.float64)
    p, lower, upper = linalg.lu(a)
    assert torch.allclose(p @ lower @ upper, a)
    packed, pivots = linalg.lu_factor(a)
    assert pivots.dtype is torch.int32
    unpacked = torch.lu_unpack(packed, pivots)
    assert all(torch.equal(x, y) for x, y in zip(unpacked, (p, lower, upper), strict=True))


def test_zeros_in_u():
    with pytest.raises(RuntimeError, match=r"linalg.lu_factor: U\[1,1\] is zero"):
        linalg.lu_factor(torch.zeros(2, 2))
    assert linalg.lu_factor_ex(torch.zeros(2, 2)).info.item() == 1
    with pytest.raises(RuntimeError, match="LU without pivoting is not implemented on the CPU"):
        linalg.lu(torch.eye(2), pivot=False)


def test_solving():
    torch.manual_seed(0)
    a, b = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    packed, pivots = linalg.lu_factor(a)
    assert torch.allclose(a @ linalg.lu_solve(packed, pivots, b), b)
    assert torch.allclose(a.T @ linalg.lu_solve(packed, pivots, b, adjoint=True), b)
    assert torch.allclose(linalg.lu_solve(packed, pivots, b.T, left=False) @ a, b.T)
    with pytest.raises(RuntimeError, match=r"pivots should be a Tensor of scalar type torch.int32"):
        linalg.lu_solve(packed, pivots.long(), b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("hermitian", [False, True])
def test_ldl(dtype, hermitian):
    torch.manual_seed(0)
    a = torch.randn(2, 4, 4, dtype=dtype)
    a = a + (a.mH if hermitian else a.mT)
    b = torch.randn(2, 4, 1, dtype=dtype)
    packed, pivots = linalg.ldl_factor(a, hermitian=hermitian)
    assert torch.allclose(a @ linalg.ldl_solve(packed, pivots, b, hermitian=hermitian), b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3)])
def test_derivatives_of_factors(shape, dtype):
    torch.manual_seed(0)
    a = torch.randn(*shape, dtype=dtype).requires_grad_()
    for function in (
        lambda x: tuple(linalg.lu(x))[1:], lambda x: linalg.lu_factor(x)[0],
        lambda x: torch.lu_unpack(*linalg.lu_factor(x))[1:],
    ):
        assert gradcheck(function, (a,))
        assert gradgradcheck(function, (a,))
    assert linalg.lu(a).P.requires_grad is False


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("adjoint", [True, False])
def test_derivatives_of_solving(left, adjoint):
    torch.manual_seed(0)
    a = torch.randn(3, 3, dtype=torch.complex128).requires_grad_()
    b = torch.randn(*((3, 2) if left else (2, 3)), dtype=torch.complex128).requires_grad_()

    def solve(x, y):
        return linalg.lu_solve(*linalg.lu_factor(x), y, left=left, adjoint=adjoint)

    assert gradcheck(solve, (a, b))
    assert gradgradcheck(solve, (a, b))
