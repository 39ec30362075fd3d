import pytest

import taper as torch
from taper.autograd import gradcheck

A = torch.arange(6.0).reshape(2, 3)
B = torch.arange(12.0).reshape(3, 4)


def test_sums_of_products():
    assert torch.equal(torch.einsum("ij,jk->ik", A, B), A @ B)
    assert torch.equal(torch.einsum("ij,jk", A, B), A @ B)
    assert torch.equal(torch.einsum("ij->ji", A), A.T)
    assert torch.einsum("ij->", A).item() == 15
    assert torch.einsum("ii", torch.ones(3, 3)).item() == 3
    assert torch.einsum("i,j->ij", A[0], A[0]).tolist() == [[0, 0, 0], [0, 1, 2], [0, 2, 4]]
    batch = torch.arange(12.0).reshape(2, 2, 3)
    assert torch.equal(torch.einsum("...ij,jk->...ik", batch, B), batch @ B)
    assert torch.equal(torch.einsum("bij,bkj->bik", batch, batch), batch @ batch.mT)
    assert torch.equal(torch.einsum(A, [0, 1], B, [1, 2], [0, 2]), A @ B)
    assert torch.einsum("ij,jk,kl->il", A, B, B.T).shape == (2, 3)


def test_derivative():
    a, b, c = (torch.rand(*s, dtype=torch.float64).requires_grad_() for s in ((2, 3), (3, 2), (2,)))
    assert gradcheck(lambda *t: torch.einsum("ij,jk,k->i", *t), (a, b, c))


def test_errors():
    with pytest.raises(RuntimeError, match="einsum"):
        torch.einsum("ij,jk->iz", A, B)
    with pytest.raises(RuntimeError, match="einsum"):
        torch.einsum("ij,jk", A)


def test_relatives():
    assert torch.equal(torch.tensordot(A, B, 1), A @ B)
    assert torch.equal(torch.tensordot(A, B.T, [[1], [1]]), A @ B)
    assert torch.kron(torch.eye(2), torch.ones(1, 2)).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert torch.equal(torch.inner(A, B.T), A @ B)
    with pytest.raises(RuntimeError, match="contracted dimensions need to match"):
        torch.tensordot(A, B, [[0], [0]])
