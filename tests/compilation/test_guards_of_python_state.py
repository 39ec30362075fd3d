"""Whatever Python state a compiled function reads may change: results are always right."""

from __future__ import annotations

import copy
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from guarded_steps import close

import taper as torch
from taper import nn

SCALE = 2.0


class Settings:
    power = 2


def test_what_functions_read() -> None:
    """Closures, globals, defaults, attributes of objects, classes and modules, containers."""
    global SCALE  # noqa: PLW0603 - what is tested
    factor, table, numbers = 3.0, {"a": [1.0, 2.0]}, torch.tensor([1.0, 2.0])
    settings = Settings()
    module = types.ModuleType("users_module")
    module.offset = 1.0  # type: ignore[attr-defined]

    def helper(x: Any, shift: float = 0.5) -> Any:
        return x * SCALE + shift

    def function(x: Any) -> Any:
        y = helper(x) * factor + table["a"][1] * numbers
        return y.abs() ** settings.power + module.offset

    compiled = torch.compile(function)
    x = torch.tensor([1.0, -2.0])

    def check() -> None:
        for _ in range(4):
            assert torch.equal(compiled(x), function(x))

    check()
    assert compiled.explain().calls["compiled"] == 3
    factor = 4.0
    check()
    SCALE = 5.0
    check()
    table["a"][1] = 7.0
    check()
    table["a"] = [0.0, 9.0]
    check()
    settings.power = 3
    check()
    Settings.power = 1
    del settings.power
    check()
    module.offset = 4.0  # type: ignore[attr-defined]
    check()
    helper.__defaults__ = (0.75,)
    check()
    numbers += 1
    check()
    numbers = torch.tensor([5.0, 5.0])
    check()
    helper = lambda x: x - 1  # noqa: E731
    check()
    Settings.power, SCALE = 2, 2.0
    check()
    with torch.no_grad():
        check()
    torch.set_default_dtype(torch.float64)
    try:
        check()
    finally:
        torch.set_default_dtype(torch.float32)
    assert compiled.explain().break_reasons == []


def test_arguments() -> None:
    def function(x: Any, n: Any = 2, *, mode: str = "add", more: Any = ()) -> Any:
        for t in more:
            x = x + t
        return x + n if mode == "add" else x * n

    compiled = torch.compile(function)
    x = torch.ones(3)
    calls = [
        ((x,), {}), ((x, 3), {}), ((x, 3.0), {}), ((x, True), {}), ((x, x), {}), ((x, x * 2), {}),
        ((x,), {"mode": "mul"}), ((x, 4), {"mode": "mul", "more": [x, x * 3]}),
        ((x.double(),), {}), ((x[::2],), {}), ((x.int(), 2.5), {}), ((x, 1), {"more": (x,)}),
        ((x.expand(2, 3),), {}), ((torch.tensor(2.0),), {}),
    ]
    for _ in range(4):
        for args, kwargs in calls:
            found, expected = compiled(*args, **kwargs), function(*args, **kwargs)
            assert torch.equal(found, expected) and found.dtype is expected.dtype


def test_a_deep_copy_has_its_own_state() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    model = Model()
    model.compile()
    x = torch.ones(1, 2)
    for _ in range(3):
        model(x)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.layer.weight.zero_()
        twin.layer.bias.zero_()
    assert twin(x).abs().sum() == 0 and model(x).abs().sum() != 0
    compiled = torch.compile(twin)
    for value in (0.0, 1.0, 2.0):
        with torch.no_grad():
            twin.layer.weight.fill_(value)
        for _ in range(3):
            assert torch.equal(compiled(x), torch.full((1, 2), 2 * value))


def test_the_order_of_an_ordered_dict() -> None:
    weights = OrderedDict(first=1.0, second=10.0)

    def step(x: Any) -> Any:
        return x * sum([value * i for i, value in enumerate(weights.values())])

    compiled = torch.compile(step)
    for moved, expected in ((None, 10), ("first", 1), ("first", 1), ("second", 10)):
        if moved is not None:
            weights.move_to_end(moved)
        for _ in range(4):
            assert compiled(torch.ones(1)).item() == expected


def test_an_object_that_is_passed() -> None:
    class Trainer:
        def __init__(self, scale: float) -> None:
            self.net, self.scale = nn.Linear(2, 1), scale
            self.unused: list[int] = []

        @torch.compile
        def step(self, x: Any) -> Any:
            return self.net(x) * self.scale

    first, second = Trainer(1.0), Trainer(2.0)
    x = torch.ones(3, 2)
    for _ in range(4):
        for trainer in (first, second):
            trainer.unused.append(1)
            assert torch.equal(trainer.step(x), trainer.net(x) * trainer.scale)
        first.scale += 1


