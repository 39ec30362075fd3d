"""taper/ops/exponential.py: exponentials, logarithms, the logistic function."""

import math

import pytest

import taper as torch


@pytest.mark.parametrize(
    ("name", "value", "result", "slope"),
    [
        ("exp", 1.0, math.e, math.e),
        ("exp2", 3.0, 8, 8 * math.log(2)),
        ("expm1", 1.0, math.e - 1, math.e),
        ("log", 2.0, math.log(2), 0.5),
        ("log2", 8.0, 3, 1 / (8 * math.log(2))),
        ("log10", 100.0, 2, 1 / (100 * math.log(10))),
        ("log1p", 1.0, math.log(2), 0.5),
        ("sigmoid", 0.0, 0.5, 0.25),
        ("logit", 0.75, math.log(3), 1 / (0.75 * 0.25)),
    ],
)
def test_values_and_slopes(name, value, result, slope):
    x = torch.tensor([value], requires_grad=True)
    y = getattr(torch, name)(x)
    y.backward()
    assert y.item() == pytest.approx(result, rel=1e-6)
    assert x.grad.item() == pytest.approx(slope, rel=1e-6)


def test_integers_become_the_default_float():
    assert torch.exp(torch.tensor([0])).dtype is torch.float32
    with pytest.raises(RuntimeError, match="result type Float can't be cast"):
        torch.tensor([0]).exp_()


def test_reduced_precision_is_kept():
    x = torch.tensor([1.0], dtype=torch.bfloat16)
    assert x.exp().dtype is torch.bfloat16
    assert x.exp().item() == 2.71875


def test_log_of_zero_and_negative_numbers():
    y = torch.log(torch.tensor([0.0, -1.0]))
    assert y[0].item() == float("-inf")
    assert math.isnan(y[1].item())


def test_sums_of_logarithms_do_not_overflow():
    x = torch.tensor([1000.0], requires_grad=True)
    y = torch.logaddexp(x, torch.tensor([1000.0]))
    y.backward()
    assert y.item() == pytest.approx(1000 + math.log(2))
    assert x.grad.item() == 0.5
    assert torch.logaddexp2(torch.tensor([3.0]), torch.tensor([3.0])).item() == 4


def test_sigmoid_far_out_and_twice_differentiated():
    assert torch.sigmoid(torch.tensor([-200.0, 200.0])).tolist() == [0, 1]
    x = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(x.sigmoid(), x, create_graph=True)
    slope.backward()
    s = 1 / (1 + math.exp(-0.5))
    assert x.grad.item() == pytest.approx(s * (1 - s) * (1 - 2 * s))


def test_logit_clamps_to_eps():
    y = torch.logit(torch.tensor([0.0, 2.0]), eps=0.25)
    assert y.tolist() == pytest.approx([-math.log(3), math.log(3)])


def test_results_saved_for_backward_are_watched():
    x = torch.tensor([1.0], requires_grad=True)
    y = x.exp()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
