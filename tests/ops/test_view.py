"""Views: what shares memory, their shapes, histories and errors."""

import pytest

import taper as torch


def grad_name(tensor):
    return tensor.grad_fn.name()


def test_view_shares_memory_and_version():
    x = torch.arange(6)
    v = x.view(2, -1)
    v[0, 0] = 7
    assert x[0].item() == 7
    assert v._base is x
    assert x._version == v._version == 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5,), r"shape '\[5\]' is invalid for input of size 6"),
        ((-1, -1), "only one dimension can be inferred"),
        ((-2,), "invalid shape dimension -2"),
        ((4, -1), r"shape '\[4, -1\]' is invalid for input of size 6"),
    ],
)
def test_view_errors(shape, message):
    with pytest.raises(RuntimeError, match=message):
        torch.arange(6).view(shape)


def test_view_needs_compatible_strides_where_reshape_copies():
    x = torch.arange(6).view(2, 3).t()
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        x.view(6)
    assert x.reshape(6).tolist() == [0, 3, 1, 4, 2, 5]
    assert x.reshape(6)._base is None


def test_reshape_records_what_it_did():
    x = torch.ones(2, 3, requires_grad=True)
    assert grad_name(x.reshape(6)) == "ViewBackward0"
    assert grad_name(x.t().reshape(6)) == "UnsafeViewBackward0"


def test_view_as_another_dtype():
    x = torch.tensor([1.0, 2.0])
    assert x.view(torch.int32).tolist() == [1065353216, 1073741824]
    assert x.view(torch.int16).shape == (4,)
    with pytest.raises(RuntimeError, match=r"self.size\(-1\) must be divisible by 2"):
        torch.zeros(3).view(torch.float64)


def test_expand():
    x = torch.tensor([[1.0], [2.0]], requires_grad=True)
    y = x.expand(3, -1, 2)
    assert y.shape == (3, 2, 2)
    assert y.stride() == (0, 1, 0)
    y.sum().backward()
    assert x.grad.tolist() == [[6.0], [6.0]]
    with pytest.raises(RuntimeError, match=r"The expanded size of the tensor \(3\) must match"):
        torch.zeros(2).expand(3)
    with pytest.raises(RuntimeError, match="the number of sizes provided"):
        torch.zeros(2, 2).expand(2)


def test_squeeze_and_unsqueeze():
    x = torch.zeros(1, 2, 1, requires_grad=True)
    assert x.squeeze().shape == (2,)
    assert x.squeeze(0).shape == (2, 1)
    assert x.squeeze(1).shape == (1, 2, 1)
    assert x.squeeze((0, 2)).shape == (2,)
    assert [grad_name(x.squeeze(*a)) for a in ((), (0,), ((0, 1),))] == [
        "SqueezeBackward0", "SqueezeBackward1", "SqueezeBackward2"]
    assert torch.zeros(3, 2).unsqueeze(1).stride() == (2, 2, 1)


def test_flatten_and_unflatten():
    x = torch.zeros(2, 3, 4)
    assert x.flatten(1).shape == (2, 12)
    assert torch.tensor(1).flatten().shape == (1,)
    assert x.unflatten(-1, (2, -1)).shape == (2, 3, 2, 2)
    with pytest.raises(RuntimeError, match="start_dim cannot come after end_dim"):
        x.flatten(2, 1)


def test_in_place_change_of_a_view_reaches_the_base():
    x = torch.ones(3, requires_grad=True)
    y = x * 1
    v = y[1:]
    w = y.view(3, 1)
    v.mul_(5)
    assert type(y.grad_fn).__name__ == "CopySlices"
    assert grad_name(v) == grad_name(w) == "AsStridedBackward0"
    assert w.tolist() == [[1.0], [5.0], [5.0]]
    w.sum().backward()
    assert x.grad.tolist() == [1.0, 5.0, 5.0]


def test_views_made_before_their_base_has_a_history_get_one():
    base = torch.zeros(4)
    view, other = base[1:3], base.view(2, 2)
    scale = torch.full((4,), 2.0, requires_grad=True)
    base.add_(scale)
    assert grad_name(view) == grad_name(other) == "AsStridedBackward0"
    (view.sum() + other[0].sum()).backward()
    assert scale.grad.tolist() == [1.0, 2.0, 1.0, 0.0]


def test_in_place_on_a_view_of_a_leaf_is_refused():
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x[0].mul_(2)
    with pytest.raises(RuntimeError, match="is a view and is being modified inplace"):
        (x * 1).unbind()[0].mul_(2)


def test_shapes_in_place():
    x = torch.arange(6).view(2, 3).clone()
    assert x.t_().shape == (3, 2)
    assert x.unsqueeze_(0).shape == (1, 3, 2)
    assert x.squeeze_(0).transpose_(0, 1).tolist() == [[0, 1, 2], [3, 4, 5]]