def test_what_changes_at_every_call_is_given_up() -> None:
    count = 0.0
    compiled = torch.compile(lambda x: x + count)
    x = torch.zeros(2)
    for _ in range(50):
        count += 1
        assert compiled(x).tolist() == [count, count]
    assert "count" in compiled.explain().break_reasons[0]
    before = compiled.explain().calls["compiled"]
    torch.compiler.reset()
    compiled(x), compiled(x)
    assert compiled.explain().calls["compiled"] == before + 1


def test_what_one_kind_of_call_changes_leaves_the_others_their_programs() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0))

    @torch.compile
    def step(x: Any) -> Any:
        net.train()
        loss = net(x).sum()
        loss.backward()
        return loss.detach()

    x = torch.ones(1, 2)
    for _ in range(5):
        for _ in range(4):
            step(x)
        net.eval()  # so that the next step changes something
        step(x)
        assert net.training and net[1].training
    assert step.explain().calls["compiled"] >= 15
    assert net[0].bias.grad.tolist() == [25.0, 25.0]


def test_hooks_of_leaves_run_once_when_results_are_differentiated() -> None:
    model = nn.Linear(2, 2)
    compiled = torch.compile(model)
    model.weight.register_hook(lambda grad: grad * 10)
    x = torch.ones(1, 2)
    for _ in range(4):
        model.weight.grad = None
        compiled(x).sum().backward()
        assert model.weight.grad.tolist() == [[10, 10], [10, 10]]


