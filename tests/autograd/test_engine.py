"""The tape: order, accumulation, leaves, memory, errors."""

import gc
import weakref

import numpy as np
import pytest

import taper as torch


def test_product_rule_by_hand():
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    y = torch.tensor([5.0, 7.0], requires_grad=True)
    (x * y + x).sum().backward()
    assert x.grad.tolist() == [6.0, 8.0]
    assert y.grad.tolist() == [2.0, 3.0]


def test_gradients_add_up_over_passes():
    x = torch.tensor(3.0, requires_grad=True)
    for expected in (2.0, 4.0, 6.0):
        (2 * x).backward()
        assert x.grad.item() == expected


def test_a_leaf_used_twice_gets_the_sum():
    x = torch.tensor(3.0, requires_grad=True)
    (x * x * x).backward()
    assert x.grad.item() == 27.0


def test_higher_derivatives():
    x = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    value = x**5
    for expected in (80.0, 160.0, 240.0, 240.0, 120.0):
        (value,) = torch.autograd.grad(value, x, create_graph=True)
        assert value.item() == pytest.approx(expected)


def test_a_long_chain_needs_no_recursion():
    x = torch.ones(2, requires_grad=True)
    y = x
    for _ in range(50_000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    del y  # frees 50,000 nodes


def test_history_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        x = torch.ones(3, requires_grad=True)
        y = x.exp()
        node = weakref.ref(y.grad_fn)
        leaf = weakref.ref(x)
        del x, y
        assert node() is None
        assert leaf() is None
    finally:
        gc.enable()


def test_gradients_do_not_alias_each_other():
    x = torch.ones(3, requires_grad=True)
    y = torch.ones(3, requires_grad=True)
    given = torch.ones(3)
    (x + y).backward(given)
    x.grad.zero_()
    assert y.grad.tolist() == [1.0, 1.0, 1.0]
    assert given.tolist() == [1.0, 1.0, 1.0]


def test_an_unshared_gradient_is_not_copied():
    x = torch.ones(1000, requires_grad=True)
    seen = []
    x.register_hook(lambda g: seen.append(g.data_ptr()))
    (x * 2.0).sum().backward()
    assert x.grad.is_contiguous()
    assert len(seen) == 1


def test_second_backward_is_an_error_where_something_was_saved():
    x = torch.ones(2, requires_grad=True)
    y = x.exp().sum()
    y.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.backward()
    z = (x + 1).sum()
    z.backward(retain_graph=True)
    z.backward()


def test_vectors_need_a_gradient():
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (x * 2).backward(torch.ones(3))
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        torch.ones(()).backward()


def test_unused_inputs():
    x = torch.ones(2, requires_grad=True)
    z = torch.ones(2, requires_grad=True)
    y = (x * 2).sum()
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        torch.autograd.grad(y, [x, z], retain_graph=True)
    assert torch.autograd.grad(y, [x, z], retain_graph=True, allow_unused=True)[1] is None
    zero = torch.autograd.grad(y, [x, z], materialize_grads=True)[1]
    assert zero.tolist() == [0.0, 0.0]


def test_grad_of_an_intermediate_leaves_grad_alone():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    z = (y * y).sum()
    (g,) = torch.autograd.grad(z, y)
    assert g.tolist() == [6.0, 12.0]
    assert x.grad is None


def test_backward_with_inputs_reaches_only_those():
    x = torch.ones(2, requires_grad=True)
    w = torch.ones(2, requires_grad=True)
    (x * w).sum().backward(inputs=[w])
    assert x.grad is None
    assert w.grad.tolist() == [1.0, 1.0]


def test_broadcast_and_promoted_inputs_get_gradients_of_their_own_kind():
    x = torch.ones(3, 1, requires_grad=True)
    y = torch.ones(4, dtype=torch.float64, requires_grad=True)
    (x * y).sum().backward()
    assert x.grad.shape == (3, 1) and x.grad.dtype is torch.float32
    assert y.grad.shape == (4,) and y.grad.dtype is torch.float64
    assert x.grad.flatten().tolist() == [4.0, 4.0, 4.0]


def test_retained_gradients_and_hooks_run_in_order():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    order = []
    y.retain_grad()
    y.register_hook(lambda g: order.append("tensor") or g * 10)
    y.grad_fn.register_prehook(lambda grads: order.append("before"))
    y.grad_fn.register_hook(lambda inputs, outputs: order.append("after"))
    y.sum().backward()
    assert order == ["tensor", "before", "after"]
    assert y.grad.tolist() == [10.0, 10.0]
    assert x.grad.tolist() == [20.0, 20.0]


def test_a_removed_hook_is_not_called():
    x = torch.ones(2, requires_grad=True)
    calls = []
    handle = x.register_hook(lambda g: calls.append(1))
    handle.remove()
    with x.register_hook(lambda g: calls.append(2)):
        (x * 2).sum().backward()
    assert calls == [2]


def test_post_accumulate_hook_sees_the_stored_gradient():
    x = torch.ones(2, requires_grad=True)
    seen = []
    x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.tolist()))
    (x * x).sum().backward()
    assert seen == [[2.0, 2.0]]


def test_nodes_tell_their_names_and_neighbours():
    x = torch.tensor([1.0], requires_grad=True)
    y = (x**2).exp()
    assert y.grad_fn.name() == "ExpBackward0"
    ((below, index),) = y.grad_fn.next_functions
    assert (below.name(), index) == ("PowBackward0", 0)
    (leaf, _), *_ = below.next_functions
    assert type(leaf).__name__ == "AccumulateGrad"
    assert leaf.variable is x
    assert below.next_functions[0][0] is leaf
    assert y.grad_fn._saved_result.tolist() == y.tolist()
    assert type(y.grad_fn).__module__ == "builtins"


def test_non_leaf_grad_warns():
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    with pytest.warns(UserWarning, match="not a leaf Tensor is being accessed"):
        assert y.grad is None


def test_million_elements_against_numpy():
    values = np.random.default_rng(0).normal(size=1_000_000)
    x = torch.from_numpy(values).requires_grad_()
    (x.sin() * x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.sin(values) + values * np.cos(values))


def test_gradients_with_a_graph_are_copies_that_can_be_detached_in_place():
    x = torch.ones(2, 3, requires_grad=True)
    (x.T**2).sum().backward(create_graph=True)
    assert type(x.grad.grad_fn).__name__ == "CopyBackwards" and x.grad.is_contiguous()
    (x.grad**2).sum().backward()
    assert x.grad.detach_().grad_fn is None
