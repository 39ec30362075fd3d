"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from collections import OrderedDict

import pytest

import taper as torch
from taper import nn


def kinds(modules):
    return [type(module).__name__ for module in modules]


def test_sequential_as_a_list():
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    assert kinds(net) == ["Linear", "ReLU"]
    assert isinstance(net[-1], nn.ReLU)
    assert repr(net[1:]) == "Sequential(\n  (1): ReLU()\n)"
    net.append(nn.Tanh())
    net.insert(0, nn.Sigmoid())
    assert kinds(net) == ["Sigmoid", "Linear", "ReLU", "Tanh"]
    assert list(net._modules) == ["0", "1", "2", "3"]
    assert net.get_submodule("3") is net[3]
    assert isinstance(net.pop(0), nn.Sigmoid)
    del net[-1]
    assert kinds(net) == ["Linear", "ReLU"]
    net[1] = nn.GELU()
    assert kinds(net + net) == ["Linear", "GELU"] * 2
    assert kinds(net * 2) == ["Linear", "GELU"] * 2
    net *= 2
    assert len(net) == 4
    assert not hasattr(nn.Sequential(*list(net)[:1]), "1")


def test_sequential_of_a_dict():
    net = nn.Sequential(OrderedDict(first=nn.Linear(1, 1), second=nn.ReLU()))
    assert net.first is net[0]
    assert list(net.state_dict()) == ["first.weight", "first.bias"]


@pytest.mark.parametrize(("act", "kind", "message"), [
    (lambda s: s[5], IndexError, "index 5 is out of range"),
    (lambda s: s.insert(9, nn.ReLU()), IndexError, "Index out of range: 9"),
    (lambda s: s.append(5), TypeError, "int is not a Module subclass"),
    (lambda s: s.__add__([nn.ReLU()]), ValueError,
     "add operator supports only objects of Sequential class, but <class 'list'> is given."),
    (lambda s: s * 0, ValueError, "Non-positive multiplication factor 0"),
    (lambda s: nn.Sequential([s]), TypeError, "list is not a Module subclass"),
    (lambda s: nn.ModuleList(5), TypeError,
     "ModuleList.extend should be called with an iterable, but got int"),
    (lambda s: nn.ModuleDict({"keys": s}), KeyError, "attribute 'keys' already exists"),
    (lambda s: nn.ModuleDict([("a",)]), ValueError,
     "ModuleDict update sequence element #0 has length 1; 2 is required"),
    (lambda s: nn.ParameterList([1])[3], IndexError, "index 3 is out of range"),
    (lambda s: nn.ParameterList().extend(5), TypeError,
     "ParameterList.extend should be called with an iterable, but got int"),
    (lambda s: nn.ParameterList()(1), RuntimeError, "ParameterList should not be called."),
    (lambda s: nn.ParameterDict({"a": 1})(1), RuntimeError, "ParameterDict should not be called."),
])
def test_errors(act, kind, message):
    with pytest.raises(kind) as caught:
        act(nn.Sequential(nn.ReLU()))
    assert message in str(caught.value.args[0])


def test_module_list():
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
    layers.extend([nn.ReLU(), nn.Linear(2, 2)])
    assert repr(layers) == (
        "ModuleList(\n"
        "  (0-1): 2 x Linear(in_features=2, out_features=2, bias=True)\n"
        "  (2): ReLU()\n"
        "  (3): Linear(in_features=2, out_features=2, bias=True)\n"
        ")"
    )
    layers.insert(0, nn.Tanh())
    assert kinds(layers) == ["Tanh", "Linear", "Linear", "ReLU", "Linear"]
    del layers[1:3]
    assert kinds(layers) == ["Tanh", "ReLU", "Linear"]
    assert kinds(layers.__add__([nn.GELU()])) == ["Tanh", "ReLU", "Linear", "GELU"]
    assert len(list(layers.parameters())) == 2


def test_module_dict():
    layers = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.ReLU()})
    layers.update([("c", nn.Tanh())])
    assert list(layers) == ["a", "b", "c"]
    assert "b" in layers
    assert isinstance(layers.pop("b"), nn.ReLU)
    assert list(layers.keys()) == ["a", "c"]
    del layers["a"]
    layers.clear()
    assert len(layers) == 0


def test_parameter_list():
    values = nn.ParameterList([nn.Parameter(torch.ones(2)), torch.zeros(1), "other"])
    assert len(values) == 3
    assert isinstance(values[1], nn.Parameter)
    assert values[2] == "other"
    assert repr(values) == (
        "ParameterList(\n"
        "    (0): Parameter containing: [torch.float32 of size 2]\n"
        "    (1): Parameter containing: [torch.float32 of size 1]\n"
        "    (2): Object of type: str\n"
        ")"
    )
    values += [torch.ones(1)]
    assert list(values.state_dict()) == ["0", "1", "3"]
    assert len(values[:2]) == 2


def test_parameter_dict():
    values = nn.ParameterDict({"b": nn.Parameter(torch.ones(2)), "a": torch.zeros(1)})
    assert list(values.keys()) == ["a", "b"]  # a plain dict is sorted, as in PyTorch
    values["c"] = 5
    assert values.pop("c") == 5
    assert values.get("missing") is None
    assert list((values | {"z": torch.ones(1)}).keys()) == ["a", "b", "z"]
    assert values.setdefault("d", torch.ones(1)) is values["d"]
    assert sorted(values.state_dict()) == ["a", "b", "d"]
    assert values.popitem()[0] == "d"
    del values["a"]
    assert "Parameter containing: [torch.FloatTensor of size 2]" in repr(values)
