"""Modes below the tape: what they see, and what they may return."""

import pytest

import taper as torch
from taper.utils._python_dispatch import TorchDispatchMode


class Names(TorchDispatchMode):
    def __init__(self):
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(isinstance(a, torch.Tensor) and a.requires_grad for a in args)
        self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_it_sees_forward_and_backward():
    x = torch.ones(2, 2, requires_grad=True)
    with Names() as names:
        (x @ x).exp().sum().backward()
    assert names.seen[:3] == ["mm", "exp", "sum"]
    assert "mul" in names.seen[3:] and names.seen.count("mm") == 3
    assert torch.allclose(x.grad, 4 * torch.full((2, 2), 2.0).exp())


def test_results_may_be_replaced():
    class Doubled(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args)
            return result * 2 if func.overloadpacket is torch.exp else result

    x = torch.zeros(1, requires_grad=True)
    with Doubled():
        y = x.exp()
    assert y.item() == 2 and y.grad_fn.name() == "ExpBackward0"


def test_modes_nest():
    with Names() as outer, Names() as inner:
        torch.ones(1).exp()
    assert outer.seen == inner.seen == ["exp"]


def test_what_derivatives_need_besides_cant_be_replaced():
    class Other(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return torch.zeros(1)

    with Other(), pytest.raises(NotImplementedError, match="can't be replaced"):
        torch.nn.functional.layer_norm(torch.ones(1, 4), (4,))


def test_wrapper_subclasses_are_refused():
    with pytest.raises(NotImplementedError, match="__torch_function__"):
        torch.Tensor._make_wrapper_subclass(torch.Tensor, (2,))


def test_classes_with_a_dispatch_of_their_own_are_refused():
    class Dispatching(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            raise AssertionError

    for make in (lambda: torch.ones(2).as_subclass(Dispatching), lambda: Dispatching([1.0]),
                 lambda: torch.Tensor._make_subclass(Dispatching, torch.ones(2))):
        with pytest.raises(NotImplementedError, match="Give the class a __torch_function__"):
            make()
