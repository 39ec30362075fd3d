"""Schedules by hand: their rates, their warnings, their errors."""

from __future__ import annotations

import math
import warnings

import pytest

import taper as torch
from taper.optim import lr_scheduler as schedules


def optimizer(groups=1, name="SGD", **options):
    params = [{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(groups)]
    if name == "SGD":
        options.setdefault("momentum", 0.9)
    return getattr(torch.optim, name)(params, lr=1.0, **options)


def rates(make, epochs, **options):
    opt = optimizer(**options)
    scheduler = make(opt)
    seen = []
    for _ in range(epochs):
        seen.append(round(opt.param_groups[0]["lr"], 6))
        opt.step()
        scheduler.step()
    assert scheduler.get_last_lr() == [opt.param_groups[0]["lr"]]
    return seen


@pytest.mark.parametrize(("make", "expected"), [
    (lambda o: schedules.StepLR(o, 2, gamma=0.5), [1, 1, 0.5, 0.5, 0.25]),
    (lambda o: schedules.MultiStepLR(o, [1, 3, 3], gamma=0.5), [1, 0.5, 0.5, 0.125, 0.125]),
    (lambda o: schedules.ExponentialLR(o, 0.5), [1, 0.5, 0.25, 0.125]),
    (lambda o: schedules.LambdaLR(o, lambda epoch: epoch + 1), [1, 2, 3, 4]),
    (lambda o: schedules.MultiplicativeLR(o, lambda epoch: epoch), [1, 1, 2, 6]),
    (lambda o: schedules.ConstantLR(o, 0.5, 2), [0.5, 0.5, 1, 1]),
    (lambda o: schedules.LinearLR(o, 0.5, 1.0, 2), [0.5, 0.75, 1, 1]),
    (lambda o: schedules.PolynomialLR(o, 4, 2), [1, 0.5625, 0.25, 0.0625, 0, 0]),
    (lambda o: schedules.CosineAnnealingLR(o, 2), [1, 0.5, 0, 0.5, 1]),
    (lambda o: schedules.CosineAnnealingWarmRestarts(o, 2), [1, 0.5, 1, 0.5]),
    (lambda o: schedules.CyclicLR(o, 1.0, 3.0, step_size_up=2), [1, 2, 3, 2, 1, 2]),
    (lambda o: schedules.SequentialLR(o, [schedules.ConstantLR(o, 0.5, 9),
                                          schedules.ExponentialLR(o, 0.1)], [2]),
     [0.5, 0.5, 1, 0.1, 0.01]),
    (lambda o: schedules.ChainedScheduler([schedules.ConstantLR(o, 0.5, 2),
                                           schedules.ExponentialLR(o, 0.1)]),
     [0.5, 0.05, 0.01, 0.001]),
])  # fmt: skip
def test_rates(make, expected):
    assert rates(make, len(expected)) == expected


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_one_cycle_moves_momentum_the_other_way(name):
    opt = optimizer(name=name)
    scheduler = schedules.OneCycleLR(opt, 1.0, total_steps=11, pct_start=0.6,
                                     anneal_strategy="linear")
    seen = []
    for _ in range(11):
        group = opt.param_groups[0]
        seen.append((group["lr"], group["betas"][0] if name == "Adam" else group["momentum"]))
        opt.step()
        scheduler.step()
    assert seen[0] == pytest.approx((1 / 25, 0.95))
    top = max(range(11), key=lambda i: seen[i][0])
    assert seen[top][1] == min(momentum for _, momentum in seen)
    assert seen[-1] == pytest.approx((1 / 25 / 1e4, 0.95))
    with pytest.raises(ValueError, match="Tried to step 12 times"):
        scheduler.step()


def test_plateau():
    opt = optimizer()
    scheduler = schedules.ReduceLROnPlateau(opt, patience=1, factor=0.5, cooldown=1)
    seen = []
    for loss in (1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, torch.tensor(0.1), 0.2):
        scheduler.step(loss)
        seen.append(opt.param_groups[0]["lr"])
    assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'metrics'"):
        scheduler.step()


def test_rate_that_is_a_tensor_stays_the_same_tensor():
    rate = torch.tensor(1.0)
    opt = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=rate)
    scheduler = schedules.ExponentialLR(opt, 0.5)
    opt.step()
    scheduler.step()
    assert opt.param_groups[0]["lr"] is rate
    assert rate.item() == 0.5
    assert scheduler.base_lrs[0].item() == 1.0


