"""Errors of backward: PyTorch's words, and in notes what happened, where, and the cure."""

import re
import sys

import pytest

import taper as torch


def line_before(offset=1):
    """This file and the line that stands `offset` lines above the caller's."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno - offset}"


def raised(call):
    with pytest.raises(RuntimeError) as caught:
        call()
    return " ".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


@pytest.fixture
def x():
    return torch.tensor([1.0, 2.0], requires_grad=True)


def test_saved_tensors_that_were_changed(x):
    y = x * 1
    z = y.sin()
    saved = line_before()
    y.add_(1)
    changed = line_before()
    message = raised(z.sum().backward)
    assert message.startswith(
        "one of the variables needed for gradient computation has been modified by an inplace "
        "operation: [torch.FloatTensor [2]], which is output 0 of Add, is at version 1; expected "
        "version 0 instead. Hint: enable anomaly detection"
    )
    assert f"saved by sin() at {saved}, changed by add_() at {changed}" in message
    assert "clone() before the change" in message


def test_graphs_that_were_freed(x):
    y = x.exp()
    made = line_before()
    z = y.sum()
    z.backward()
    message = raised(z.backward)
    assert message.startswith("Trying to backward through the graph a second time")
    assert f"exp() at {made}" in message and "detach()" in message


def test_outputs_that_are_no_scalars(x):
    y = x * 2
    made = line_before()
    message = raised(y.backward)
    assert message.startswith("grad can be implicitly created only for scalar outputs")
    assert f"shape [2] that mul() made at {made}" in message and ".sum()" in message
    assert "torch.ones_like(output)" in raised(lambda: torch.autograd.grad(y, x))


def test_outputs_without_history(x):
    start = "element 0 of tensors does not require grad and does not have a grad_fn"
    detached = raised(x.detach().sum().backward)
    assert detached.startswith(start) and "detach()" in detached
    with torch.no_grad():
        y = x.sum()
    assert raised(y.backward).startswith(start)
    integers = raised((x > 1).sum().backward)
    assert integers.startswith(start) and "only floating point and complex" in integers


def test_inputs_that_were_not_used(x):
    other = torch.ones(3, requires_grad=True)
    message = raised(lambda: torch.autograd.grad(x.sum(), (x, other)))
    assert message.startswith(
        "The differentiated Tensor at index 1 appears to not have been used in the graph. Set "
        "allow_unused=True if this is the desired behavior."
    )
    assert "shape [3]" in message and "materialize_grads=True" in message
    view = x.view(2)
    made = line_before()
    assert f"view() made at {made}" in raised(lambda: torch.autograd.grad(x.sum(), view))


def test_leaves_that_are_changed_in_place(x):
    message = raised(lambda: x.add_(1))
    assert message.startswith(
        "a leaf Variable that requires grad is being used in an in-place operation."
    )
    assert "torch.no_grad()" in message and "clone()" in message
    view = x[:1]
    made = line_before()
    message = raised(lambda: view.mul_(2))
    assert message.startswith("a view of a leaf Variable that requires grad is being used in an in")
    assert re.search(rf"that \w+\(\) made at {re.escape(made)}", message)


def test_anomalies_tell_the_forward_line(x):
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        block = torch.autograd.detect_anomaly()
    with block:
        y = (x - 3).sqrt()
        made = line_before()
        message = raised((y * 0).sum().backward)
    assert message.startswith("Function 'SqrtBackward0' returned nan values in its 0th output.")
    assert made in message
