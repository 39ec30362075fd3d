import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

linalg = torch.linalg


def test_vecdot():
    x = torch.tensor([[1j, 2]])
    assert linalg.vecdot(x, x).tolist() == [5]
    assert linalg.vecdot(torch.ones(2, 3), torch.ones(3)).tolist() == [3, 3]
    assert linalg.vecdot(torch.ones(2, 3), torch.ones(2, 1), dim=0).tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match=r"linalg.vecdot: Expected a floating point or complex"):
        linalg.vecdot(torch.tensor([1]), torch.tensor([1]))


def test_cross():
    x, y = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5, 6], [1, 2, 3]])
    assert linalg.cross(x, y).tolist() == [[-3, 6, -3], [0, 0, 0]]
    assert torch.cross(x.T, y[:1].T, dim=0).flatten().tolist() == [-3, 6, -3]
    with pytest.raises(RuntimeError, match=r"dimension -1 must have length 3. Got 2 and 2"):
        linalg.cross(torch.ones(2), torch.ones(2))
    torch.manual_seed(0)
    a = torch.randn(2, 3, dtype=torch.complex128).requires_grad_()
    b = torch.randn(1, 3, dtype=torch.complex128).requires_grad_()
    assert gradcheck(linalg.cross, (a, b))
    assert gradgradcheck(linalg.cross, (a, b))


def test_vandermonde():
    x = torch.tensor([2, 3])
    assert linalg.vander(x, N=3).tolist() == [[1, 2, 4], [1, 3, 9]]
    assert torch.vander(x).tolist() == [[2, 1], [3, 1]]
    assert torch.vander(x, 3, increasing=True).tolist() == [[1, 2, 4], [1, 3, 9]]
    with pytest.raises(RuntimeError, match="N must be greater than 1"):
        linalg.vander(x, N=1)
