"""Clipping gradients; parameters as a vector."""

import math

import pytest

import taper as torch
from taper import nn
from taper.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    get_total_norm,
    parameters_to_vector,
    vector_to_parameters,
)


def parameter(*grad):
    made = nn.Parameter(torch.zeros(len(grad)))
    made.grad = torch.tensor(grad)
    return made


def test_norms():
    first, second = parameter(3.0, 0.0), parameter(4.0)
    assert clip_grad_norm_([first, second], 1.0).item() == 5.0
    assert first.grad.tolist() == pytest.approx([0.6, 0.0], abs=1e-6)
    assert second.grad.tolist() == pytest.approx([0.8], abs=1e-6)
    assert clip_grad_norm_([first, second], 10.0).item() == pytest.approx(1.0)
    assert second.grad.tolist() == pytest.approx([0.8], abs=1e-6)
    assert get_total_norm([torch.ones(2), 3 * torch.ones(1)], math.inf).item() == 3.0
    assert clip_grad_norm_([], 1.0).item() == 0.0
    assert clip_grad_norm_(parameter(2.0), 1.0, norm_type=1).item() == 2.0


def test_what_is_not_finite():
    broken = parameter(math.nan)
    with pytest.raises(RuntimeError, match=r"The total norm of order 2\.0 for gradients"):
        clip_grad_norm_([broken], 1.0, error_if_nonfinite=True)
    with pytest.warns(UserWarning, match="`parameters` is an empty generator"):
        clip_grad_norm_((p for p in []), 1.0)


def test_values():
    made = parameter(-3.0, 0.2, 3.0)
    clip_grad_value_(made, 0.5)
    assert made.grad.tolist() == pytest.approx([-0.5, 0.2, 0.5])


def test_vectors():
    layer = nn.Linear(2, 1)
    vector_to_parameters(torch.tensor([1.0, 2.0, 3.0]), layer.parameters())
    assert layer.weight.tolist() == [[1.0, 2.0]]
    assert layer.bias.tolist() == [3.0]
    assert parameters_to_vector(layer.parameters()).tolist() == [1.0, 2.0, 3.0]
