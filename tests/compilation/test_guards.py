"""Whatever a compiled function depends on may change between calls: results are always right."""

from __future__ import annotations

import copy
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

import taper as torch
from taper import nn
from taper.nn import functional as F


class Pair:
    """The same training step twice: one compiled, one not; whatever is done is done to both."""

    def __init__(
        self, optimizer: Callable[..., Any] = torch.optim.SGD, *, model: Any = None, **options: Any
    ) -> None:
        self.sides = []
        for compiled in (False, True):
            torch.manual_seed(0)
            net = nn.Sequential(
                nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2),
                nn.Linear(8, 3),
            ) if model is None else model()
            side = types.SimpleNamespace(net=net, opt=optimizer(net.parameters(), **options))
            side.step = make_step(side.net, side.opt)
            if compiled:
                side.step = torch.compile(side.step)
            self.sides.append(side)
        self.step = self.sides[1].step
        torch.manual_seed(1)
        self.x, self.y = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])

    def both(self, change: Callable[[Any], Any]) -> None:
        for side in self.sides:
            change(side)

    def run(self, times: int = 3, x: Any = None, y: Any = None) -> None:
        """Runs both sides and compares all there is."""
        x, y = self.x if x is None else x, self.y if y is None else y
        for _ in range(times):
            results = []
            state = torch.get_rng_state()
            for side in self.sides:
                torch.set_rng_state(state)
                loss = side.step(x, y)
                results.append((loss.detach(), torch.get_rng_state()))
            assert torch.equal(results[0][1], results[1][1])
            close(results[0][0], results[1][0])
        eager, compiled = (s.net.state_dict() for s in self.sides)
        for name in eager:
            close(compiled[name], eager[name])
        for p, q in zip(*[s.net.parameters() for s in self.sides], strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                close(q.grad, p.grad)
            assert p._version == q._version and p.requires_grad == q.requires_grad
        states = [s.opt.state_dict()["state"] for s in self.sides]
        assert states[0].keys() == states[1].keys()
        for key, entry in states[0].items():
            for name, value in entry.items():
                if isinstance(value, torch.Tensor):
                    close(states[1][key][name], value)

    def programs(self) -> int:
        return self.step.explain().graph_count

    def compiled_calls(self) -> int:
        return self.step.explain().calls["compiled"]


def close(a: Any, b: Any) -> None:
    assert a.dtype == b.dtype and a.shape == b.shape
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def make_step(net: Any, opt: Any) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    return step


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01, lr_decay=0.1),
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rprop": torch.optim.Rprop,
    "asgd": torch.optim.ASGD,
    "adafactor": torch.optim.Adafactor,
    "learning rate as tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    pair = Pair(OPTIMIZERS[name])
    pair.run(12)
    assert pair.compiled_calls() >= 9, pair.step.explain()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_learning_rates_are_inputs(name: str) -> None:
    """A scheduler changes them at every step; nothing is recorded again."""
    pair = Pair(OPTIMIZERS[name])
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(s.opt, 0.7) for s in pair.sides]
    pair.run(8)
    programs = pair.programs()
    for _ in range(6):
        for scheduler in schedulers:
            scheduler.step()
        pair.run(1)
    assert pair.programs() == programs and pair.compiled_calls() >= 8


