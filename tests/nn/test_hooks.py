"""Hooks around a module's call and its backward."""

import pytest

import taper as torch
from taper import nn
from taper.nn.modules import module as module_file


def layer():
    made = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    return made


def test_order_and_replacement():
    module, seen = layer(), []

    def note(name):
        return lambda *args: seen.append(name)

    module.register_forward_pre_hook(note("pre 1"))
    module.register_forward_pre_hook(note("pre 0"), prepend=True)
    module.register_forward_hook(note("post 1"))
    module.register_forward_hook(note("post 0"), prepend=True)
    module(torch.ones(2))
    assert seen == ["pre 0", "pre 1", "post 0", "post 1"]

    module = layer()
    module.register_forward_pre_hook(lambda m, args: args[0] * 2)
    module.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    module.register_forward_hook(lambda m, args, output: output * 10)
    assert module(torch.ones(2)).tolist() == [30.0, 30.0]


def test_hooks_with_kwargs():
    class Add(nn.Module):
        def forward(self, x, *, y):
            return x + y

    module, seen = Add(), []
    module.register_forward_pre_hook(
        lambda m, args, kwargs: (args, {"y": kwargs["y"] * 2}), with_kwargs=True)
    module.register_forward_hook(
        lambda m, args, kwargs, output: seen.append(kwargs["y"]), with_kwargs=True)
    assert module(1, y=2) == 5
    assert seen == [4]
    module.register_forward_pre_hook(lambda m, args, kwargs: 5, with_kwargs=True)
    with pytest.raises(RuntimeError, match="forward pre-hook must return None or a tuple of "):
        module(1, y=2)


def test_handles():
    module = layer()
    handle = module.register_forward_hook(lambda m, args, output: output * 0)
    assert module(torch.ones(2)).tolist() == [0.0, 0.0]
    handle.remove()
    handle.remove()
    assert module(torch.ones(2)).tolist() == [1.0, 1.0]
    assert module._hooked is False  # the fast path is open again
    with module.register_forward_hook(lambda m, args, output: output * 0):
        assert module(torch.ones(2)).tolist() == [0.0, 0.0]
    assert module(torch.ones(2)).tolist() == [1.0, 1.0]


def test_a_hook_put_into_the_table_directly_runs():
    module = layer()
    module._forward_hooks[12345] = lambda m, args, output: output * 0
    assert module(torch.ones(2)).tolist() == [0.0, 0.0]
    module._forward_hooks.clear()
    assert module(torch.ones(2)).tolist() == [1.0, 1.0]


def test_always_call():
    module, seen = layer(), []
    module.register_forward_hook(lambda m, args, output: seen.append("skipped"))
    module.register_forward_hook(lambda m, args, output: seen.append(output), always_call=True)
    with pytest.raises(RuntimeError):
        module(torch.ones(3))
    assert seen == [None]

    def fail(m, args, output):
        raise ValueError("in the hook")

    module.register_forward_hook(fail, always_call=True)
    with pytest.raises(RuntimeError), pytest.warns(UserWarning, match="in the hook"):
        module(torch.ones(3))


def test_full_backward_hooks():
    module, seen = layer(), []
    module.register_full_backward_pre_hook(
        lambda m, grad_output: seen.append(("pre", grad_output[0].tolist())))
    module.register_full_backward_hook(
        lambda m, grad_input, grad_output: seen.append(
            (grad_input[0].tolist(), grad_output[0].tolist())))
    x = torch.ones(2, requires_grad=True)
    module(x).sum().backward()
    assert seen == [("pre", [1.0, 1.0]), ([1.0, 1.0], [1.0, 1.0])]


def test_backward_hooks_replace_gradients():
    module = layer()
    module.register_full_backward_pre_hook(lambda m, grad_output: (grad_output[0] * 2,))
    module.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,))
    x = torch.ones(2, requires_grad=True)
    module(x).sum().backward()
    assert x.grad.tolist() == [20.0, 20.0]
    assert module.weight.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_backward_hooks_without_input_gradients():
    module, seen = layer(), []
    module.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    module(torch.ones(2)).sum().backward()
    assert seen == [((None,), [1.0, 1.0])]


def test_both_kinds_of_backward_hooks_don_t_mix():
    module = layer()
    module.register_full_backward_hook(lambda *args: None)
    with pytest.raises(RuntimeError, match="Cannot use both regular backward hooks and full"):
        module.register_backward_hook(lambda *args: None)


def test_global_hooks():
    seen = []
    handles = [
        module_file.register_module_forward_pre_hook(lambda m, args: seen.append("pre")),
        module_file.register_module_forward_hook(lambda m, args, output: output + 1),
        module_file.register_module_parameter_registration_hook(
            lambda m, name, parameter: seen.append(name)),
        module_file.register_module_full_backward_hook(
            lambda m, gi, go: seen.append("backward")),
    ]
    try:
        module = layer()
        x = torch.ones(2, requires_grad=True)
        result = module(x)
        result.sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    assert result.tolist() == [2.0, 2.0]
    assert seen == ["weight", "pre", "backward"]
    assert layer()(torch.ones(2)).tolist() == [1.0, 1.0]
    assert seen == ["weight", "pre", "backward"]
