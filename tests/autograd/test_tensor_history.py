"""The dtype of a leaf's gradient, and settings of the engine."""

import pytest

import taper as torch


def test_the_dtype_of_gradients():
    x = torch.ones(2, requires_grad=True)
    assert x.grad_dtype is torch.float32
    x.grad_dtype = torch.float16
    (x * 2).sum().backward()
    (x * 2).sum().backward()
    assert x.grad.dtype is torch.float16 and x.grad.tolist() == [4, 4]
    with pytest.raises(RuntimeError, match="already a gradient"):
        x.grad_dtype = torch.float64
    x.grad = None
    x.grad_dtype = torch.float64
    with pytest.raises(RuntimeError, match="grad_dtype"):
        x.grad = torch.ones(2)
    x.grad_dtype = None
    x.grad = torch.ones(2, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="leaf"):
        (x * 2).grad_dtype


def test_settings_are_remembered():
    from taper import autograd

    assert autograd.is_multithreading_enabled()
    with autograd.set_multithreading_enabled(False):
        assert not autograd.is_multithreading_enabled()
    assert autograd.is_multithreading_enabled() and not autograd.is_view_replay_enabled()
    with pytest.raises(RuntimeError, match=r"use torch.tensor"):
        autograd.variable(1)
    torch.set_anomaly_enabled(True, False)
    assert torch.is_anomaly_enabled() and not torch.is_anomaly_check_nan_enabled()
    torch.set_anomaly_enabled(False)
