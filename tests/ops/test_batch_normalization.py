"""taper/ops/batch_normalization.py: by hand, with a channel of (1, 3) and one of (2, 6)."""

import pytest

import taper as torch

F = torch.nn.functional
X = [[1.0, 2.0], [3.0, 6.0]]  # means 2 and 4, variances 1 and 4


def test_training_normalizes_each_channel():
    x = torch.tensor(X)
    plain = F.batch_norm(x, None, None, training=True, eps=1e-12)
    assert plain.flatten().tolist() == pytest.approx([-1, -1, 1, 1])
    scaled = F.batch_norm(
        x, None, None, torch.tensor([2.0, 1.0]), torch.tensor([0.0, 5.0]), training=True, eps=1e-12
    )
    assert scaled.flatten().tolist() == pytest.approx([-2, 4, 2, 6])


def test_running_statistics():
    mean, variance = torch.zeros(2), torch.ones(2)
    F.batch_norm(torch.tensor(X), mean, variance, training=True, momentum=0.5)
    assert mean.tolist() == [1, 2]
    assert variance.tolist() == pytest.approx([1.5, 4.5])  # of the unbiased variances 2 and 8
    found = F.batch_norm(torch.tensor(X), torch.zeros(2), torch.full((2,), 4.0), eps=0.0)
    assert found.tolist() == [[0.5, 1.0], [1.5, 3.0]]


def test_gradients():
    """Those of the input have no mean and no component along it, so a sum's are zero."""
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    result = F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-14)
    result[0].sum().backward()
    assert weight.grad.tolist() == pytest.approx([-1, -1]) and bias.grad.tolist() == [1, 1]
    assert x.grad.flatten().tolist() == pytest.approx([0.0] * 4, abs=1e-12)


def test_instance_norm_normalizes_each_sample():
    x = torch.tensor([[[1.0, 3.0]], [[2.0, 6.0]]])
    assert F.instance_norm(x, eps=0.0).tolist() == [[[-1, 1]], [[-1, 1]]]
    mean, variance = torch.zeros(1), torch.ones(1)
    F.instance_norm(x, mean, variance, momentum=1.0)
    assert mean.item() == 3.0 and variance.item() == pytest.approx(5.0)
    found = F.instance_norm(x, torch.zeros(1), torch.ones(1), use_input_stats=False, eps=0.0)
    assert torch.equal(found, x)


def test_native_batch_norm_tells_its_statistics():
    one = torch.ones(2)
    _, mean, inverse = torch.native_batch_norm(
        torch.tensor(X), one, torch.zeros(2), None, None, True, 0.1, 0.0
    )
    assert mean.tolist() == [2, 4] and inverse.tolist() == pytest.approx([1, 0.5])


def test_errors():
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        F.batch_norm(torch.ones(1, 3), None, None, training=True)
    with pytest.raises(RuntimeError, match="running_mean should contain 2 elements not 3"):
        F.batch_norm(torch.ones(4, 2), torch.zeros(3), torch.ones(3))
    with pytest.raises(RuntimeError, match="running_mean must be defined in evaluation mode"):
        F.batch_norm(torch.ones(4, 2), None, None)
    with pytest.raises(RuntimeError, match="not differentiable with respect to argument 'running"):
        F.batch_norm(torch.ones(4, 2), torch.zeros(2, requires_grad=True), torch.ones(2))
