"""Checkpoints: equal gradients, what is computed twice, and errors of what can't be repeated."""

import functools

import pytest

import taper as torch
from taper.utils.checkpoint import (
    CheckpointError,
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
    set_checkpoint_debug_enabled,
    set_checkpoint_early_stop,
)

both_ways = pytest.mark.parametrize("use_reentrant", [True, False])


@pytest.fixture
def x():
    return torch.tensor([0.5, 1.0, 1.5], requires_grad=True)


@both_ways
def test_gradients_are_the_same(x, use_reentrant):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    model(x).sum().backward()
    expected = [p.grad for p in (x, *model.parameters())]
    for p in (x, *model.parameters()):
        p.grad = None
    checkpoint(model, x, use_reentrant=use_reentrant).sum().backward()
    for found, wanted in zip((x, *model.parameters()), expected, strict=True):
        assert torch.allclose(found.grad, wanted)


@both_ways
@pytest.mark.parametrize("preserve", [True, False])
def test_random_numbers(x, use_reentrant, preserve):
    drawn = []

    def noisy(t):
        mask = torch.rand(3)
        drawn.append(mask)
        return t * mask

    out = checkpoint(noisy, x, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    after = torch.get_rng_state()
    torch.rand(7)
    torch.set_rng_state(after)
    out.sum().backward()
    assert torch.equal(*drawn) is preserve
    assert torch.equal(x.grad, drawn[1])
    assert torch.equal(torch.get_rng_state(), after) is preserve


@both_ways
def test_precision(use_reentrant):
    layer = torch.nn.Linear(2, 2)
    seen = []

    def function(t):
        seen.append(layer(t).dtype)
        return layer(t)

    x = torch.ones(1, 2, requires_grad=True)
    with torch.autocast("cpu"):
        out = checkpoint(function, x, use_reentrant=use_reentrant)
    out.float().sum().backward()
    assert seen == [torch.bfloat16, torch.bfloat16] and x.grad.dtype is torch.float32


def test_it_computes_as_far_as_needed(x):
    calls = []

    def steps(t):
        t = t.exp()
        calls.append("exp")
        t = t.sin()
        calls.append("sin")
        return t + 1

    checkpoint(steps, x, use_reentrant=False).sum().backward()
    assert calls == ["exp", "sin", "exp"]
    calls.clear()
    with set_checkpoint_early_stop(False):
        checkpoint(steps, x, use_reentrant=False).sum().backward()
    assert calls == ["exp", "sin", "exp", "sin"]


def test_nothing_is_kept_between(x):
    import weakref

    kept = []

    def steps(t):
        t = t.exp()
        kept.append(weakref.ref(t))
        return t.sin().sum()

    out = checkpoint(steps, x, use_reentrant=False)
    assert kept[0]() is None
    out.backward()
    assert kept[1]() is None
    assert torch.allclose(x.grad, x.exp().cos() * x.exp())


def test_several_passes_and_second_derivatives(x):
    out = checkpoint(lambda t: (t.exp() * t).sum(), x, use_reentrant=False)
    out.backward(retain_graph=True)
    out.backward(retain_graph=True)
    assert torch.allclose(x.grad, 2 * (1 + x) * x.exp())
    (first,) = torch.autograd.grad(out, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.allclose(second, (2 + x) * x.exp())


def test_within_each_other(x):
    def inner(t):
        return t.sin().exp()

    def outer(t):
        return checkpoint(inner, t * 2, use_reentrant=False).cos()

    checkpoint(outer, x, use_reentrant=False).sum().backward()
    expected = torch.autograd.grad(outer(x).sum(), x)[0]
    assert torch.allclose(x.grad, expected)


def test_structures_and_keywords(x):
    def function(data, *, factor):
        return data["x"] * factor, "text", None

    found = checkpoint(function, {"x": x}, factor=x, use_reentrant=False)
    assert found[1:] == ("text", None)
    found[0].sum().backward()
    assert torch.equal(x.grad, 2 * x)


def test_changing_functions_are_errors(x):
    calls = []

    def changes(t):
        calls.append(1)
        return t * t if len(calls) == 1 else torch.cat([t, t]) * 2 * torch.cat([t, t])

    out = checkpoint(changes, x, use_reentrant=False)
    with pytest.raises(CheckpointError, match="have different metadata than during the forward"):
        out.sum().backward()
    calls.clear()

    def saves_less(t):
        calls.append(1)
        return t.exp().sin() if len(calls) == 1 else t + 1

    with set_checkpoint_debug_enabled(True):
        out = checkpoint(saves_less, x, use_reentrant=False)
    with pytest.raises(CheckpointError, match="A different number") as caught:
        out.sum().backward()
    assert "test_checkpoint.py" in str(caught.value)
    calls.clear()
    out = checkpoint(lambda t: t * 2 if calls else calls.append(1) or t.sin(), x,
                     use_reentrant=False, determinism_check="none")
    with pytest.raises(CheckpointError):
        out.sum().backward()


def test_what_reentrant_checkpoints_refuse(x):
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed explicitly"):
        checkpoint(torch.sin, x)
    out = checkpoint(torch.sin, x, use_reentrant=True)
    with pytest.raises(RuntimeError, match=r"incompatible with .grad\(\)"):
        torch.autograd.grad(out.sum(), x)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: factor"):
        checkpoint(torch.sin, x, factor=1, use_reentrant=True)
    with pytest.raises(ValueError, match="only supported when use_reentrant=False"):
        checkpoint(torch.sin, x, debug=True, use_reentrant=True)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        checkpoint(torch.sin, x.detach(), use_reentrant=True)
    with pytest.raises(ValueError, match="determinism_check should be one of"):
        checkpoint(torch.sin, x, determinism_check="all", use_reentrant=False)


@both_ways
def test_sequences(x, use_reentrant):
    steps = [torch.sin, torch.exp, torch.cos]
    found = checkpoint_sequential(steps, 2, x, use_reentrant=use_reentrant)
    assert torch.equal(found, x.sin().exp().cos())
    found.sum().backward()
    assert torch.allclose(x.grad, -x.sin().exp().sin() * x.sin().exp() * x.cos())


def test_selected_results_are_kept():
    a = torch.eye(2, requires_grad=True)
    calls = []

    def policy(context, op, *args, **kwargs):
        calls.append((op.__name__, context.is_recompute))
        return CheckpointPolicy.MUST_SAVE if op is torch.mm else CheckpointPolicy.PREFER_RECOMPUTE

    contexts = functools.partial(create_selective_checkpoint_contexts, policy)
    out = checkpoint(lambda t: t.mm(t).exp().sin(), a, use_reentrant=False, context_fn=contexts)
    out.sum().backward()
    asked = ["mm", "exp", "sin"]
    assert calls == [(name, again) for again in (False, True) for name in asked]
    b = a.detach().requires_grad_()
    b.mm(b).exp().sin().sum().backward()
    assert torch.allclose(a.grad, b.grad)
