"""Arguments under the other names that PyTorch, or its documentation, has for them."""

import pytest

import taper as torch

X = torch.tensor([[2.0, 1.0], [1.0, 3.0]])


@pytest.mark.parametrize(("found", "expected"), [
    (lambda: X.mul(value=2), lambda: X * 2),
    (lambda: X.div(value=2, rounding_mode="floor"), lambda: X // 2),
    (lambda: X.clone().div_(value=2), lambda: X / 2),
    (lambda: X.clone().fmod_(divisor=2), lambda: X.fmod(2)),
    (lambda: torch.true_divide(dividend=X, divisor=2), lambda: X / 2),
    (lambda: torch.det(input=X), lambda: torch.linalg.det(X)),
    (lambda: torch.matrix_power(input=X, n=2), lambda: X @ X),
    (lambda: X.matmul(tensor2=X), lambda: X @ X),
    (lambda: X.narrow(dimension=0, start=0, length=1), lambda: X[:1]),
    (lambda: X.where(X > 1, y=X * 0), lambda: X.where(X > 1, X * 0)),
    (lambda: X.take(indices=torch.tensor([1])), lambda: torch.tensor([1.0])),
    (lambda: torch.searchsorted(X[1], values=torch.tensor([2.0])), lambda: torch.tensor([1])),
])
def test_other_names(found, expected):
    assert torch.equal(found(), expected())


def test_missing_arguments():
    with pytest.raises(TypeError, match=r'mul\(\) missing 1 required .* "other"'):
        X.mul()
    with pytest.raises(TypeError, match=r'matrix_power\(\) missing 1 required .* "n"'):
        torch.matrix_power(X)


def test_products_in_another_dtype():
    half = X.half()
    assert torch.equal(torch.mm(half, half, out_dtype=torch.float32), X @ X)
    assert torch.addmm(half, half, half, beta=2, out_dtype=torch.float32).dtype is torch.float32
    with pytest.raises(RuntimeError, match="out_dtype"):
        torch.mm(X, X, out_dtype=torch.float64)
