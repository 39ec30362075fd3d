"""Factors by position before the tensors, as PyTorch's first releases had them."""

import inspect

import pytest

import taper as torch


@pytest.fixture
def pair():
    return torch.ones(2, 2), torch.tensor([[2.0, 2.0], [2.0, 2.0]])


@pytest.fixture(autouse=True)
def warned_already(monkeypatch):
    monkeypatch.setattr("taper.core.user_warning._warned", {"older signatures"})


def test_scaled_sums(pair):
    x, y = pair
    assert x.add(3, y).tolist() == torch.add(x, 3, y).tolist() == [[7, 7], [7, 7]]
    assert x.sub(3, y)[0, 0] == -5
    assert torch.add(x, 3, y, out=torch.empty(2, 2))[0, 0] == 7
    assert x.add_(3, y) is x and x[0, 0] == 7


def test_products_and_quotients(pair):
    x, y = pair
    assert torch.addcmul(x, 0.5, y, y)[0, 0] == 3 and torch.addcdiv(x, 0.5, y, y)[0, 0] == 1.5
    x.mul_(0.5).addcmul_(0.5, y, y)
    assert x[1, 1] == 2.5
    x.requires_grad_()
    x.addcdiv(4, y, y).sum().backward()
    assert x.grad.tolist() == [[1, 1], [1, 1]]


def test_added_products(pair):
    x, y = pair
    assert x.addmm(2, y, y)[0, 0] == 10 and torch.addmm(2, x, 3, y, y)[0, 0] == 26
    assert x[0].addmv(2, 3, y, y[0])[0] == 26 and x.addr(2, 3, y[0], y[0])[0, 0] == 14
    assert x[None].baddbmm(2, 3, y[None], y[None])[0, 0, 0] == 26
    assert torch.addbmm(2, x, y[None], y[None])[0, 0] == 10


def test_what_never_was_a_signature(pair):
    x, y = pair
    for wrong in ((y, 2), (2, 3)):
        with pytest.raises(TypeError, match="takes 2 positional arguments but"):
            x.add(*wrong)
    with pytest.raises(TypeError, match="takes 3 positional"):
        x.addcmul("a", y, y)
    with pytest.raises(TypeError, match="multiple values for argument 'alpha'"):
        x.add(2, y, y)


def test_the_first_use_warns(pair, monkeypatch):
    monkeypatch.setattr("taper.core.user_warning._warned", set())
    x, y = pair
    with pytest.warns(UserWarning, match=r"overload of addcmul_ is deprecated:\n\taddcmul_\(Number "
                      r"value, Tensor tensor1, Tensor tensor2\)"):
        x.addcmul_(0.5, y, y)


def test_overrides_see_factors_by_keyword(pair):
    seen = []

    class Watched(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append((func.__name__, len(args), kwargs))
            return super().__torch_function__(func, types, args, kwargs)

    x, y = pair
    watched = x.as_subclass(Watched)
    assert watched.add(y, alpha=3)[0, 0].item() == 7 and torch.add(watched, 3, y)[0, 0].item() == 7
    assert [entry for entry in seen if entry[0] == "add"] == [("add", 2, {"alpha": 3})] * 2


def test_no_trace_of_them_is_shown():
    shown = str(inspect.signature(torch.add))
    assert "_older" not in shown
    assert ", *, alpha" in shown
    assert "_older" not in str(inspect.signature(torch.Tensor.addcmul_))


@pytest.mark.parametrize("call", [
    lambda x: x.add(x, None, 2), lambda x: x.add(x, None), lambda x: x.add_(x, None, 2),
    lambda x: x.addcmul(x, x, None), lambda x: torch.sub(x, x, None),
])
def test_nothing_is_no_factor(call):
    with pytest.raises(TypeError, match="positional argument"):
        call(torch.ones(2))
