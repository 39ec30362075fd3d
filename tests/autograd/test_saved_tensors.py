"""Saved-tensor hooks: what they see, when, and what they may not do."""

import pytest

import taper as torch
from taper.autograd.graph import (
    allow_mutation_on_saved_tensors,
    disable_saved_tensors_hooks,
    save_on_cpu,
    saved_tensors_hooks,
)


@pytest.fixture
def x():
    return torch.tensor([1.0, 2.0], requires_grad=True)


def numbered(log):
    def pack(tensor):
        log.append("pack")
        return tensor.tolist()

    def unpack(packed):
        log.append("unpack")
        return torch.tensor(packed)

    return saved_tensors_hooks(pack, unpack)


def test_what_is_saved_goes_through_the_hooks(x):
    log = []
    with numbered(log):
        y = (x * x).exp()  # x twice, and the result of exp
    assert log == ["pack"] * 3
    y.sum().backward()
    assert log == ["pack"] * 3 + ["unpack"] * 3
    assert torch.allclose(x.grad, 2 * x * y)


def test_without_recording_nothing_is_packed(x):
    log = []
    with numbered(log), torch.no_grad():
        x.exp()
    with numbered(log):
        torch.ones(2).exp()
        x * 2.0
    assert log == []


def test_second_derivatives_go_through_unpacked_tensors(x):
    with numbered([]):
        y = x.exp() * x
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.allclose(second, x.exp() * (2 + x))


def test_in_place_results_keep_what_was_saved_before(x):
    with numbered([]):
        y = x.clone()
        y.pow_(2)
        y.exp_()
    y.sum().backward()
    assert torch.allclose(x.grad, 2 * x * (x * x).exp())


def test_functions_save_through_hooks_too(x):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, t):
            ctx.save_for_backward(t, t * t)
            return t**3

        @staticmethod
        def backward(ctx, grad):
            _, square = ctx.saved_tensors
            return 3 * square * grad

    log = []
    with numbered(log):
        y = Cube.apply(x)
    y.sum().backward()
    assert log == ["pack"] * 2 + ["unpack"] * 2
    assert x.grad.tolist() == [3.0, 12.0]


def test_hooks_may_not_change_what_they_get(x):
    changing = saved_tensors_hooks(lambda t: t.mul_(2), lambda t: t)
    with changing, pytest.raises(RuntimeError, match="modifying its input in place"):
        x.clone() * x


def test_unpacking_must_give_a_tensor(x):
    with saved_tensors_hooks(lambda t: 3, lambda packed: packed):
        y = x.exp()
    with pytest.raises(TypeError, match="Output of saved tensor unpack_hook expected to be a Ten"):
        y.sum().backward()


def test_hooks_can_be_forbidden(x):
    forbidden = disable_saved_tensors_hooks("not here")
    with forbidden, pytest.raises(RuntimeError, match="not here"), numbered([]):
        pass
    with numbered([]), pytest.raises(RuntimeError, match="not here"), forbidden:
        pass


def test_attributes_of_nodes_are_unpacked(x):
    log = []
    with numbered(log):
        y = x.exp()
    assert torch.equal(y.grad_fn._saved_result, y) and log == ["pack", "unpack"]


def test_hooks_for_one_saved_tensor(x):
    y = x * x
    saved = y.grad_fn._raw_saved_self
    saved.register_hooks(lambda t: t.tolist(), lambda values: torch.tensor(values) * 10)
    with pytest.raises(RuntimeError, match="whose hooks have already been set"):
        saved.register_hooks(lambda t: t, lambda t: t)
    y.sum().backward()
    assert x.grad.tolist() == [11.0, 22.0]


def test_freed_graphs_stay_freed(x):
    with numbered([]):
        y = x.exp().sum()
    y.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


def test_saving_on_the_cpu(x):
    with save_on_cpu(pin_memory=True):
        y = x.exp()
    y.sum().backward()
    assert torch.allclose(x.grad, y)


def test_saved_tensors_may_be_changed_within_the_block(x):
    with allow_mutation_on_saved_tensors():
        y = x.clone()
        out = (y**2).sum()
        y.sin_()
        y[0] = 5.0
        out.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_saved_copies_end_with_their_block(x):
    with allow_mutation_on_saved_tensors():
        y = (x**2).sum()
        nested = allow_mutation_on_saved_tensors()
        with pytest.raises(RuntimeError, match="cannot be nested"), nested:
            pass
    with pytest.raises(AssertionError, match="outside of the 'allow_mutation_on_saved_tensors'"):
        y.backward()
