import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

A = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_products_by_hand():
    x = torch.tensor([1.0, 1.0])
    assert (A @ A).tolist() == [[7, 10], [15, 22]]
    assert (A @ x).tolist() == [3, 7]
    assert (x @ A).tolist() == [4, 6]
    assert (x @ x).item() == 2
    assert torch.vdot(torch.tensor([1j]), torch.tensor([1j])).item() == 1
    assert torch.addmm(x, A, A, beta=2, alpha=0.5).tolist() == [[5.5, 7], [9.5, 13]]
    assert torch.addr(torch.zeros(2, 2), x, torch.arange(2.0)).tolist() == [[0, 1], [0, 1]]
    assert torch.outer(x, torch.arange(2.0)).tolist() == [[0, 1], [0, 1]]
    assert torch.nn.functional.linear(x, A, x).tolist() == [4, 8]
    assert (A.half() @ A.half()).dtype is torch.float16


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [((3, 2, 4), (4, 5), (3, 2, 5)), ((2, 4), (3, 4, 5), (3, 2, 5)), ((4,), (3, 4, 5), (3, 5)),
     ((3, 2, 4), (4,), (3, 2)), ((2, 1, 2, 4), (3, 4, 5), (2, 3, 2, 5)),
     ((2, 3, 0), (0, 4), (2, 3, 4)), ((0, 4), (4, 5), (0, 5))],
)
def test_shapes_of_matmul(first, second, result):
    a = torch.ones(first, dtype=torch.float64, requires_grad=True)
    b = torch.ones(second, dtype=torch.float64, requires_grad=True)
    found = a @ b
    assert found.shape == result
    assert (found == first[-1]).all()
    assert gradcheck(torch.matmul, (a, b))
    assert gradgradcheck(torch.matmul, (a, b), fast_mode=True)


def test_errors():
    double = A.double()
    for call, words in (
        (lambda: A @ torch.ones(3, 2), r"cannot be multiplied \(2x2 and 3x2\)"),
        (lambda: A @ torch.tensor(1.0), "both arguments to matmul need to be at least 1D"),
        (lambda: torch.mm(A, double), "expected m1 and m2 to have the same dtype, but got: float"),
        (lambda: torch.mm(A, A.half()), "same dtype, but got: float != c10::Half"),
        (lambda: torch.dot(A[0], double[0]), "dot : expected both vectors to have same dtype"),
        (lambda: torch.mv(A, double[0]), "but got Double, Float, and Double"),
        (lambda: torch.bmm(A[None], double[None]), "expected scalar type Float but found Double"),
        (lambda: torch.addmm(double, A, A), "self and mat2 must have the same dtype, but got D"),
        (lambda: torch.bmm(A, A), "batch1 must be a 3D tensor"),
        (lambda: torch.mm(A, A[0]), "mat2 must be a matrix"),
    ):
        with pytest.raises(RuntimeError, match=words):
            call()
    with pytest.raises(NotImplementedError, match="\"addmm_impl_cpu_\" not implemented for 'Bool'"):
        A.bool() @ A.bool()


def test_in_place_and_out():
    target = torch.zeros(2, 2)
    assert torch.mm(A, A, out=target) is target
    assert target.tolist() == [[7, 10], [15, 22]]
    x = torch.ones(2, 2)
    x.addmm_(A, A, beta=0)
    assert x.tolist() == [[7, 10], [15, 22]]
    y = torch.ones(1)
    y.addbmm_(A[None], A[None])
    assert y.tolist() == [[8, 11], [16, 23]]


class Diagonal:
    def __rmatmul__(self, other):
        return "reflected"

    def __matmul__(self, other):
        return "plain"


def test_other_operands_of_products_are_asked():
    vector = torch.ones(2)
    assert vector @ Diagonal() == "reflected" and Diagonal() @ vector == "plain"
    assert vector.requires_grad_() @ Diagonal() == "reflected"
    with pytest.raises(TypeError, match="'Tensor' and 'int'"):
        vector @ 2
    with pytest.raises(TypeError, match="'list' and 'Tensor'"):
        [1.0, 2.0] @ vector
    with pytest.raises(TypeError, match="must be Tensor, not int"):
        torch.matmul(vector, 2)


def test_factors_of_linear_of_different_dtypes():
    layer = torch.nn.Linear(2, 3)
    with pytest.raises(RuntimeError, match="mat1 and mat2 must have the same dtype, but got Dou"):
        layer(torch.ones(1, 2, dtype=torch.float64))
