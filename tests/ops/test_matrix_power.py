import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

linalg = torch.linalg
SHEAR = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)


def test_powers():
    for n in (-3, -1, 0, 1, 2, 7):
        assert linalg.matrix_power(SHEAR, n).tolist() == [[1, n], [0, 1]]
    assert torch.matrix_power(torch.ones(2, 2, dtype=torch.int64), 3).tolist() == [[4, 4], [4, 4]]
    with pytest.raises(RuntimeError, match=r"linalg.matrix_power: A must be batches of square"):
        linalg.matrix_power(torch.ones(2, 3), 2)


def test_exponential():
    nilpotent = SHEAR - torch.eye(2, dtype=torch.float64)
    assert linalg.matrix_exp(nilpotent).tolist() == [[1, 1], [0, 1]]
    assert linalg.matrix_exp(torch.zeros(0, 0)).shape == (0, 0)
    torch.manual_seed(0)
    for dtype in (torch.float64, torch.complex128):
        a = torch.randn(2, 2, 2, dtype=dtype).requires_grad_()
        assert gradcheck(linalg.matrix_exp, (a,))
        assert gradgradcheck(linalg.matrix_exp, (a,))


def test_chains():
    a, b, c = torch.ones(2, 3), torch.ones(3, 50), torch.ones(50, 1)
    assert linalg.multi_dot([a, b, c]).tolist() == [[150], [150]]
    assert linalg.multi_dot([torch.ones(3), b, torch.ones(50)]).item() == 150
    assert linalg.multi_dot([a, b], out=torch.empty(0)).shape == (2, 50)
    for tensors, words in (
        ([a], "expected at least 2 tensors but got 1"),
        ([a, c], r"tensors 0 and 1 with shapes \[2, 3\] and \[50, 1\] cannot be multiplied"),
        ([a, torch.ones(3), c], "tensor 1 must be 2D but got 1D"),
        ([a, b.double()], "tensor 0 is float and tensor 1 double"),
    ):
        with pytest.raises(RuntimeError, match=words):
            linalg.multi_dot(tensors)
