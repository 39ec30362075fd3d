import math

import pytest

import taper as torch


@pytest.mark.parametrize(
    ("order", "norm", "gradient"),
    [(0, 2, None), (1, 7, [1, 0, -1]), (2, 5, [0.6, 0, -0.8]), (math.inf, 4, [0, 0, -1]),
     (-math.inf, 0, [0, 0, 0]), (3, 91 ** (1 / 3), [9 / 91 ** (2 / 3), 0, -16 / 91 ** (2 / 3)])],
)
def test_orders(order, norm, gradient):
    x = torch.tensor([3.0, 0.0, -4.0], requires_grad=True)
    result = torch.linalg.vector_norm(x, order)
    assert result.item() == pytest.approx(norm)
    (found,) = torch.autograd.grad(result, x, allow_unused=True)
    if gradient is None:
        assert found is None
    else:
        assert found.tolist() == pytest.approx(gradient)


def test_the_gradient_at_zero_is_zero():
    x = torch.zeros(3, requires_grad=True)
    x.norm().backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_norm_overloads():
    x = torch.tensor([[3.0, 4.0], [6.0, 8.0]])
    assert x.norm(dim=1).tolist() == [5, 10]
    assert torch.norm(x, p=1, dim=0, keepdim=True).tolist() == [[9, 12]]
    assert torch.norm(x, dtype=torch.float64).dtype is torch.float64
    with pytest.raises(RuntimeError, match=r"linalg.vector_norm: Expected a floating point"):
        torch.tensor([1, 2]).norm()
    with pytest.raises(RuntimeError, match="cannot compute the inf norm on an empty tensor"):
        torch.zeros(0).norm(math.inf)


def test_dist_and_renorm():
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 6.0])
    assert torch.dist(x, y).item() == 5 and torch.dist(x, y, 1).item() == 7
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    assert torch.allclose(rows.renorm(2, 0, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4]]))
    with pytest.raises(RuntimeError, match="renorm: non-positive-norm not supported"):
        rows.renorm(0, 0, 1.0)
