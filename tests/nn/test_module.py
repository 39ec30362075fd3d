"""Module: members and attributes, walking, converting, printing, copying."""

import copy
import gc
import pickle
import weakref

import pytest

import taper as torch
from taper import nn


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([2.0]))
        self.register_buffer("offset", torch.tensor([1.0]))

    def forward(self, input):
        return self.factor * input + self.offset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.inner = nn.Sequential(nn.ReLU(), nn.Linear(3, 1))

    def forward(self, input):
        return self.inner(self.first(input))


# -- members ---------------------------------------------------------------------------------------


def test_members_are_found_as_attributes_and_in_their_tables():
    module = Scale()
    assert module.factor is module._parameters["factor"]
    assert module.offset is module._buffers["offset"]
    assert module(torch.tensor([3.0])).tolist() == [7.0]
    assert [name for name, _ in Net().named_parameters()] == [
        "first.weight", "first.bias", "inner.1.weight", "inner.1.bias"]


@pytest.mark.parametrize("change", [
    lambda m, p: setattr(m, "factor", p),
    lambda m, p: m.register_parameter("factor", p),
    lambda m, p: m._parameters.__setitem__("factor", p),
    lambda m, p: m._parameters.update(factor=p),
    lambda m, p: setattr(m, "_parameters", {"factor": p}),
])
def test_attribute_and_table_agree_after_a_change(change):
    module, other = Scale(), nn.Parameter(torch.tensor([5.0]))
    change(module, other)
    assert module.factor is other
    assert module._parameters["factor"] is other
    assert list(module.parameters()) == [other]


@pytest.mark.parametrize("remove", [
    lambda m: delattr(m, "factor"),
    lambda m: m._parameters.pop("factor"),
    lambda m: m._parameters.__delitem__("factor"),
    lambda m: m._parameters.popitem(),
    lambda m: m._parameters.clear(),
    lambda m: setattr(m, "_parameters", {}),
])
def test_attribute_and_table_agree_after_removal(remove):
    module = Scale()
    remove(module)
    assert not hasattr(module, "factor")
    assert list(module.parameters()) == []
    module.factor = "now something else"
    assert module.factor == "now something else"


def test_an_instance_attribute_wins_over_a_table_entry():
    module = Scale()
    module.__dict__["hidden"] = "plain"
    module._parameters["hidden"] = nn.Parameter(torch.ones(1))
    assert module.hidden == "plain"
    del module._parameters["hidden"]
    assert module.hidden == "plain"


def test_a_copied_dict_of_attributes_makes_an_independent_module():
    module = Scale()
    clone = module.__new__(type(module))
    clone.__dict__ = module.__dict__.copy()
    clone._parameters = clone._parameters.copy()
    clone._parameters["factor"] = nn.Parameter(torch.tensor([7.0]))
    assert clone.factor.item() == 7.0
    assert module.factor.item() == 2.0


def test_a_module_without_its_tables_still_finds_members():
    class Restored(Scale):
        def __setstate__(self, state):
            self.__dict__.update(state)  # as a user may write it, without super()

    module = copy.deepcopy(Restored())
    assert module.factor.item() == 2.0
    module.factor = nn.Parameter(torch.tensor([3.0]))
    assert module.factor.item() == 3.0
    assert module._parameters["factor"] is module.factor


def test_modules_are_freed_without_the_garbage_collector():
    gc.disable()
    try:
        module = Net()
        alive = weakref.ref(module.first)
        del module
        assert alive() is None
    finally:
        gc.enable()


def test_kinds_replace_each_other():
    module = Scale()
    module.offset = nn.Parameter(torch.ones(1))
    assert list(module._buffers) == []
    assert list(module._parameters) == ["factor", "offset"]
    module.offset = None
    assert module.offset is None
    module.thing = nn.ReLU()
    module.thing = nn.Parameter(torch.ones(1))
    assert list(module._modules) == []


def test_buffers_by_assignment():
    module = Scale()
    module.extra = nn.Buffer(torch.zeros(2), persistent=False)
    assert list(module._buffers) == ["offset", "extra"]
    assert list(module.state_dict()) == ["factor", "offset"]
    module.offset = torch.tensor([4.0])
    assert module._buffers["offset"].item() == 4.0


