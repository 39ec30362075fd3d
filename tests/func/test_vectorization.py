"""vmap: what goes in, what comes out, and what one sample sees, with values made by hand."""

import pytest

import taper as torch
from taper.func import debug_unwrap, vmap

X = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def equal(found, expected):
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected.to(found.dtype))


# -- dimensions -----------------------------------------------------------------------------------


def test_one_sample_sees_its_own_shape():
    seen = []
    vmap(lambda x: seen.append((x.shape, x.ndim, x.numel(), x.stride(), len(x))) or x)(X)
    assert seen == [((2,), 1, 2, (1,), 2)]


def test_in_dims():
    equal(vmap(torch.sum)(X), [3.0, 7.0, 11.0])
    equal(vmap(torch.sum, in_dims=1)(X), [9.0, 12.0])
    equal(vmap(torch.sum, in_dims=-1)(X), [9.0, 12.0])
    equal(vmap(torch.mul, in_dims=(0, None))(X, X[0])[2], [5.0, 12.0])


def test_in_dims_follow_the_arguments():
    def f(pair, more):
        return pair[0] * more["a"] + pair[1]

    found = vmap(f, in_dims=((0, None), {"a": 1}))((X, torch.ones(2)), {"a": X.T})
    equal(found, X * X + 1)


def test_keywords_are_shared():
    equal(vmap(lambda x, by: x + by.sum())(X[:, 0], by=X[0]), [4.0, 6.0, 8.0])


def test_out_dims():
    assert vmap(lambda x: (x, x), out_dims=(0, 1))(X)[1].shape == (2, 3)
    assert vmap(lambda x: torch.ones(4, 5), out_dims=-1)(X).shape == (4, 5, 3)
    found = vmap(lambda x: {"a": x, "b": [x.sum()]})(X)
    equal(found["b"][0], [3.0, 7.0, 11.0])


def test_out_dims_none_is_the_same_for_all():
    shared = torch.ones(2)
    assert vmap(lambda x: shared, out_dims=None)(X) is shared


def test_results_that_do_not_depend_on_a_sample_are_repeated():
    equal(vmap(lambda x: torch.tensor(7.0))(X), [7.0, 7.0, 7.0])


def test_nested():
    found = vmap(vmap(torch.mul, in_dims=(0, None)), in_dims=(None, 0))(X[0], X[:, 1])
    equal(found, [[2.0, 4.0], [4.0, 8.0], [6.0, 12.0]])


def test_chunks():
    equal(vmap(torch.sum, chunk_size=2)(X), [3.0, 7.0, 11.0])
    found = vmap(lambda x: (x, x.sum()), in_dims=1, out_dims=(1, 0), chunk_size=1)(X)
    equal(found[0], X)
    equal(found[1], [9.0, 12.0])


# -- what one sample can do ------------------------------------------------------------------------


def test_indices_of_each_sample():
    table = torch.tensor([10.0, 20.0, 30.0])
    at = torch.tensor([[2, 0], [1, 1]])
    equal(vmap(lambda i: table[i])(at), [[30.0, 10.0], [20.0, 20.0]])
    equal(vmap(lambda x, i: x[i])(X[:2], torch.tensor([[1, 1], [0, 1]])), [[2.0, 2.0], [3.0, 4.0]])
    equal(vmap(lambda x: x[torch.tensor([True, False])])(X), [[1.0], [3.0], [5.0]])
    grid = torch.arange(12).reshape(1, 3, 4)
    found = vmap(lambda x, i: x[..., i], in_dims=(None, 0))(grid, torch.tensor([[0, 3], [1, 2]]))
    assert found.shape == (2, 1, 3, 2)
    assert found[0, 0, 1].tolist() == [4, 7]


def test_changes_in_place_are_seen_outside():
    x = X.clone()
    vmap(lambda x: x.mul_(2))(x)
    equal(x, X * 2)
    assert x._version == 1


def test_results_share_memory_with_arguments():
    x = X.clone()
    found = vmap(lambda x: x[1:])(x)
    found.add_(1)
    equal(x[:, 1], X[:, 1] + 1)
    assert x._version == found._version == 1 and found.storage_offset() == 1


