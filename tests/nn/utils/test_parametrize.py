"""Parametrizations, weight norm, spectral norm, functional calls."""

import copy

import pytest

import taper as torch
from taper import nn
from taper.nn.utils import parametrizations, parametrize
from taper.nn.utils.stateless import functional_call


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).transpose(-1, -2)


class Double(nn.Module):
    def forward(self, x):
        return 2 * x

    def right_inverse(self, x):
        return x / 2


def test_a_parametrized_layer():
    layer = nn.Linear(2, 2)
    original = layer.weight
    assert parametrize.register_parametrization(layer, "weight", Symmetric()) is layer
    assert repr(layer).startswith("ParametrizedLinear(\n  in_features=2, out_features=2, bias=True")
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert layer.parametrizations.weight.original is original
    assert layer.weight.tolist() == layer.weight.T.tolist()
    layer(torch.ones(2)).sum().backward()
    assert original.grad is not None
    with pytest.raises(RuntimeError, match="parametrization Symmetric does not implement right_in"):
        layer.weight = torch.ones(2, 2)
    duplicate = copy.deepcopy(layer)
    assert duplicate.weight.tolist() == layer.weight.tolist()
    assert duplicate.parametrizations.weight.original is not original
    value = layer.weight.tolist()
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear
    assert layer.weight is original
    assert layer.weight.tolist() == value


def test_assignment_through_the_inverse_and_chains():
    layer = nn.Linear(1, 1)
    parametrize.register_parametrization(layer, "weight", Double())
    parametrize.register_parametrization(layer, "weight", Double())
    layer.weight = torch.tensor([[8.0]])
    assert layer.weight.item() == 8.0
    assert layer.parametrizations.weight.original.item() == 2.0
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert layer.weight.item() == 2.0


def test_what_a_parametrization_may_not_change():
    class Half(nn.Module):
        def forward(self, x):
            return x[:1]

    with pytest.raises(ValueError, match="may not change the shape of the tensor, unless"):
        parametrize.register_parametrization(nn.Linear(2, 2), "weight", Half())
    with pytest.raises(ValueError, match="does not have a parameter, a buffer, or a parametrized"):
        parametrize.register_parametrization(nn.Linear(2, 2), "foo", Double())
    parametrized = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Double())
    with pytest.raises(RuntimeError, match="Serialization of parametrized modules is only"):
        parametrized.__getstate__()


def test_weight_norm():
    layer = nn.Linear(2, 3)
    weight = layer.weight.detach().clone()
    parametrizations.weight_norm(layer)
    assert torch.allclose(layer.weight, weight)
    assert list(layer.state_dict()) == [
        "bias", "parametrizations.weight.original0", "parametrizations.weight.original1"]
    assert layer.parametrizations.weight.original0.shape == (3, 1)


def test_spectral_norm():
    torch.manual_seed(0)
    layer = parametrizations.spectral_norm(nn.Linear(4, 3), n_power_iterations=5)
    for _ in range(3):
        layer(torch.ones(4))
    layer.eval()
    assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1.0, abs=1e-3)


def test_norms_by_hooks():
    layer = nn.Linear(2, 3)
    weight = layer.weight.detach().clone()
    with pytest.warns(FutureWarning, match="`torch.nn.utils.weight_norm` is deprecated in favor"):
        nn.utils.weight_norm(layer)
    assert list(layer.state_dict()) == ["bias", "weight_g", "weight_v"]
    layer(torch.ones(2)).sum().backward()
    assert layer.weight_g.grad.shape == (3, 1)
    nn.utils.remove_weight_norm(layer)
    assert torch.allclose(layer.weight, weight)
    nn.utils.spectral_norm(layer)
    assert sorted(layer.state_dict()) == ["bias", "weight_orig", "weight_u", "weight_v"]
    layer(torch.ones(2)).sum().backward()
    nn.utils.remove_spectral_norm(layer)
    assert isinstance(layer.weight, nn.Parameter)


def test_functional_call():
    layer = nn.Linear(2, 1)
    before = layer.weight
    given = {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}
    assert functional_call(layer, given, torch.ones(2)).tolist() == [2.0]
    assert layer.weight is before
    with pytest.raises(RuntimeError, match="in reparametrizing for Linear:\n\tMissing"):
        functional_call(layer, {"bias": torch.zeros(1)}, torch.ones(2), strict=True)
    with pytest.raises(TypeError, match="5 is not an instance of"):
        functional_call(layer, {"weight": 5}, torch.ones(2))

    tied = nn.Sequential(layer, nn.Sequential(layer))
    given = {"0.weight": torch.ones(1, 2), "0.bias": torch.zeros(1)}
    assert functional_call(tied[1], {"0.weight": torch.ones(1, 2), "0.bias": torch.zeros(1)},
                           (torch.ones(2),)).tolist() == [2.0]
    with pytest.raises(ValueError, match="multiple values for keys"):
        functional_call(tied, {"0.weight": torch.ones(1, 2), "1.0.weight": torch.ones(1, 2)},
                        (torch.ones(2),))


def test_functional_call_gives_back_what_the_module_assigned():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x):
            self.count = self.count + 1
            return x

    counter, state = Counter(), {"count": torch.ones(1)}
    functional_call(counter, state, torch.ones(1))
    assert state["count"].item() == 2.0
    assert counter.count.item() == 0.0
