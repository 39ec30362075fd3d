import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

A = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 3.0]])
D = torch.arange(6.0).reshape(3, 2) - 2
pytestmark = pytest.mark.filterwarnings("ignore:Sparse CS")
LAYOUTS = (torch.sparse_coo, torch.sparse_csr)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_products(layout):
    s = A.to_sparse(layout=layout)
    assert torch.equal(s @ D, A @ D)
    assert torch.equal(s @ D[:, 0], A @ D[:, 0])
    assert torch.equal(D @ s, D @ A)
    assert torch.equal(torch.sparse.mm(s, D), A @ D)
    assert torch.equal(torch.addmm(D[:2], s, D), D[:2] + A @ D)
    assert torch.equal(torch.nn.functional.linear(D.T, s), D.T @ A.T)
    product = s @ s.t().to_sparse(layout=layout)
    assert product.layout is layout
    assert torch.equal(product.to_dense(), A @ A.T)


def test_products_with_a_reduction():
    s = A.to_sparse_csr()
    assert torch.sparse.mm(s, D, "sum").tolist() == [[0, 1], [2, 7]]
    assert torch.sparse.mm(s, D, "mean").tolist() == [[0, 1], [1, 3.5]]
    assert torch.sparse.mm(s, D, "amax").tolist() == [[0, 1], [6, 9]]
    assert torch.sparse.mm(s, D, "amin").tolist() == [[0, 1], [-4, -2]]


def test_elementwise():
    s, r = A.to_sparse(), A.to_sparse_csr()
    assert torch.equal((s + s * 2 - s / 2).to_dense(), A * 2.5)
    assert torch.equal((r + r).to_dense(), A * 2)
    assert torch.equal((s * s).to_dense(), A * A)
    assert torch.equal((s * D.T).to_dense(), A * D.T)
    assert torch.equal(D.T + s, D.T + A)
    assert torch.allclose(s.sin().to_dense(), A.sin())
    assert torch.equal((s**2).to_dense(), A**2)
    assert s.norm().item() == pytest.approx(A.norm().item())
    s.mul_(2).add_(A.to_sparse())
    assert torch.equal(s.to_dense(), A * 3)
    s.zero_()
    assert s.to_dense().tolist() == [[0] * 3] * 2


def test_pieces_and_joins():
    s = A.to_sparse()
    assert s[0].to_dense().tolist() == [0, 1, 0]
    assert s[1, 2].item() == 3
    assert s.unsqueeze(0).shape == (1, 2, 3)
    assert torch.equal(s.index_select(0, torch.tensor([1, 0, 1])).to_dense(), A[[1, 0, 1]])
    assert torch.equal(torch.cat([s, s], 1).to_dense(), torch.cat([A, A], 1))
    assert torch.equal(torch.stack([s, s]).to_dense(), torch.stack([A, A]))


def test_sums():
    s = A.to_sparse()
    assert torch.sparse.sum(s).item() == 6
    assert torch.sparse.sum(s, 1).to_dense().tolist() == [1, 5]
    assert s.sum(0).to_dense().tolist() == [2, 1, 3]
    assert A.to_sparse_csr().sum(1, keepdim=True).to_dense().tolist() == [[1], [5]]


def test_softmax_over_what_is_stored():
    s = torch.tensor([[0.0, 1.0], [1.0, 1.0]]).to_sparse()
    assert torch.sparse.softmax(s, 1).values().tolist() == [1, 0.5, 0.5]
    assert torch.sparse.log_softmax(s, 0).values()[1].item() == 0


def test_diagonals_and_equations():
    s = torch.sparse.spdiags(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 1]), (2, 2))
    assert s.to_dense().tolist() == [[1, 4], [0, 2]]
    assert torch.sparse.spsolve(s.to_sparse_csr(), torch.tensor([9.0, 4.0])).tolist() == [1, 2]
    with pytest.raises(RuntimeError, match="Offset tensor contains duplicate values"):
        torch.sparse.spdiags(torch.ones(2, 2), torch.tensor([0, 0]), (2, 2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives(dtype):
    torch.manual_seed(0)
    a, d = (torch.randn(*s, dtype=dtype).requires_grad_() for s in ((3, 3), (3, 2)))
    for function in (
        lambda x, y: x.to_sparse() @ y, lambda x, y: torch.sparse.mm(x.to_sparse_csr(), y),
        lambda x, y: torch.sparse.sampled_addmm(x.to_sparse_csr(), y, y.mT, beta=0.5).to_dense(),
        lambda x, y: torch.sparse.spsolve(x.to_sparse_csr(), y),
        lambda x, y: torch.sparse.sum(x.to_sparse() * 2, 1).to_dense() * y[:, 0],
    ):
        assert gradcheck(function, (a, d))
        assert gradgradcheck(function, (a, d), fast_mode=True)
    if dtype is torch.float64:
        for function in (
            lambda x, y: torch.sparse.softmax(x.to_sparse(), 1).to_dense(),
            lambda x, y: torch.sparse.log_softmax(x.to_sparse(), 0).to_dense(),
            lambda x, y: torch.sparse.mm(x.to_sparse_csr(), y, "amax"),
            lambda x, y: torch.sparse.mm(x.to_sparse_csr(), y, "mean"),
        ):
            assert gradcheck(function, (a, d))


def test_gradcheck_with_sparse_inputs():
    check = torch.sparse.as_sparse_gradcheck(gradcheck)
    x = A.double().to_sparse().requires_grad_()
    assert check(lambda t: t.to_dense(), (x,), masked=True)
    assert check(lambda t: t.to_dense(masked_grad=False), (x,), masked=False)


def test_sparse_gradients_move_only_their_rows():
    weight = torch.nn.Parameter(torch.ones(3, 2))
    weight.grad = torch.sparse_coo_tensor([[0, 2]], torch.ones(2, 2), (3, 2))
    torch.optim.SGD([weight], lr=0.5).step()
    assert weight.tolist() == [[0.5, 0.5], [1, 1], [0.5, 0.5]]