def test_methods_that_are_compiled_in_their_class() -> None:
    class Model(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale, self.layer = scale, nn.Linear(2, 2)

        @torch.compile
        def forward(self, x: Any) -> Any:
            return self.layer(x) * self.scale

    models = [Model(1.0), Model(2.0)]
    x = torch.ones(3, 2)
    for i in range(12):
        for model in models:
            assert torch.allclose(model(x), model.layer(x) * model.scale)
        if i % 4 == 3:
            models[0].scale += 1
    assert Model.forward.explain().calls["compiled"] > 12


def test_attributes_of_functions_and_containers() -> None:
    class Table(dict):  # type: ignore[type-arg]
        scale = 1.0

    table = Table(a=2.0)

    def function(x: Any) -> Any:
        return x * function.factor * table.scale * table["a"]  # type: ignore[attr-defined]

    def counts(x: Any) -> Any:
        counts.calls += 1  # type: ignore[attr-defined]
        return x

    function.factor, counts.calls = 3.0, 0  # type: ignore[attr-defined]
    compiled, counted, x = torch.compile(function), torch.compile(counts), torch.ones(2)
    for change in (lambda: None, lambda: setattr(function, "factor", 5.0),
                   lambda: setattr(table, "scale", 7.0), lambda: table.update(a=1.0)):
        change()
        for _ in range(3):
            assert torch.equal(compiled(x), function(x))
            counted(x)
    assert counts.calls == 12  # type: ignore[attr-defined]


def test_random_numbers_and_clocks_by_other_names() -> None:
    from datetime import datetime

    from numpy import random as chance
    from numpy.random import rand

    for function in (lambda x: x + chance.rand(), lambda x: x + rand(),
                     lambda x: x + datetime.now().microsecond):
        compiled = torch.compile(function)
        assert len({compiled(torch.zeros((), dtype=torch.float64)).item() for _ in range(5)}) > 1
        assert compiled.explain().calls["compiled"] == 0


def test_what_is_read_from_modules_and_what_from_objects() -> None:
    """An attribute `load` or `seed` is refused where it is torch's, not where it is a module's."""
    class Router(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.load, self.seed = nn.Buffer(torch.zeros(3)), 2.0

        def forward(self, x: Any) -> Any:
            self.load.add_(torch.relu(x))
            return self.load * self.seed + torch.nn.functional.relu(x)

    router = Router()
    compiled = torch.compile(router)
    for i in range(1, 5):
        assert compiled(torch.ones(3)).tolist() == [2.0 * i + 1] * 3
    assert compiled.explain().calls["compiled"] == 3, compiled.explain()

    def seeded(x: Any) -> Any:
        torch.manual_seed(1)
        return x

    def aside(x: Any) -> Any:
        return getattr(torch, "manual_seed")(1) and x  # noqa: B009

    for function in (lambda x: seeded(torch.relu(x)), lambda x: aside(torch.relu(x))):
        refused = torch.compile(function)
        for _ in range(3):
            refused(torch.ones(3))
        assert "manual_seed" in refused.explain().break_reasons[0]


@pytest.mark.parametrize("native", ["now", "off"])
def test_values_for_the_places_of_a_mask(native: str, monkeypatch: Any) -> None:
    """As many as the mask has True, which the program checks before anything happens."""
    monkeypatch.setattr(torch.settings, "native", native)
    calls = torch.zeros(())

    def step(x: Any, mask: Any, values: Any) -> Any:
        calls.add_(1)
        y = x * 2
        y[mask] = values * 3
        y.square().sum().backward()
        return y.detach()

    compiled = torch.compile(step)
    mask = torch.tensor([False, True, False, True])
    for _ in range(4):
        x = torch.ones(4, 2, requires_grad=True)
        values = torch.tensor([[5.0, 6.0], [7.0, 8.0]], requires_grad=True)
        assert compiled(x, mask, values).tolist() == [[2, 2], [15, 18], [2, 2], [21, 24]]
        assert x.grad is not None and x.grad.tolist() == [[8, 8], [0, 0], [8, 8], [0, 0]]
        assert values.grad is not None and values.grad.tolist() == [[90, 108], [126, 144]]
    assert compiled.explain().calls["compiled"] == 3, compiled.explain()
    for other in (torch.ones(4).bool(), torch.tensor([True, False, False, False])):
        count = calls.item()
        with pytest.raises(RuntimeError, match="shape mismatch: value tensor of shape"):
            compiled(torch.ones(4, 2, requires_grad=True), other, values)
        assert calls.item() == count + 1
    flat = torch.compile(lambda x, mask: x.masked_fill(mask, 0.0).index_put((mask,), x[0] + 1))
    assert flat(torch.ones(4), mask).tolist() == [1, 2, 1, 2]

    class Step(nn.Module):
        def forward(self, x: Any, mask: Any, values: Any) -> Any:
            y = x.clone()
            y[mask] = values
            return y

    with pytest.raises(NotImplementedError, match=r"as many values as the mask has True"):
        torch.export.export(Step(), (torch.ones(4), mask, torch.ones(2)))


def test_rules_that_are_differentiable_once() -> None:
    """Wrappers of taper's that carry a user's name are taper's code still."""
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, grad: Any) -> Any:
            return 2 * ctx.saved_tensors[0] * grad

    weight = torch.ones(3, requires_grad=True)

    def step(x: Any) -> Any:
        loss = Square.apply(weight * x).sum()
        loss.backward()
        return loss

    compiled = torch.compile(step)
    for i in range(1, 5):
        assert compiled(torch.full((3,), 2.0)).item() == 12.0
        assert weight.grad is not None and weight.grad.tolist() == [8.0 * i] * 3
    assert compiled.explain().calls["compiled"] >= 2, compiled.explain()


@pytest.mark.parametrize("native", ["now", "off"])
def test_validation_of_distributions(native: str, monkeypatch: Any) -> None:
    """What is invalid raises as it does without compiling, and nothing else has happened by then:
    no draw is lost, nothing is updated twice."""
    monkeypatch.setattr(torch.settings, "native", native)
    count = torch.zeros(())
    compiled_count = torch.zeros(())

    def make(count: Any) -> Callable[[Any], Any]:
        def sample(scale: Any) -> Any:
            noise = torch.randn(3)
            count.add_(1)
            normal = torch.distributions.Normal(torch.zeros(3), scale)
            drawn = normal.rsample() + 0 * noise
            return drawn, normal.log_prob(drawn)

        return sample

    eager, compiled = make(count), torch.compile(make(compiled_count))
    def outcome(step: Callable[[Any], Any], scale: float) -> Any:
        try:
            values = step(torch.full((3,), scale))
        except ValueError as error:
            values = str(error)
        return values, torch.get_rng_state()

    for scale in (1.0, 2.0, 3.0, -1.0, 4.0, -2.0, 5.0):
        state = torch.get_rng_state()
        expected, after = outcome(eager, scale)
        torch.set_rng_state(state)
        values, state = outcome(compiled, scale)
        assert torch.equal(state, after) and torch.equal(count, compiled_count)
        assert isinstance(values, str) is (scale < 0)
        if scale < 0:
            assert values == expected and values.startswith("Expected parameter scale")
        else:
            for a, b in zip(values, expected, strict=True):
                close(a, b)
    found = compiled.explain()
    assert found.graph_count == 1 and found.calls["compiled"] >= 4, found