@pytest.mark.parametrize(("act", "kind", "message"), [
    (lambda m: setattr(m, "factor", 5), TypeError,
     "cannot assign 'int' as parameter 'factor' (torch.nn.Parameter or None expected)"),
    (lambda m: setattr(m, "factor", torch.ones(1)), TypeError,
     "cannot assign 'torch.FloatTensor' as parameter 'factor'"),
    (lambda m: setattr(m, "offset", "x"), TypeError,
     "cannot assign 'str' as buffer 'offset' (torch.nn.Buffer, torch.Tensor or None expected)"),
    (lambda m: m.register_buffer("a.b", None), KeyError, 'buffer name can\'t contain "."'),
    (lambda m: m.register_buffer("", None), KeyError, 'buffer name can\'t be empty string ""'),
    (lambda m: m.register_buffer("forward", None), KeyError,
     "attribute 'forward' already exists"),
    (lambda m: m.register_buffer("x", 5), TypeError,
     "cannot assign 'int' object to buffer 'x' (torch Tensor or None required)"),
    (lambda m: m.register_parameter(5, None), TypeError,
     "parameter name should be a string. Got int"),
    (lambda m: m.register_parameter("x", torch.ones(1)), TypeError,
     "cannot assign 'torch.FloatTensor' object to parameter 'x'"),
    (lambda m: m.add_module("a.b", None), KeyError, 'module name can\'t contain ".", got: a.b'),
    (lambda m: m.add_module("x", 5), TypeError, "int is not a Module subclass"),
    (lambda m: m.missing, AttributeError, "'Scale' object has no attribute 'missing'"),
    (lambda m: delattr(m, "missing"), AttributeError,
     "'Scale' object has no attribute 'missing'"),
    (lambda m: m.train(1), ValueError, "training mode is expected to be boolean"),
    (lambda m: m.to(torch.int64), TypeError,
     "nn.Module.to only accepts floating point or complex dtypes, but got desired "
     "dtype=torch.int64"),
    (lambda m: nn.Module()(1), NotImplementedError,
     'Module [Module] is missing the required "forward" function'),
    (lambda m: nn.Module(a=1), TypeError,
     "Module.__init__() got an unexpected keyword argument 'a'"),
    (lambda m: nn.Module(1), TypeError,
     "Module.__init__() takes 1 positional argument but 2 were given"),
    (lambda m: m.compile(mode="fast"), RuntimeError, "Unrecognized mode=fast"),
])
def test_errors(act, kind, message):
    with pytest.raises(kind) as caught:
        act(Scale())
    assert message in (caught.value.args[0] if kind is KeyError else str(caught.value))


@pytest.mark.parametrize(("value", "message"), [
    (nn.Parameter(torch.ones(1)), "cannot assign parameters before Module.__init__() call"),
    (nn.ReLU(), "cannot assign module before Module.__init__() call"),
    (nn.Buffer(torch.ones(1)), "cannot assign buffer before Module.__init__() call"),
])
def test_members_need_init(value, message):
    class Bare(nn.Module):
        def __init__(self):
            self.member = value

    with pytest.raises(AttributeError) as caught:
        Bare()
    assert str(caught.value) == message


def test_super_init_goes_on_when_asked():
    class Other:
        def __init__(self, number):
            self.number = number

    class Both(nn.Module, Other):
        call_super_init = True

    assert Both(3).number == 3


# -- paths -----------------------------------------------------------------------------------------


def test_members_by_path():
    net = Net()
    assert net.get_submodule("") is net
    assert net.get_submodule("inner.1") is net.inner[1]
    assert net.get_parameter("inner.1.weight") is net.inner[1].weight
    for path, message in [
        ("inner.5", "Sequential has no attribute `5`"),
        ("first.weight", "`weight` is not an nn.Module"),
    ]:
        with pytest.raises(AttributeError) as caught:
            net.get_submodule(path)
        assert str(caught.value) == message
    with pytest.raises(AttributeError, match=r"`1` is not an nn\.Parameter"):
        net.get_parameter("inner.1")
    with pytest.raises(AttributeError, match="`weight` is not a buffer"):
        net.get_buffer("first.weight")
    norm = nn.Sequential(nn.BatchNorm1d(2))
    assert norm.get_buffer("0.running_mean") is norm[0].running_mean


def test_set_submodule():
    net = Net()
    net.set_submodule("inner.0", nn.Tanh())
    assert isinstance(net.inner[0], nn.Tanh)
    with pytest.raises(ValueError, match="Cannot set the submodule without a target"):
        net.set_submodule("", nn.Tanh())
    with pytest.raises(AttributeError, match="`weight` is not an"):
        net.set_submodule("first.weight", nn.Tanh())
    with pytest.raises(AttributeError, match="has no attribute `9`"):
        net.set_submodule("inner.9", nn.Tanh(), strict=True)


