import math

import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

F = torch.nn.functional


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_max_pool_by_hand():
    x = torch.tensor([[3.0, 1.0, 4.0, 1.0, 5.0]])
    assert F.max_pool1d(x, 2).tolist() == [[3, 4]]
    assert F.max_pool1d(x, 2, ceil_mode=True).tolist() == [[3, 4, 5]]
    assert F.max_pool1d(x, 2, 1, padding=1).tolist() == [[3, 3, 4, 4, 5, 5]]
    assert F.max_pool1d(x, 2, 1, dilation=2).tolist() == [[4, 1, 5]]
    y, i = F.max_pool2d(torch.arange(16).reshape(1, 4, 4), 2, return_indices=True)
    assert y.tolist() == i.tolist() == [[[5, 7], [13, 15]]]


def test_the_first_of_equal_elements_gets_the_gradient():
    # In the window [[0, 1], [1, 0]] the first 1 in row-major order is the one above.
    x = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], requires_grad=True)
    assert F.max_pool2d(x, 2, return_indices=True)[1].item() == 1
    F.max_pool2d(x, 2).backward(torch.tensor([[[math.inf]]]))
    assert x.grad.tolist() == [[[0, math.inf], [0, 0]]]


def test_max_pool_passes_nan_on():
    x = torch.tensor([[1.0, math.nan, 2.0, 3.0]])
    y, i = F.max_pool1d(x, 2, return_indices=True)
    assert y.isnan().tolist() == [[True, False]]
    assert i.tolist() == [[1, 3]]


@pytest.mark.parametrize("shape", [(1, 2, 8, 40), (2, 1, 6, 4)])
def test_tiles_agree_with_other_windows(shape):
    # Short rows are copied as single items, long ones not; padding takes the general way.
    x = torch.randn(shape)
    tiles = F.max_pool2d(x, 2)
    general = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-9), 2)
    assert tiles.equal(general)
    assert torch.allclose(F.avg_pool2d(x, 2), x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)))


def test_avg_pool_divisors():
    x = torch.ones(1, 3)
    assert F.avg_pool1d(x, 3, 1, padding=1).tolist()[0] == pytest.approx([2 / 3, 1, 2 / 3])
    assert F.avg_pool1d(x, 3, 1, 1, count_include_pad=False).tolist() == [[1, 1, 1]]
    assert F.avg_pool1d(x, 2, ceil_mode=True).tolist() == [[1, 1]]
    x = torch.ones(1, 1, 2, 2)
    assert F.avg_pool2d(x, 2, divisor_override=1).item() == 4
    assert F.avg_pool2d(torch.tensor([[[-3, 0]]]), (1, 2)).item() == -1  # rounds toward zero


def test_adaptive_pooling_shares_elements():
    x = torch.arange(5.0).reshape(1, 5)
    assert F.adaptive_avg_pool1d(x, 2).tolist() == [[1, 3]]  # 0 1 2 and 2 3 4
    assert F.adaptive_max_pool1d(x, 3).tolist() == [[1, 3, 4]]
    assert F.adaptive_avg_pool2d(torch.ones(1, 4, 6), (None, 3)).shape == (1, 4, 3)
    assert torch.adaptive_max_pool1d(x, 2)[1].tolist() == [[2, 4]]


def test_lp_pool():
    assert F.lp_pool1d(torch.tensor([[3.0, 4.0]]), 2, 2).item() == pytest.approx(5)


def test_unpool_inverts_max_pool():
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    y, i = F.max_pool2d(x, 2, return_indices=True)
    assert F.max_unpool2d(y, i, 2).tolist() == [[[0, 0], [0, 4]]]
    with pytest.raises(ValueError, match="invalid output_size"):
        F.max_unpool2d(y, i, 2, output_size=(9, 2))


def test_fractional_max_pool_with_given_samples():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    samples = torch.zeros(1, 1, 2)
    y = F.fractional_max_pool2d(x, 2, output_size=2, _random_samples=samples)
    assert y.tolist() == [[[[5, 7], [13, 15]]]]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.max_pool2d(x, 3, 2, 1),
        lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
        lambda x: F.max_pool1d(x[0], 3, 1, 1, 2),
        lambda x: F.avg_pool2d(x, (2, 3), 1, 1, count_include_pad=False),
        lambda x: F.adaptive_avg_pool2d(x, 3),
        lambda x: F.adaptive_max_pool2d(x, (2, 3)),
        lambda x: F.lp_pool2d(x.exp(), 2, 2),
    ],
)
def test_pool_derivatives(function):
    x = random(2, 2, 4, 4)
    assert gradcheck(function, (x,))
    assert gradgradcheck(function, (x,))


def test_pool_errors():
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(RuntimeError, match="pad should be at most half of effective kernel size"):
        F.max_pool2d(x, 2, padding=2)
    with pytest.raises(RuntimeError, match="Output size is too small"):
        F.avg_pool2d(x, 5)
    with pytest.raises(NotImplementedError, match="\"max_pool2d\" not implemented for 'Bool'"):
        F.max_pool2d(x > 0, 2)
    with pytest.raises(RuntimeError, match="must either be a single int, or a tuple of two ints"):
        F.max_pool2d(x, (2, 2, 2))


def test_node_names():
    x = random(1, 1, 4, 4)
    assert F.max_pool2d(x, 2).grad_fn.name() == "MaxPool2DWithIndicesBackward0"
    assert F.avg_pool2d(x, 2).grad_fn.name() == "AvgPool2DBackward0"
    assert F.adaptive_avg_pool2d(x, 1).grad_fn.name() == "MeanBackward1"
