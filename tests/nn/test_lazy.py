"""Lazy modules and uninitialized parameters."""

import copy

import pytest

import taper as torch
from taper import nn


def test_a_lazy_layer_becomes_its_class():
    layer = nn.LazyLinear(3)
    assert repr(layer) == "LazyLinear(in_features=0, out_features=3, bias=True)"
    assert repr(layer.weight) == "<UninitializedParameter>"
    assert layer(torch.ones(2, 5)).shape == (2, 3)
    assert type(layer) is nn.Linear
    assert type(layer.weight) is nn.Parameter
    assert repr(layer) == "Linear(in_features=5, out_features=3, bias=True)"
    assert not layer._hooked or not layer._forward_pre_hooks


def test_values_are_those_of_the_plain_layer():
    torch.manual_seed(0)
    plain = nn.Linear(5, 3)
    lazy = nn.LazyLinear(3)
    torch.manual_seed(0)
    lazy(torch.ones(5))
    assert lazy.weight.tolist() == plain.weight.tolist()


def test_loading_gives_shapes():
    lazy = nn.LazyLinear(3)
    lazy.load_state_dict(nn.Linear(5, 3).state_dict())
    assert lazy.weight.shape == (3, 5)
    assert lazy(torch.ones(5)).shape == (3,)
    assert lazy.in_features == 5


def test_what_a_parameter_without_shape_cannot_do():
    layer = nn.LazyLinear(3)
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized parameter"):
        _ = layer.weight.shape
    with pytest.raises(ValueError, match="Attempted to use an uninitialized parameter in"):
        torch.add(layer.weight, 1)
    with pytest.raises(RuntimeError, match="Can't access the shape"):
        nn.Linear(5, 3).load_state_dict(layer.state_dict())
    duplicate = copy.deepcopy(layer)
    assert duplicate(torch.ones(4)).shape == (3,)
    assert layer.double().weight.dtype is torch.float64


def test_lazy_modules_must_initialize_everything():
    class Broken(nn.modules.lazy.LazyModuleMixin, nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.UninitializedParameter()

        def initialize_parameters(self, input):
            pass

    with pytest.raises(RuntimeError, match="module Broken has not been fully initialized"):
        Broken()(1)


def test_lazy_norms():
    norm = nn.LazyBatchNorm1d()
    assert norm(torch.randn(4, 3)).shape == (4, 3)
    assert type(norm) is nn.BatchNorm1d
    assert norm.running_mean.shape == (3,)
    assert type(norm.running_var) is torch.Tensor


def test_conversion_before_the_first_call():
    for layer, shape in ((nn.LazyLinear(3), (2, 5)), (nn.LazyBatchNorm1d(), (4, 5))):
        layer.to(torch.float64)
        assert layer(torch.ones(*shape, dtype=torch.float64)).dtype is torch.float64


def test_parameters_that_have_no_shape_yet_are_not_counted():
    layer = nn.LazyLinear(3)
    with pytest.raises(ValueError, match="uninitialized parameter in numel"):
        layer.weight.numel()
    layer(torch.ones(2, 5))
    assert layer.weight.numel() == 15
