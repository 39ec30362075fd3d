"""GradScaler: steps that overflow are left out, and the scale follows."""

import math
import pickle

import pytest

import taper as torch


@pytest.fixture
def weight():
    return torch.ones(1, requires_grad=True)


def iterate(scaler, weight, slope):
    optimizer = torch.optim.SGD([weight], 1.0)
    optimizer.zero_grad()
    scaler.scale(weight * slope).sum().backward()
    scaler.step(optimizer)
    scaler.update()


def test_steps_are_those_without_scale(weight):
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    iterate(scaler, weight, 0.25)
    assert weight.item() == 0.75
    assert scaler.get_scale() == 1024.0


def test_overflow_leaves_the_step_out(weight):
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for slope in (math.inf, math.nan):
        iterate(scaler, weight, slope)
    assert weight.item() == 1.0
    assert scaler.get_scale() == 256.0


def test_scale_grows_after_good_steps(weight):
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    scales = []
    for slope in (0.1, 0.1, 0.1, math.inf, 0.1, 0.1):
        iterate(scaler, weight, slope)
        scales.append(scaler.get_scale())
    assert scales == [8, 16, 16, 8, 8, 16]


def test_scale_stays_finite(weight):
    scaler = torch.amp.GradScaler("cpu", init_scale=3e38, growth_interval=1)
    iterate(scaler, weight, 1e-30)
    assert math.isfinite(scaler.get_scale())


def test_unscaled_gradients_can_be_clipped(weight):
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizer = torch.optim.SGD([weight], 1.0)
    scaler.scale(weight * 2).sum().backward()
    assert weight.grad.item() == 8.0
    scaler.unscale_(optimizer)
    assert weight.grad.item() == 2.0
    with pytest.raises(RuntimeError, match="has already been called"):
        scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_([weight], 0.5)
    scaler.step(optimizer)
    assert weight.item() == pytest.approx(0.5, abs=1e-5)
    with pytest.raises(RuntimeError, match="has already been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="after step"):
        scaler.unscale_(optimizer)
    scaler.update()


def test_one_bad_optimizer_does_not_stop_the_other(weight):
    other = torch.ones(1, requires_grad=True)
    optimizers = [torch.optim.SGD([p], 1.0) for p in (weight, other)]
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(weight * 0.5 + other * math.inf).sum().backward()
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()
    assert weight.item() == 0.5
    assert other.item() == 1.0
    assert scaler.get_scale() == 2.0


def test_collections_are_scaled():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    a, (b,) = scaler.scale([torch.ones(1), (torch.ones(2),)])
    assert a.tolist() == [2.0]
    assert b.tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="outputs must be a Tensor or an iterable"):
        scaler.scale(3)


def test_disabled(weight):
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    iterate(scaler, weight, 0.25)
    assert weight.item() == 0.75
    assert scaler.get_scale() == 1.0
    assert scaler.state_dict() == {}
    with pytest.warns(UserWarning, match="CUDA is not available"):
        assert not torch.amp.GradScaler().is_enabled()


def test_saving(weight):
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=5)
    iterate(scaler, weight, 0.1)
    again = torch.amp.GradScaler("cpu")
    again.load_state_dict(scaler.state_dict())
    assert again.state_dict() == scaler.state_dict()
    assert again.state_dict()["_growth_tracker"] == 1
    assert pickle.loads(pickle.dumps(scaler)).state_dict() == scaler.state_dict()
    with pytest.raises(RuntimeError, match="source state dict is empty"):
        again.load_state_dict({})


def test_what_is_refused(weight):
    scaler = torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD([weight], 1.0)
    with pytest.raises(AssertionError, match="Attempted update but _scale is None"):
        scaler.update()
    scaler.scale(torch.ones(1))
    with pytest.raises(AssertionError, match="No inf checks were recorded for this optimizer"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="Closure use is not currently supported"):
        scaler.step(optimizer, closure=lambda: None)
    half = torch.ones(1, dtype=torch.float16, requires_grad=True)
    half.grad = torch.ones_like(half)
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        scaler.unscale_(torch.optim.SGD([half], 1.0))
    for bad in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}):
        with pytest.raises(AssertionError, match="factor must be"):
            torch.amp.GradScaler("cpu", **bad)
