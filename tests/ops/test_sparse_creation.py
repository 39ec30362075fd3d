import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CS")


def test_coordinates():
    s = torch.sparse_coo_tensor([[0, 2]], [[1.0, 2.0], [3.0, 4.0]])
    assert s.shape == (3, 2)
    assert s.to_dense().tolist() == [[1, 2], [0, 0], [3, 4]]
    assert torch.sparse_coo_tensor((2, 3))._nnz() == 0
    assert torch.sparse_coo_tensor([[0]], [1], dtype=torch.float64).dtype is torch.float64
    assert torch.zeros(2, 3, layout=torch.sparse_coo).to_dense().tolist() == [[0] * 3] * 2


def test_compressed():
    s = torch.sparse_csr_tensor([0, 1, 2], [1, 0], [3.0, 4.0])
    assert s.to_dense().tolist() == [[0, 3], [4, 0]]
    s = torch.sparse_csc_tensor([0, 1, 1], [0], [1.0], (1, 2))
    assert s.to_dense().tolist() == [[1, 0]]
    s = torch.sparse_bsr_tensor([0, 1], [1], [[[1.0, 2.0]]], (1, 4))
    assert s.to_dense().tolist() == [[0, 0, 1, 2]]


def test_invariants():
    for call, words in (
        (lambda: torch.sparse_coo_tensor([[0, 1]], [1.0]), "indices and values must have same nnz"),
        (lambda: torch.sparse_coo_tensor([[0, 5]], [1.0, 2.0], (2,)),
         "for dim 0, size is 2 but found index 5"),
        (lambda: torch.sparse_coo_tensor([[0], [0]], [1.0], (2,)), "'len\\(size\\) == sparse_dim"),
        (lambda: torch.sparse_csr_tensor([0, 1, 3], [0, 1], [1.0, 2.0]), r"`crow_indices\[..., -1"),
        (lambda: torch.sparse_csr_tensor([0, 1, 2], [0, 5], [1.0, 2.0], (2, 2)),
         "`0 <= col_indices < ncols` is not satisfied"),
    ):
        with pytest.raises(RuntimeError, match=words):
            call()
    with torch.sparse.check_sparse_tensor_invariants(False):
        torch.sparse_coo_tensor([[0, 5]], [1.0, 2.0], (2,))
    torch.sparse_coo_tensor([[0, 5]], [1.0, 2.0], (2,), check_invariants=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives(dtype):
    values = torch.ones(3, dtype=dtype, requires_grad=True)
    twice = [[0, 1, 0], [1, 0, 1]]  # one place is listed twice
    for function in (
        lambda v: torch.sparse_coo_tensor(twice, v, (2, 2)).to_dense(),
        lambda v: torch.sparse_coo_tensor(twice, v, (2, 2)).coalesce().values(),
        lambda v: torch.sparse_csr_tensor([0, 1, 3], [1, 0, 1], v, (2, 2)).to_dense(),
    ):
        assert gradcheck(function, (values,))
        assert gradgradcheck(function, (values,))