CHANGING = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1}),
    "adamw": (torch.optim.AdamW, {"betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.1}),
    "nadam": (torch.optim.NAdam, {"betas": (0.9, 0.99), "eps": 1e-6, "momentum_decay": 4e-3}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-6, "momentum": 0.5}),
    "adagrad": (torch.optim.Adagrad, {"lr_decay": 0.1, "eps": 1e-6, "weight_decay": 0.1}),
    "adadelta": (torch.optim.Adadelta, {"rho": 0.9, "eps": 1e-5, "weight_decay": 0.1}),
    "adamax": (torch.optim.Adamax, {"betas": (0.9, 0.99), "eps": 1e-6}),
    "rprop": (torch.optim.Rprop, {"etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}),
    "asgd": (torch.optim.ASGD, {"lambd": 1e-3, "alpha": 0.7, "t0": 1e6}),
    "adafactor": (torch.optim.Adafactor, {"beta2_decay": -0.8, "d": 1.5, "eps": (None, 1e-3)}),
}


@pytest.mark.parametrize("name", CHANGING)
def test_settings_are_inputs(name: str) -> None:
    """All floats of a parameter group may change at every step; nothing is recorded again."""
    optimizer, settings = CHANGING[name]
    pair = Pair(optimizer, **settings)
    pair.run(4)
    programs = pair.programs()
    assert programs == 1, pair.step.explain()

    def shrink(value: Any, i: int) -> Any:
        if isinstance(value, tuple):
            return tuple([shrink(part, i) for part in value])
        return value if value is None else value * (1 - 0.01 * i)

    for i in range(1, 7):
        changed = {name: shrink(value, i) for name, value in settings.items()}
        pair.both(lambda side, changed=changed: side.opt.param_groups[0].update(changed))
        pair.run(1)
    assert pair.programs() == programs and pair.compiled_calls() >= 9, pair.step.explain()


def test_settings_that_decide_what_is_computed() -> None:
    """A decay that vanishes, and one that is back: a program for each, that finds its numbers."""
    pair = Pair(OPTIMIZERS["adamw"])
    pair.run(4)
    for decay in (0.5, 0.0, 0.3, 0.0, 0.1):
        pair.both(lambda side, decay=decay: side.opt.param_groups[0].update(weight_decay=decay))
        pair.run(3)
    assert pair.programs() == 2, pair.step.explain()
    pair.both(lambda side: side.opt.param_groups[0].update(maximize=True))
    pair.run(3)


def test_a_number_that_is_looked_at() -> None:
    """Only that one becomes a guard; the draws of a step that a fact stops are made once."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    opt = torch.optim.AdamW(net.parameters(), lr=0.5)

    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        opt.step()
        group = opt.param_groups[0]
        return loss, int(group["eps"] * 1e9), group["lr"] > 0.3

    compiled = torch.compile(step)
    x = torch.randn(5, 4)
    for i in range(12):
        state = torch.get_rng_state()
        opt.param_groups[0].update(lr=0.5 - 0.04 * i, betas=(0.9 - 0.01 * i, 0.99))
        _, eps, is_large = compiled(x)
        assert eps == 10 and is_large is (opt.param_groups[0]["lr"] > 0.3)
        after = torch.get_rng_state()
        torch.set_rng_state(state)
        F.dropout(torch.ones(5, 4))
        assert torch.equal(torch.get_rng_state(), after)
    assert compiled.explain().graph_count == 2, compiled.explain()


def test_training_and_evaluation() -> None:
    pair = Pair()
    for _ in range(3):
        for mode in (True, False):
            pair.both(lambda side, mode=mode: side.net.train(mode))
            pair.run(3)
    assert pair.programs() == 2 and pair.compiled_calls() >= 14
    pair.both(lambda side: side.net[1].eval())  # one layer only
    pair.run(3)


def test_freezing_a_layer() -> None:
    pair = Pair(OPTIMIZERS["momentum"])
    pair.run(4)
    pair.both(lambda side: side.net[0].requires_grad_(False))
    pair.run(4)
    pair.both(lambda side: side.net[0].requires_grad_(True))
    pair.run(4)


def test_batch_sizes_and_dtypes() -> None:
    pair = Pair(OPTIMIZERS["adam"])
    for size in (6, 2, 6, 3, 2, 6, 5):
        pair.run(3, pair.x[:size], pair.y[:size])
    pair.both(lambda side: side.net.double())
    pair.run(3, pair.x.double())
    spread = torch.randn(4, 6).t()
    pair.both(lambda side: side.net.float())
    pair.run(3, spread)  # other strides


def test_replaced_parameters_and_loaded_states() -> None:
    pair = Pair(OPTIMIZERS["adam"])
    pair.run(4)
    kept = copy.deepcopy(pair.sides[0].net.state_dict())
    states = [copy.deepcopy(s.opt.state_dict()) for s in pair.sides]
    pair.run(2)
    for side, state in zip(pair.sides, states, strict=True):
        side.net.load_state_dict(kept)
        side.opt.load_state_dict(state)
    pair.run(4)

    def replace(side: Any) -> None:
        torch.manual_seed(5)
        for p in side.net[4].parameters():
            del side.opt.state[p]
        side.net[4] = nn.Linear(8, 3)
        side.opt.param_groups[0]["params"] = list(side.net.parameters())

    pair.both(replace)
    pair.run(4)
    pair.both(lambda side: setattr(side.net[4].bias, "data", torch.ones(3)))
    pair.run(4)
    pair.both(lambda side: side.net.append(nn.Tanh()))
    pair.run(4)
    pair.both(lambda side: side.opt.add_param_group({"params": [nn.Parameter(torch.ones(2))]}))
    pair.run(3)


def test_hooks() -> None:
    pair = Pair()
    pair.run(4)
    handles = []
    pair.both(lambda side: handles.append(
        side.net[0].register_forward_hook(lambda module, args, result: result * 2)))
    pair.run(4)
    for handle in handles:
        handle.remove()
    pair.run(4)
    pair.both(lambda side: handles.append(side.net[0].weight.register_hook(lambda g: g * 3)))
    pair.run(4)
    pair.both(lambda side: side.net[4].register_full_backward_hook(
        lambda module, given, taken: (given[0] * 0.5,)))
    pair.run(4)
    everywhere = nn.modules.module.register_module_forward_hook(
        lambda module, args, result: result + 0.1)
    pair.run(4)
    everywhere.remove()
    pair.run(4)
    seen: list[Any] = []
    pair.both(lambda side: side.net.register_forward_pre_hook(lambda module, args: seen.append(1)))
    pair.run(4)
    assert len(seen) == 8  # an effect: every call runs as it is


def test_gradients_between_calls() -> None:
    pair = Pair()
    pair.run(4)
    kept = [p.grad for p in pair.sides[1].net.parameters()]
    values = [g.clone() for g in kept]
    pair.run(2)
    for grad, value in zip(kept, values, strict=True):
        assert torch.equal(grad, value)  # a gradient that somebody holds isn't written to
    pair.both(lambda side: side.opt.zero_grad())
    pair.run(2)
    pair.both(lambda side: side.net[0].weight.grad.mul_(5))
    pair.run(2)


def accumulate(net: Any, opt: Any) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        return loss

    return step


def test_accumulation() -> None:
    pair = Pair()
    for side in pair.sides:
        side.step = accumulate(side.net, side.opt)
    pair.sides[1].step = pair.step = torch.compile(pair.sides[1].step)
    pair.run(5)
    pair.both(lambda side: side.opt.step())
    pair.both(lambda side: side.opt.zero_grad())
    pair.run(5)
    pair.both(lambda side: side.opt.zero_grad(set_to_none=False))
    pair.run(5)
    grads = [p.grad for p in pair.sides[1].net.parameters()]
    pair.run(2)
    for p, g in zip(pair.sides[1].net.parameters(), grads, strict=True):
        assert p.grad is g
    assert pair.compiled_calls() > 10


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


def test_inference_mode() -> None:
    """Within a compiled function and around one; results are inference tensors, views too."""
    weight = nn.Parameter(torch.randn(4))

    def double(x: Any) -> Any:
        y = x * 2 + weight
        return y, y[1:], y.sum()

    inside = torch.compile(torch.inference_mode()(double))
    around = torch.compile(double)
    for _ in range(4):
        x = torch.randn(4)
        expected = double(x)
        with torch.inference_mode():
            of_around = around(x)
        for found in (inside(x), of_around):
            for a, b in zip(found, expected, strict=True):
                close(a, b)
                assert a.is_inference() and not a.requires_grad
            assert found[1]._base is found[0]
            with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
                (weight * found[0]).sum()
        assert around(x)[0].requires_grad
    assert inside.explain().calls["compiled"] == 3, inside.explain()
    assert around.explain().calls["compiled"] == 3, around.explain()


def test_many_sizes() -> None:
    """More sizes than programs are kept: results are right, and recording comes to an end."""
    weight = nn.Parameter(torch.randn(3))

    @torch.compile
    def step(x: Any) -> Any:
        return (x * weight).sum(1).exp()

    for turn in range(12):
        for size in range(1, 41):
            x = torch.full((size, 3), 0.01 * turn)
            close(step(x).detach(), (x * weight).sum(1).exp().detach())
    captured = next(c.cell_contents for c in step.__closure__
                    if hasattr(c.cell_contents, "variants"))
    assert captured.refusal is None and len(captured.variants) <= 16
    assert captured.recordings <= 60
    for _ in range(10):  # what comes often has a program all the same
        x = torch.ones(50, 3)
        for _ in range(captured.needed):
            close(step(x).detach(), (x * weight).sum(1).exp().detach())
    before = step.explain().calls["compiled"]
    step(x)
    assert step.explain().calls["compiled"] == before + 1
