"""torch.fx: traced graphs, their code, changes of them, interpreters."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from typing import Any

import pytest

import taper as torch
from taper import fx, nn
from taper.fx.passes.shape_prop import ShapeProp
from taper.fx.proxy import TraceError


def helper(x: Any, y: Any) -> Any:
    return x if y else -x


fx.wrap("helper")


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parameter = nn.Parameter(torch.ones(3, 4))
        self.register_buffer("shift", torch.full((4,), 2.0))
        self.linear = nn.Linear(4, 5)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(5, 2))

    def forward(self, x: Any, factor: float = 2.0) -> Any:
        hidden = self.linear(x + self.parameter - self.shift).clamp(min=0.0)
        return {"out": self.rest(hidden) * factor, "size": hidden.size(0)}


def rectified(x: Any) -> Any:
    return torch.relu(x)


def kinds(graph: fx.Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_a_module_is_traced_and_computes_the_same() -> None:
    model = Model()
    traced = fx.symbolic_trace(model)
    assert kinds(traced.graph) == [
        "placeholder", "placeholder", "get_attr", "call_function", "get_attr", "call_function",
        "call_module", "call_method", "call_module", "call_module", "call_function", "call_method",
        "output",
    ]  # fmt: skip
    x = torch.randn(3, 4)
    for args in ((x,), (x, 0.5)):
        mine, theirs = traced(*args), model(*args)
        assert torch.equal(mine["out"], theirs["out"]) and mine["size"] == theirs["size"]
    traced.graph.lint()
    assert list(traced.state_dict()) == list(model.state_dict())
    assert traced.linear is model.linear
    traced(x)["out"].sum().backward()
    assert model.parameter.grad is not None


def test_code_of_a_function() -> None:
    traced = fx.symbolic_trace(lambda x, y: torch.sin(x) + y**2)
    assert traced.code == (
        "\n\n\ndef forward(self, x, y):\n    sin = torch.sin(x);  x = None\n"
        "    pow_1 = y ** 2;  y = None\n    add = sin + pow_1;  sin = pow_1 = None\n"
        "    return add\n    "
    )
    assert str(traced.graph) == (
        "graph():\n    %x : [num_users=1] = placeholder[target=x]\n"
        "    %y : [num_users=1] = placeholder[target=y]\n"
        "    %sin : [num_users=1] = call_function[target=torch.sin](args = (%x,), kwargs = {})\n"
        "    %pow_1 : [num_users=1] = call_function[target=operator.pow]"
        "(args = (%y, 2), kwargs = {})\n"
        "    %add : [num_users=1] = call_function[target=operator.add]"
        "(args = (%sin, %pow_1), kwargs = {})\n    return add"
    )


@pytest.mark.parametrize(("function", "args"), [
    (lambda x: x[1:].t()[0] @ x[1:], (torch.rand(3, 3),)),
    (lambda x: torch.cat([x, -x], dim=0).view(-1, x.shape[0]), (torch.rand(2, 3),)),
    (lambda x, *rest, **named: x + rest[0] * named["scale"], (torch.ones(2), 3)),
    (lambda x, *, scale=3.0: x * scale, (torch.ones(2),)),
    (lambda x: math.sqrt(x.shape[0]) * x, (torch.ones(4),)),
    (lambda x: helper(x, 0) + torch.tensor(1.0), (torch.ones(2),)),
    (lambda x: 2 - x / 3 if isinstance(x, object) else x, (torch.ones(2),)),
    (lambda x: {"a": [x, (x + 1,)], "b": slice(None, 2)}, (torch.ones(2),)),
    (lambda x: torch.where(x > 0, x, float("inf")), (torch.tensor([-1.0, 1.0]),)),
])  # fmt: skip
def test_programs(function: Any, args: Any) -> None:
    named = {"scale": 2} if "named" in function.__code__.co_varnames else {}
    traced = fx.symbolic_trace(function)
    assert repr(traced(*args, **named)) == repr(function(*args, **named))
    if not named:
        assert repr(fx.Interpreter(traced).run(*args)) == repr(function(*args))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5]))
        self.again = self.scale

    def forward(self, x: Any) -> Any:
        return x * self.scale.exp() + self.again.numel() * self.again


def test_what_is_computed_of_parameters_alone_is_no_constant() -> None:
    model = Scaled()
    traced = fx.symbolic_trace(model)
    assert [n.target for n in traced.graph.nodes if n.op == "get_attr"] == ["scale"]
    with torch.no_grad():
        model.scale += 1.0
    x = torch.ones(1)
    assert traced.scale is model.scale and torch.equal(traced(x), model(x))
    traced(x).sum().backward()
    assert model.scale.grad is not None
    assert isinstance(model.scale, nn.Parameter)  # after tracing, modules are as they were
    constant = fx.Tracer(param_shapes_constant=True).trace(model)
    assert not any(n.target == "numel" for n in constant.nodes)


def test_unpacking_is_traced_and_loops_are_not() -> None:
    def halves(x: Any) -> Any:
        a, b = x.chunk(2)
        return a - b

    x = torch.arange(4.0)
    assert torch.equal(fx.symbolic_trace(halves)(x), halves(x))
    with pytest.raises(TraceError, match="cannot be iterated"):
        fx.symbolic_trace(lambda x: [row for row in x])
    with pytest.raises(TraceError, match="control flow"):
        fx.symbolic_trace(lambda x: x if x.sum() > 0 else -x)
    with pytest.raises(RuntimeError, match="'len' is not supported"):
        fx.symbolic_trace(len)
    fixed = fx.symbolic_trace(lambda x, y: x if y else -x, {"y": False})
    assert fixed(x, False).tolist()[1] == -1
    with pytest.raises(AssertionError, match="y has been specialized to have value False"):
        fixed(x, True)
    absent = fx.symbolic_trace(lambda x, y=None: x if y is None else x + y, {"y": None})
    assert torch.equal(absent(x), x)
    with pytest.raises(AssertionError, match="y has been specialized to have value None"):
        absent(x, x)


def test_graphs_by_hand() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    total = graph.call_function(torch.add, (x, 1))
    graph.output(graph.call_method("relu", (total,)))
    module = fx.GraphModule({}, graph)
    assert module(torch.tensor([-3.0, 1.0])).tolist() == [0, 2]
    with graph.inserting_after(total):
        doubled = graph.call_function(operator.mul, (total, 2))
    total.replace_all_uses_with(doubled, lambda user: user is not doubled)
    module.recompile()
    assert module(torch.tensor([-3.0, 1.0])).tolist() == [0, 4]
    assert list(total.users) == [doubled] and doubled.all_input_nodes == [total]
    with pytest.raises(RuntimeError, match="still had 1 users"):
        graph.erase_node(total)
    with pytest.raises(NotImplementedError, match="does not support mutation"):
        graph.call_function(torch.cat, ([x, x],)).args[0].append(x)
    doubled.prepend(next(n for n in graph.nodes if n.op == "call_method"))
    with pytest.raises(RuntimeError, match="used before it has been defined"):
        graph.lint()


def test_dead_code_goes_and_effects_stay() -> None:
    def function(x: Any) -> Any:
        x + 1
        torch._assert(x, "empty")
        return -x

    traced = fx.symbolic_trace(function)
    assert len(traced.graph.nodes) == 5
    assert traced.graph.eliminate_dead_code()
    assert len(traced.graph.nodes) == 4
    assert not traced.graph.eliminate_dead_code()


def test_transformers_interpreters_and_patterns() -> None:
    traced = fx.symbolic_trace(lambda x: torch.sin(torch.relu(x)) + torch.relu(x + 1))

    class Cosines(fx.Transformer):
        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            return super().call_function(
                torch.cos if target is torch.sin else target, args, kwargs
            )

    x = torch.randn(4)
    changed = Cosines(traced).transform()
    assert torch.equal(changed(x), torch.cos(torch.relu(x)) + torch.relu(x + 1))
    found = fx.replace_pattern(traced, rectified, lambda a: torch.sigmoid(a) * 2)
    assert len(found) == 2
    expected = torch.sin(torch.sigmoid(x) * 2) + torch.sigmoid(x + 1) * 2
    assert torch.equal(traced(x), expected)
    chain = fx.symbolic_trace(lambda x: x.neg().neg().neg())
    assert len(fx.replace_pattern(chain, lambda a: a.neg().neg(), lambda a: a + 0)) == 1
    assert torch.equal(chain(x), -(x + 0))


def test_copies_pickles_and_shapes() -> None:
    traced = fx.symbolic_trace(Model())
    x = torch.randn(3, 4)
    for other in (copy.deepcopy(traced), copy.copy(traced), pickle.loads(pickle.dumps(traced))):
        assert torch.equal(other(x)["out"], traced(x)["out"])
        assert other.graph is not traced.graph
    ShapeProp(traced).propagate(x)
    shapes = {n.name: n.meta["tensor_meta"].shape for n in traced.graph.nodes if n.name == "linear"}
    assert shapes == {"linear": (3, 5)}
    assert "class Model(torch.nn.Module):" in traced.print_readable(print_output=False)
    assert traced.add_submodule("added.inner", nn.ReLU())
    traced.delete_all_unused_submodules()
    assert not hasattr(traced, "added") and hasattr(traced, "rest")


def test_leaves_are_the_tracers_decision() -> None:
    class Deep(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return not isinstance(m, nn.Linear) and super().is_leaf_module(m, module_qualified_name)

    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    traced = fx.GraphModule(model, Deep().trace(model))
    x = torch.randn(1, 2)
    assert "call_module" in kinds(traced.graph) and "get_attr" in kinds(traced.graph)
    assert torch.equal(traced(x), model(x))
    assert model(x).shape == (1, 2)  # modules are called as before
