"""In-place changes: leaves, versions, views, CopySlices, and what the errors tell."""

import pytest

import taper as torch


def test_a_leaf_that_requires_grad_may_not_be_changed():
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x[0] = 5.0
    assert x.tolist() == [1.0, 1.0, 1.0]
    with torch.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 2.0, 2.0]
    assert x._version == 1


def test_version_errors_name_both_lines():
    x = torch.ones(3, requires_grad=True)
    y = x.exp()  # the line that saves
    y.add_(1)  # the line that changes
    with pytest.raises(RuntimeError) as caught:
        y.sum().backward()
    text = str(caught.value)
    assert text.startswith(
        "one of the variables needed for gradient computation has been modified by an inplace "
        "operation: [torch.FloatTensor [3]], which is output 0 of Exp, is at version 1; "
        "expected version 0 instead."
    )
    assert "saved by exp()" in text and "changed by add_()" in text
    assert text.count("test_inplace_and_views.py:") == 2


def test_views_share_the_version_counter():
    x = torch.zeros(2, 3)
    row = x[1]
    row.add_(1)
    assert x._version == row._version == 1
    assert x.detach()._version == 1
    assert x.data._version == 0


def test_in_place_on_an_intermediate_view_reaches_the_base():
    w = torch.ones(3, requires_grad=True)
    base = w * 2
    first = base[0]
    first.mul_(3)
    assert type(base.grad_fn).__name__ == "CopySlices"
    assert first.grad_fn.name() == "AsStridedBackward0"
    base.sum().backward()
    assert w.grad.tolist() == [6.0, 2.0, 2.0]


def test_assignment_into_a_buffer_without_history():
    w = torch.ones(3, requires_grad=True)
    buffer = torch.zeros(2, 3)
    row = buffer[0]
    buffer[0] = w * 2
    assert buffer.requires_grad and row.requires_grad
    (buffer.sum() + row.sum()).backward()
    assert w.grad.tolist() == [4.0, 4.0, 4.0]


def test_overwritten_elements_get_no_gradient():
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y[1] = 7.0
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 0.0, 2.0]


def test_in_place_functions_that_need_the_old_value():
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    y = x * 1
    y.pow_(3)
    y.sum().backward()
    assert x.grad.tolist() == [12.0, 27.0]


def test_outputs_of_multi_view_functions_may_not_be_changed():
    x = torch.ones(2, requires_grad=True) * 1
    first, _ = x.unbind(0)
    message = "is the output of a function that returns multiple views"
    with pytest.raises(RuntimeError, match=message):
        first.add_(1)


def test_views_made_without_recording_are_leaves():
    x = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        v = x[0]
    assert v.requires_grad and v.is_leaf
    with pytest.raises(RuntimeError, match="A view was created in no_grad mode"):
        v.add_(1)


def test_expanded_memory_may_not_be_written():
    x = torch.ones(1).expand(3)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        x.add_(1)
    assert x.tolist() == [1.0, 1.0, 1.0]


def test_detach_shares_memory_and_data_does_not_count():
    x = torch.ones(2, requires_grad=True)
    y = x * x
    x.data[0] = 5.0
    y.sum().backward()  # unnoticed, as in PyTorch: the gradient uses the new value
    assert x.grad.tolist() == [10.0, 2.0]
    assert x.detach().data_ptr() == x.data_ptr()


def test_result_shapes_and_dtypes_are_checked_before_writing():
    x = torch.zeros(2)
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        x.add_(torch.ones(3, 2))
    n = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output"):
        n.add_(0.5)
    assert x.tolist() == [0.0, 0.0] and n.tolist() == [0, 0]


@pytest.mark.parametrize("view", [lambda x: x[:1], lambda x: x.t(), lambda x: x.split(1)[0]])
def test_views_made_without_recording_require_grad_as_their_base_does(view):
    leaf = torch.zeros(3, 2).requires_grad_()
    with torch.no_grad():
        assert view(leaf).requires_grad and view(leaf.view(3, 2)).requires_grad
        of_a_constant = torch.zeros(6).view(3, 2).requires_grad_()
        assert not view(of_a_constant).requires_grad
