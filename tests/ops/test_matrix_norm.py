import math

import pytest

import taper as torch
from taper.autograd import gradcheck

linalg = torch.linalg
A = torch.tensor([[3.0, 0.0], [1.0, 4.0]])


@pytest.mark.parametrize(
    ("order", "norm"),
    [("fro", math.sqrt(26)), (1, 4), (-1, 4), (math.inf, 5), (-math.inf, 3),
     ("nuc", math.sqrt(26 + 2 * 12)), (2, math.sqrt(13 + 5)), (-2, math.sqrt(13 - 5))],
)
def test_orders(order, norm):
    assert linalg.matrix_norm(A, order).item() == pytest.approx(norm, abs=1e-5)
    assert linalg.norm(A, order).item() == pytest.approx(norm, abs=1e-5)
    assert linalg.matrix_norm(A, order, keepdim=True).shape == (1, 1)
    batch = A.expand(3, 2, 2).permute(1, 0, 2)
    assert linalg.matrix_norm(batch, order, (0, 2)).tolist() == pytest.approx([norm] * 3, abs=1e-5)
    x = A.double().requires_grad_()
    assert gradcheck(lambda t: linalg.matrix_norm(t, order), (x,))


def test_norm_chooses_between_vectors_and_matrices():
    assert linalg.norm(A).item() == pytest.approx(math.sqrt(26))
    assert linalg.norm(torch.ones(2, 2, 2)).item() == pytest.approx(math.sqrt(8))
    assert linalg.norm(A, 1, dim=0).tolist() == [4, 4]
    assert linalg.norm(A, dtype=torch.float64).dtype is torch.float64


def test_errors():
    for call, words in (
        (lambda: linalg.matrix_norm(A, 3), "linalg.matrix_norm: Order 3 not supported."),
        (lambda: linalg.matrix_norm(A, "x"), "linalg.matrix_norm: Order x not supported."),
        (lambda: linalg.matrix_norm(A[0]), "must have at least 2 dimensions"),
        (lambda: linalg.matrix_norm(A, dim=(0, 0)), r"dims must be different. Got \(0, 0\)"),
        (lambda: linalg.norm(A, "fro", dim=0), "dim must be a 2-tuple. Got 0"),
        (lambda: linalg.norm(torch.ones(2, 2, 2), 2), "the input must be 1D or 2D. Got 3D"),
        (lambda: linalg.cond(A, 5), "linalg.cond got an invalid norm type: 5"),
    ):
        with pytest.raises(RuntimeError, match=words):
            call()


def test_condition_and_rank():
    d = torch.diag(torch.tensor([4.0, 1.0]))
    assert [linalg.cond(d, p).item() for p in (None, 1, 2, -2)] == [4, 4, 4, 0.25]
    assert linalg.cond(torch.zeros(2, 2), 1).item() == math.inf
    assert linalg.matrix_rank(d).item() == 2
    assert linalg.matrix_rank(d, tol=2.0).item() == 1
    assert linalg.matrix_rank(d, atol=torch.tensor([0.5, 2.0, 5.0])).tolist() == [2, 1, 0]
    assert linalg.matrix_rank(-d, hermitian=True).item() == 2
    assert linalg.matrix_rank(torch.zeros(2, 0, 3)).tolist() == [0, 0]