def test_order_of_calls():
    opt = optimizer()
    scheduler = schedules.StepLR(opt, 1)
    with pytest.warns(UserWarning, match=r"Detected call of `lr_scheduler.step\(\)` before"):
        scheduler.step()
    opt = optimizer()
    scheduler = schedules.StepLR(opt, 1)
    opt.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()
        scheduler.step()
    with pytest.warns(UserWarning, match=r"please use `get_last_lr\(\)`"):
        scheduler.get_lr()
    with pytest.warns(UserWarning, match=r"The epoch parameter in `scheduler.step\(\)`"):
        scheduler.step(4)


def test_going_on_needs_initial_rates():
    with pytest.raises(KeyError, match="param 'initial_lr' is not specified"):
        schedules.StepLR(optimizer(), 1, last_epoch=3)


def test_reloading():
    opt = optimizer(groups=2)
    scheduler = schedules.SequentialLR(
        opt, [schedules.LinearLR(opt, 0.1, 1.0, 3), schedules.CosineAnnealingLR(opt, 5)], [3]
    )
    expected = []
    for epoch in range(8):
        opt.step()
        scheduler.step()
        expected.append(scheduler.get_last_lr())
        if epoch == 4:
            states = opt.state_dict(), scheduler.state_dict()
    fresh = optimizer(groups=2)
    other = schedules.SequentialLR(
        fresh, [schedules.LinearLR(fresh, 0.1, 1.0, 3), schedules.CosineAnnealingLR(fresh, 5)], [3]
    )
    fresh.load_state_dict(states[0])
    other.load_state_dict(states[1])
    for rates_before in expected[5:]:
        fresh.step()
        other.step()
        assert other.get_last_lr() == rates_before


def test_lambdas_keep_attributes_of_objects_only():
    class Decay:
        def __init__(self, base):
            self.base = base

        def __call__(self, epoch):
            return self.base**epoch

    opt = optimizer(groups=2)
    scheduler = schedules.LambdaLR(opt, [Decay(0.5), lambda epoch: 1.0])
    assert scheduler.state_dict()["lr_lambdas"] == [{"base": 0.5}, None]
    other = schedules.LambdaLR(optimizer(groups=2), [Decay(0.1), lambda epoch: 1.0])
    other.load_state_dict(scheduler.state_dict())
    assert other.lr_lambdas[0].base == 0.5


def test_swa_reaches_its_rate():
    opt = optimizer()
    scheduler = torch.optim.swa_utils.SWALR(opt, swa_lr=0.5, anneal_epochs=2)
    seen = []
    for _ in range(4):
        seen.append(round(opt.param_groups[0]["lr"], 6))
        opt.step()
        scheduler.step()
    assert seen == [1, 0.75, 0.5, 0.5]
    assert math.isclose(opt.param_groups[0]["lr"], 0.5)


@pytest.mark.parametrize(("make", "kind", "text"), [
    (lambda o: schedules.StepLR(3, 1), TypeError, "int is not an Optimizer"),
    (lambda o: schedules.LambdaLR(o, [abs, abs]), ValueError, "Expected 1 lr_lambdas, but got 2"),
    (lambda o: schedules.ConstantLR(o, 2), ValueError, "Constant multiplicative factor expected"),
    (lambda o: schedules.LinearLR(o, 0), ValueError, "Starting multiplicative factor expected"),
    (lambda o: schedules.CosineAnnealingWarmRestarts(o, 0), ValueError, "Expected positive"),
    (lambda o: schedules.OneCycleLR(o, 1.0), ValueError, "You must define either total_steps OR"),
    (lambda o: schedules.CyclicLR(o, [1, 2], 3.0), ValueError, "base_lr must have the same length"),
    (lambda o: schedules.CyclicLR(optimizer(name="Adagrad"), 1, 2), ValueError,
     "optimizer must support momentum or beta1"),
    (lambda o: schedules.ReduceLROnPlateau(o, factor=1.0), ValueError, "Factor should be < 1.0"),
    (lambda o: schedules.ReduceLROnPlateau(o, mode="up"), ValueError, "mode up is unknown!"),
    (lambda o: schedules.SequentialLR(o, [], []), ValueError, "expects at least one scheduler"),
    (lambda o: schedules.ChainedScheduler([schedules.StepLR(o, 1),
                                           schedules.StepLR(optimizer(), 1)]), ValueError,
     "ChainedScheduler expects all schedulers to belong to the same optimizer"),
])  # fmt: skip
def test_errors(make, kind, text):
    with pytest.raises(kind, match=text):
        make(optimizer())
