import math

import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

linalg = torch.linalg


def random(*shape, complex=False):
    torch.manual_seed(0)
    dtype = torch.complex128 if complex else torch.float64
    return torch.randn(*shape, dtype=dtype).requires_grad_()


def test_inverse():
    found = linalg.inv(torch.tensor([[2.0, 1.0], [0.0, 4.0]]))
    assert found.tolist() == [[0.5, -0.125], [0, 0.25]]
    with pytest.raises(linalg.LinAlgError, match=r"linalg.inv: The diagonal element 2 is zero"):
        linalg.inv(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    batch = torch.stack([torch.eye(2), torch.zeros(2, 2)])
    with pytest.raises(linalg.LinAlgError, match=r"\(Batch element 1\): The diagonal element 1"):
        linalg.inv(batch)
    with pytest.raises(RuntimeError, match="batches of square matrices, but they are 2 by 3"):
        linalg.inv(torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="Expected a floating point or complex tensor"):
        linalg.inv(torch.ones(2, 2, dtype=torch.int64))


def test_inverse_with_info_goes_on():
    found = linalg.inv_ex(torch.stack([torch.eye(2), torch.zeros(2, 2)]))
    assert found.info.tolist() == [0, 1]
    assert found.info.dtype is torch.int32
    assert found.inverse[0].tolist() == [[1, 0], [0, 1]]
    assert not found.inverse[1].isfinite().any()


def test_solve_takes_vectors_matrices_batches_and_sides():
    a = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    assert linalg.solve(a, torch.tensor([2.0, 2.0])).tolist() == [1, 0.5]
    assert linalg.solve(a, torch.ones(3, 2, 1)).shape == (3, 2, 1)
    assert linalg.solve(a.expand(3, 2, 2), torch.ones(3, 2)).shape == (3, 2)
    assert linalg.solve(a, torch.ones(1, 2), left=False).tolist() == [[0.5, 0.25]]
    assert linalg.solve(torch.ones(0, 0), torch.ones(0, 3)).shape == (0, 3)
    with pytest.raises(linalg.LinAlgError, match=r"torch.linalg.solve: The solver failed because"):
        linalg.solve(torch.zeros(2, 2), torch.ones(2))
    with pytest.raises(RuntimeError, match=r"for the equation AX = B \(2x2 and 3x1\)"):
        linalg.solve(a, torch.ones(3))
    found = linalg.solve_ex(torch.zeros(2, 2), torch.ones(2))
    assert type(found).__name__ == "linalg_solve_ex"
    assert found.info.item() == 1


def test_triangular_systems_read_one_triangle():
    a = torch.tensor([[2.0, 1.0], [9.0, 4.0]])
    b = torch.tensor([[4.0], [8.0]])
    assert linalg.solve_triangular(a, b, upper=True).tolist() == [[1], [2]]
    assert linalg.solve_triangular(a, b, upper=True, unitriangular=True).tolist() == [[-4], [8]]
    assert linalg.solve_triangular(a, b.T, upper=False, left=False).tolist() == [[-7, 2]]
    with pytest.raises(RuntimeError, match="tensor B must have at least 2 dimensions"):
        linalg.solve_triangular(a, torch.ones(2), upper=True)
    with pytest.raises(NotImplementedError, match="triangular_solve_cpu"):
        linalg.solve_triangular(a.long(), b.long(), upper=True)


def test_tensor_equations():
    a = torch.eye(6).reshape(2, 3, 6) * 2
    assert linalg.tensorsolve(a, torch.ones(2, 3)).tolist() == [0.5] * 6
    assert linalg.tensorinv(a).shape == (6, 2, 3)
    with pytest.raises(RuntimeError, match="strictly positive integer for 'ind'"):
        linalg.tensorinv(a, 0)
    with pytest.raises(RuntimeError, match="but got 12 != 2"):
        linalg.tensorinv(torch.ones(2, 3, 4), 1)


@pytest.mark.parametrize("complex", [False, True])
def test_derivatives(complex):
    a, b = random(2, 3, 3, complex=complex), random(3, 2, complex=complex)
    row = b.detach().T.clone().requires_grad_()
    cases = [
        (linalg.inv, (a,)), (lambda x: linalg.inv_ex(x)[0], (a,)), (linalg.solve, (a, b)),
        (lambda x, y: linalg.solve(x, y, left=False), (a, row)),
        (lambda x, y: linalg.solve_triangular(x, y, upper=True), (a, b)),
        (lambda x, y: linalg.solve_triangular(x, y, upper=False, unitriangular=True), (a, b)),
        (lambda x, y: linalg.solve_triangular(x, y, upper=True, left=False), (a, row)),
    ]
    for function, inputs in cases:
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs)


def test_nodes_are_named_as_in_pytorch():
    a = torch.eye(2, requires_grad=True)
    b = torch.ones(2, 1)
    names = [
        linalg.inv(a), linalg.solve(a, b), linalg.solve_triangular(a, b, upper=True),
        linalg.inv_ex(a).inverse,
    ]
    assert [t.grad_fn.name() for t in names] == [
        "LinalgInvExBackward0", "LinalgSolveExBackward0", "LinalgSolveTriangularBackward0",
        "LinalgInvExBackward0",
    ]


def test_infinite_entries_do_not_raise():
    found = linalg.inv(torch.tensor([[math.inf, 1.0], [1.0, 1.0]]))
    assert found.shape == (2, 2)