def test_masks_of_each_sample_choose_where_to_write():
    def f(x):
        y = x.clone()
        y[y > 2] = 0
        return y

    equal(vmap(f)(X), [[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])


def test_new_tensors_like_a_sample_hold_a_sample_each():
    def f(x):
        y = x.new_zeros(3)
        y[1:] = x
        return y + torch.full_like(y, 5)

    equal(vmap(f)(X)[2], [5.0, 10.0, 11.0])


def test_views_share_memory():
    def f(x):
        y = x.clone()
        y.view(2, 1)[0] = 9
        return y

    equal(vmap(f)(X), [[9.0, 2.0], [9.0, 4.0], [9.0, 6.0]])


def test_printing():
    texts = []
    vmap(vmap(lambda x: texts.append(repr(x)) or x))(X[:1])
    assert texts == [
        "BatchedTensor(lvl=2, bdim=0, value=\n"
        "    BatchedTensor(lvl=1, bdim=0, value=\n"
        "        tensor([[1., 2.]])\n"
        "    )\n"
        ")"
    ]


def test_debug_unwrap():
    shapes = []
    vmap(vmap(lambda x: shapes.extend(
        [debug_unwrap(x).shape, debug_unwrap(x, recurse=False).shape]) or x))(X)
    assert shapes == [(3, 2), (2,)]


# -- functions without a rule ----------------------------------------------------------------------


def test_what_numpy_has_no_rule_for_runs_once_per_sample():
    square = torch.stack([torch.eye(2), 2 * torch.eye(2)])
    equal(vmap(torch.linalg.matrix_exp)(square)[1].diagonal(), torch.tensor([2.0, 2.0]).exp())


def test_convolutions_with_weights_of_each_sample():
    x, w = torch.arange(8.0).reshape(2, 1, 1, 4), torch.tensor([[[[1.0, 1.0]]], [[[1.0, -1.0]]]])
    found = vmap(torch.nn.functional.conv1d)(x, w)
    equal(found.reshape(2, 3), [[1.0, 3.0, 5.0], [-1.0, -1.0, -1.0]])


# -- random numbers --------------------------------------------------------------------------------


def test_different_numbers_are_those_of_one_larger_tensor():
    torch.manual_seed(0)
    found = vmap(lambda x: torch.rand(2), randomness="different")(X)
    torch.manual_seed(0)
    equal(found, torch.rand(3, 2))


def test_same_numbers():
    found = vmap(lambda x: torch.randn(20), randomness="same")(X)
    equal(found[1], found[0])


def test_random_functions_outside_go_on_as_before():
    torch.manual_seed(0)
    first = torch.rand(3)
    torch.manual_seed(0)
    vmap(lambda x: x)(X)
    equal(torch.rand(3), first)


def test_random_in_place():
    found = vmap(lambda x: torch.empty_like(x).uniform_(), randomness="different")(X)
    assert found.unique().numel() == 6
    with pytest.raises(RuntimeError, match="Cannot ask for different inplace randomness"):
        vmap(lambda x: torch.zeros(2).uniform_(), randomness="different")(X)


# -- what can't be ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("function", "message"), [
    (lambda x: x.sum().item(), r"calling \.item\(\)"),
    (lambda x: float(x.sum()), r"calling \.item\(\)"),
    (lambda x: x if x.sum() > 0 else -x, "data-dependent control flow"),
    (lambda x: x[x > 2], "dynamic shape"),
    (lambda x: x.nonzero(), "dynamic shape"),
    (lambda x: torch.zeros(2).add_(x), "inplace arithmetic"),
    (lambda x: torch.zeros(2).copy_(x), "inplace arithmetic"),
    (lambda x: x.numpy(), "Cannot access data pointer"),
    (lambda x: torch.rand(2), "randomness error mode"),
])
def test_refused(function, message):
    with pytest.raises(RuntimeError, match=message):
        vmap(function)(X)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: vmap(torch.sum, in_dims=2)(X), "expected in_dim to satisfy -2 <= in_dim < 2"),
    (lambda: vmap(torch.sum, in_dims="a")(X), "expected `in_dims` to be int"),
    (lambda: vmap(torch.mul, in_dims=(0, 0, 0))(X, X), "not compatible with the structure"),
    (lambda: vmap(torch.mul)(X, 2.0), "cannot vmap over non-Tensor"),
    (lambda: vmap(torch.mul)(X, X[:2]), r"got sizes \[3, 2\]"),
    (lambda: vmap(torch.sum, in_dims=None)(X), "expected `in_dims`"),
    (vmap(torch.sum), "got no inputs"),
    (lambda: vmap(lambda x: 1)(X), "must only return Tensors"),
    (lambda: vmap(lambda x: x, out_dims=None)(X), "can not return a BatchedTensor"),
    (lambda: vmap(lambda x: x, chunk_size=0)(X), "chunk_size should be None or greater"),
])
def test_wrong_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- the tape --------------------------------------------------------------------------------------


def test_what_samples_share_has_the_sum_of_their_gradients():
    w = torch.tensor([2.0, 3.0], requires_grad=True)
    vmap(lambda x: (x * w).sum())(X).sum().backward()
    equal(w.grad, [9.0, 12.0])


def test_shared_values_computed_inside():
    w = torch.tensor(2.0, requires_grad=True)

    def f(x):
        squared = w * w  # the same for all samples
        return squared * x, squared

    first, second = vmap(f)(X[:, 0])
    (first.sum() + second.sum()).backward()
    equal(w.grad, 2 * 2.0 * (9 + 3))


def test_second_derivatives_through_vmap():
    w = torch.tensor(2.0, requires_grad=True)
    total = vmap(lambda x: (w * x) ** 3)(X[:, 0]).sum()
    (first,) = torch.autograd.grad(total, w, create_graph=True)
    (second,) = torch.autograd.grad(first, w)
    equal(first, 3 * 4.0 * (1 + 27 + 125))
    equal(second, 6 * 2.0 * (1 + 27 + 125))


def test_changes_in_place_have_a_history_outside():
    w = torch.tensor([2.0, 3.0], requires_grad=True)
    x = X.clone()
    vmap(lambda x: x.mul_(w))(x)
    x.sum().backward()
    equal(x.detach(), X * torch.tensor([2.0, 3.0]))
    equal(w.grad, [9.0, 12.0])


def test_leaves_are_not_changed_in_place():
    x = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        vmap(lambda x: x.mul_(2))(x)


def test_without_recording():
    w = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not vmap(lambda x: x * w)(X).requires_grad


def test_grads_that_are_batched():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (found,) = torch.autograd.grad(x * x, x, torch.eye(2), is_grads_batched=True)
    equal(found, [[2.0, 0.0], [0.0, 4.0]])