def test_shared_members_are_listed_once_unless_asked():
    layer = nn.Linear(1, 1)
    net = nn.Sequential(layer, layer)
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias"]
    assert [name for name, _ in net.named_parameters(remove_duplicate=False)] == [
        "0.weight", "0.bias", "1.weight", "1.bias"]
    assert [name for name, _ in net.named_modules()] == ["", "0"]
    assert [name for name, _ in net.named_modules(remove_duplicate=False)] == ["", "0", "1"]
    assert [name for name, _ in net.named_children()] == ["0"]
    assert [name for name, _ in net.named_parameters(prefix="net", recurse=False)] == []
    assert [name for name, _ in layer.named_parameters(prefix="net")] == [
        "net.weight", "net.bias"]


# -- modes, conversion -----------------------------------------------------------------------------


def test_train_eval_apply_requires_grad():
    net = Net()
    assert net.eval() is net
    assert [module.training for module in net.modules()] == [False] * 5
    seen = []
    net.train().apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Linear", "ReLU", "Linear", "Sequential", "Net"]
    net.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_zero_grad():
    layer = nn.Linear(2, 1)
    layer(torch.ones(2)).backward()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0.0, 0.0]]
    layer.zero_grad()
    assert layer.weight.grad is None


def test_conversion_keeps_the_objects():
    module = Scale()
    parameter = module.factor
    parameter.grad = torch.ones(1)
    assert module.double() is module
    assert module.factor is parameter
    assert (parameter.dtype, parameter.grad.dtype, module.offset.dtype) == (torch.float64,) * 3
    assert module.to(torch.float16).factor.dtype is torch.float16
    assert module.to(torch.ones(1)).factor.dtype is torch.float32
    assert module.to("cpu", torch.float64).offset.dtype is torch.float64
    assert module.type(torch.float32).factor.dtype is torch.float32
    assert module.bfloat16().factor.dtype is torch.bfloat16
    counting = nn.BatchNorm1d(2).half()
    assert counting.num_batches_tracked.dtype is torch.int64


def test_a_complex_module_is_warned_about():
    with pytest.warns(UserWarning, match="Complex modules are a new feature"):
        assert nn.Linear(1, 1).to(torch.complex64).weight.dtype is torch.complex64


# -- printing, copying -----------------------------------------------------------------------------


def test_repr():
    assert repr(Net()) == (
        "Net(\n"
        "  (first): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (inner): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): Linear(in_features=3, out_features=1, bias=True)\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Module()) == "Module()"

    class Lines(nn.Module):
        def extra_repr(self):
            return "a=1\nb=2"

    assert repr(Lines()) == "Lines(\n  a=1\n  b=2\n)"


def test_dir_lists_members():
    listed = dir(Net())
    assert {"first", "inner", "forward", "training"} <= set(listed)
    assert listed == sorted(listed)
    assert "0" not in dir(nn.Sequential(nn.ReLU()))


@pytest.mark.parametrize("duplicate", [
    copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module)),
])
def test_copies_are_independent_and_complete(duplicate):
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    clone = duplicate(net)
    assert clone[0].weight is clone[0]._parameters["weight"]
    assert clone[0].weight is not net[0].weight
    assert clone[0].weight.tolist() == net[0].weight.tolist()
    clone[0].weight = nn.Parameter(torch.zeros(2, 2))
    assert clone[0].weight.sum().item() == 0.0
    clone[0].register_forward_hook(lambda module, args, output: output * 0)
    assert clone[0](torch.ones(2)).tolist() == [0.0, 0.0]
    assert net[0].weight.abs().sum().item() > 0


def test_shallow_copies_don_t_disturb_each_other():
    layer = nn.Linear(2, 2)
    clone = copy.copy(layer)
    assert clone.weight is layer.weight
    clone.weight = nn.Parameter(torch.zeros(2, 2))
    assert layer.weight.abs().sum().item() > 0


def test_the_pickled_state_holds_members_once():
    state = nn.Linear(2, 2).__getstate__()
    assert "weight" not in state
    assert type(pickle.loads(pickle.dumps(state))["_parameters"]) is dict


def test_a_parameter_of_a_subclass_stays_of_its_class():
    class Marked(torch.Tensor):
        pass

    weight = torch.nn.Parameter(torch.ones(2).as_subclass(Marked))
    assert type(weight) is Marked and isinstance(weight, torch.nn.Parameter)
    assert type(weight.data) is type(weight.detach()) is Marked and weight.requires_grad
    module = torch.nn.Module()
    module.weight = weight
    assert next(module.parameters()) is weight
    assert repr(weight) == "Parameter(Marked([1., 1.], requires_grad=True))"
