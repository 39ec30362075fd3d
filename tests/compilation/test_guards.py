"""Whatever a training step depends on may change between calls: results are always right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from guarded_steps import Pair, close

import taper as torch
from taper import nn
from taper.nn import functional as F

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
