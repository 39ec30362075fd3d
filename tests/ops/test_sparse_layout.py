import io
import subprocess
import sys

import pytest

import taper as torch

A = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 3.0]])
pytestmark = pytest.mark.filterwarnings("ignore:Sparse CS")


def test_coordinates():
    s = A.to_sparse()
    assert s.layout is torch.sparse_coo
    assert s.indices().tolist() == [[0, 1, 1], [1, 0, 2]]
    assert s.values().tolist() == [1, 2, 3]
    assert (s.is_sparse, s.is_coalesced(), s._nnz()) == (True, True, 3)
    assert (s.sparse_dim(), s.dense_dim()) == (2, 0)
    rows = torch.ones(2, 3).to_sparse(1)
    assert rows.values().shape == (2, 3)
    assert torch.equal(s.to_dense(), A)


def test_compressed():
    r, c, b = A.to_sparse_csr(), A.to_sparse_csc(), torch.ones(2, 4).to_sparse_bsr((1, 2))
    assert (r.crow_indices().tolist(), r.col_indices().tolist()) == ([0, 1, 3], [1, 0, 2])
    assert (c.ccol_indices().tolist(), c.row_indices().tolist()) == ([0, 1, 2, 3], [1, 0, 1])
    assert c.values().tolist() == [2, 1, 3]
    assert b.values().shape == (4, 1, 2)
    assert b.to_dense().tolist() == [[1] * 4] * 2
    assert r.t().layout is torch.sparse_csc
    assert torch.equal(r.t().to_dense(), A.T)
    batch = torch.stack([A, 2 * A]).to_sparse_csr()
    assert batch.values().tolist() == [[1, 2, 3], [2, 4, 6]]
    assert torch.equal(batch.to_dense(), torch.stack([A, 2 * A]))
    for layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc):
        assert torch.equal(r.to_sparse(layout=layout).to_dense(), A)


def test_printing():
    assert repr(A.to_sparse_csr()) == (
        "tensor(crow_indices=tensor([0, 1, 3]),\n       col_indices=tensor([1, 0, 2]),\n"
        "       values=tensor([1., 2., 3.]), size=(2, 3), nnz=3,\n       layout=torch.sparse_csr)"
    )


def test_csr_warns_once_that_it_is_young():
    program = (
        "import warnings, taper as torch\n"
        "with warnings.catch_warnings(record=True) as w:\n"
        "    warnings.simplefilter('always')\n"
        "    torch.eye(2).to_sparse_csr(); torch.eye(2).to_sparse_csc()\n"
        "print(len(w), str(w[0].message)[:45], w[0].filename)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout == "1 Sparse CSR tensor support is in beta state. I <string>\n"


def test_places_listed_twice_add_up():
    u = torch.sparse_coo_tensor([[0, 0], [1, 1]], [1.0, 2.0], (2, 3))
    assert not u.is_coalesced()
    assert u.coalesce().values().tolist() == [3]
    assert u.to_dense()[0, 1].item() == 3
    with pytest.raises(RuntimeError, match="Cannot get values on an uncoalesced tensor"):
        u.values()


def test_values_share_memory():
    s = A.to_sparse()
    s.values().fill_(7)
    assert s.to_dense().max().item() == 7


def test_masks():
    s = A.to_sparse()
    full = torch.arange(6.0).reshape(2, 3)
    assert full.sparse_mask(s).values().tolist() == [1, 3, 5]
    assert full.sparse_mask(A.to_sparse_csr()).layout is torch.sparse_csr
    assert full.to_sparse().sparse_mask(s).values().tolist() == [1, 3, 5]


def test_gradients_flow_through_layouts():
    for convert in (
        lambda x: x.to_sparse(), lambda x: x.to_sparse_csr(), lambda x: x.to_sparse_csc(),
        lambda x: x.to_sparse_bsr(1), lambda x: x.sparse_mask(A.to_sparse()),
    ):
        x = A.clone().requires_grad_()
        (convert(x).to_dense() * 2).sum().backward()
        assert x.grad.tolist() == [[0, 2, 0], [2, 0, 2]]
    leaf = A.to_sparse().requires_grad_()
    leaf.to_dense().sum().backward()
    assert leaf.grad.layout is torch.sparse_coo
    assert A.clone().requires_grad_().to_sparse().grad_fn.name() == "ToSparseBackward1"


def test_errors():
    s, r = A.to_sparse(), A.to_sparse_csr()
    for call, words in (
        (s.crow_indices, "crow_indices expected sparse row compressed tensor layout but"),
        (A.indices, "indices expected sparse coordinate tensor layout but got Strided"),
        (r.coalesce, "coalesce expected sparse coordinate tensor layout but got SparseC"),
        (r.stride, "Sparse CSR tensors do not have strides"),
        (lambda: A.to_sparse(3), r"sparse_dim argument must be in \[0,2\] range, but 3 is given"),
        (lambda: A.to_sparse_bsr((2, 2)), "must be divisible by given blocksize"),
        (lambda: s + 1, r"add\(sparse, dense\) is not supported"),
    ):
        with pytest.raises(RuntimeError, match=words):
            call()
    with pytest.raises(NotImplementedError, match="exp is not implemented for the layout Sparse"):
        s.exp()
    with pytest.raises(TypeError, match="can't convert SparseCsr layout tensor to numpy"):
        r.numpy()


def test_saving():
    for x in (A.to_sparse(), A.to_sparse_csr()):
        file = io.BytesIO()
        torch.save(x, file)
        file.seek(0)
        found = torch.load(file)
        assert found.layout is x.layout
        assert torch.equal(found.to_dense(), A)
