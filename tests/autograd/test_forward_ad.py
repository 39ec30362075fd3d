"""Dual tensors: values by hand, views and in-place changes, levels, and what is refused."""

import pytest

import taper as torch
from taper.autograd import forward_ad, gradcheck, gradgradcheck
from taper.autograd.forward_ad import dual_level, make_dual, unpack_dual


@pytest.fixture
def level():
    with dual_level() as number:
        yield number


@pytest.fixture
def dual(level):
    return make_dual(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))


def tangent(tensor):
    found = unpack_dual(tensor).tangent
    return None if found is None else found.tolist()


def test_values(dual):
    assert tangent(dual * dual) == [6.0, 16.0]
    assert tangent(dual + 1) == [3.0, 4.0]
    assert tangent(5 / dual) == [-15.0, -5.0]
    assert tangent(dual.sum()) == 7.0
    assert tangent(dual @ torch.tensor([1.0, 10.0])) == 43.0
    assert tangent(torch.stack([dual, dual * 2])) == [[3.0, 4.0], [6.0, 8.0]]
    assert tangent(torch.cat([dual, torch.ones(1)])) == [3.0, 4.0, 0.0]
    assert tangent(torch.where(dual > 1.5, dual * dual, dual)) == [3.0, 16.0]
    assert tangent(dual.max()) == 4.0
    assert tangent(dual.round()) == [0.0, 0.0]
    assert tangent(dual > 1) is None
    assert tangent(torch.zeros(2).requires_grad_()) is None


def test_complex_numbers(level):
    z = make_dual(torch.tensor([1 + 2j]), torch.tensor([1j]))
    assert tangent(z * z) == [2 * (1 + 2j) * 1j]
    assert tangent(z.conj()) == [-1j]
    assert tangent(z.real) == [0.0] and tangent(z.imag) == [1.0]
    assert unpack_dual(z.abs()).tangent.item() == pytest.approx(2 / 5**0.5)


def test_dtypes_are_promoted(level):
    single = make_dual(torch.ones(2), torch.ones(2))
    found = unpack_dual(single * torch.tensor(2, dtype=torch.int64) + torch.ones(2).double())
    assert found.tangent.dtype is torch.float64 and found.tangent.tolist() == [2.0, 2.0]
    assert tangent(single.half()) == [1.0, 1.0]
    assert unpack_dual(single.half()).tangent.dtype is torch.float16


def test_views_share_the_memory_of_tangents(level):
    given = torch.zeros(2, 3)
    dual = make_dual(torch.ones(2, 3), given)
    row = dual[1]
    row.mul_(make_dual(torch.ones(3), torch.tensor([1.0, 2.0, 3.0])))
    assert tangent(row) == [1.0, 2.0, 3.0]
    assert given.tolist() == [[0.0] * 3, [1.0, 2.0, 3.0]]
    assert tangent(dual.t()[0]) == [0.0, 1.0]


def test_a_base_gets_the_tangents_of_its_view(level):
    base = torch.zeros(2, 2)
    before, column = base.view(4), base[:, 1]
    column.copy_(make_dual(torch.ones(2), torch.tensor([5.0, 6.0])))
    assert tangent(base) == [[0.0, 5.0], [0.0, 6.0]]
    assert tangent(before) == [0.0, 5.0, 0.0, 6.0]
    base[0] = 7.0
    assert tangent(base) == [[0.0, 0.0], [0.0, 6.0]]
    base[base == 1] = 0
    assert tangent(base) == [[0.0, 0.0], [0.0, 0.0]]


def test_in_place_changes(dual):
    x = dual.clone()
    x.mul_(2).add_(dual)
    assert tangent(x) == [9.0, 12.0]
    x[0] = dual[1]
    assert tangent(x) == [4.0, 12.0]
    x.unsqueeze_(0)
    assert tangent(x) == [[4.0, 12.0]]
    x.zero_()
    assert tangent(x) == [[0.0, 0.0]]
    x.normal_()
    assert tangent(x) == [[0.0, 0.0]]
    assert tangent(dual) == [3.0, 4.0]


def test_in_place_keeps_what_backward_saved(level):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    dual = make_dual(x, torch.ones(2))
    y = dual.clone()
    y.pow_(3)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.tolist() == [3.0, 12.0] and tangent(gradient) == [6.0, 12.0]


def test_forward_over_reverse_and_reverse_over_forward(level):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    dual = make_dual(x, torch.tensor([1.0, 10.0]))
    y = (dual.exp() * dual).sum()
    expected = (x.exp() * (2 + x) * torch.tensor([1.0, 10.0])).detach()
    (forward,) = torch.autograd.grad(y, x, create_graph=True)
    assert torch.allclose(unpack_dual(forward).tangent, expected)
    (reverse,) = torch.autograd.grad(unpack_dual(y).tangent, x)
    assert torch.allclose(reverse, expected)
    y = (dual.exp() * dual).sum()
    y.backward()
    assert torch.allclose(unpack_dual(x.grad).tangent, expected)


def test_without_recording(dual):
    with torch.no_grad():
        y = dual.exp()
    assert not y.requires_grad and tangent(y / dual.exp()) == [0.0, 0.0]
    with torch.inference_mode():
        assert tangent(dual * 2) == [6.0, 8.0]


def test_detach_and_data_have_no_tangent(dual):
    assert tangent(dual.detach()) is None
    assert tangent(dual.data) is None
    assert unpack_dual(dual).primal.tolist() == [1.0, 2.0]
    assert tangent(unpack_dual(dual).primal) is None


def test_tangents_end_with_their_level():
    with dual_level():
        dual = make_dual(torch.ones(1), torch.ones(1))
        y = dual * 2
    assert unpack_dual(y).tangent is None
    with dual_level():
        assert tangent(y) is None and tangent(dual * 2) is None


def test_how_they_print(dual):
    assert repr(dual) == "tensor([1., 2.], tangent=tensor([3., 4.]))"


def test_modules(level):
    layer = torch.nn.Linear(2, 1)
    found = layer(make_dual(torch.ones(2), torch.tensor([1.0, 0.0])))
    assert torch.equal(unpack_dual(found).tangent, layer.weight[:, 0])
    assert found.requires_grad and unpack_dual(found).tangent.requires_grad


def test_what_is_refused(dual):
    one = torch.ones(2)
    with pytest.raises(RuntimeError, match="Nested forward mode AD is not supported"):
        forward_ad.enter_dual_level()
    with pytest.raises(RuntimeError, match="Trying to set a forward gradient that has a different"):
        make_dual(one, torch.ones(3))
    with pytest.raises(RuntimeError, match="already has a forward gradient at the same level 0"):
        make_dual(dual, one)
    with pytest.raises(ValueError, match="Expected primal to be floating point or complex, but"):
        make_dual(torch.ones(2, dtype=torch.int64), one)
    with pytest.raises(ValueError, match="Expected tangent to be floating point or complex, but"):
        make_dual(one, torch.ones(2, dtype=torch.int64))
    with pytest.raises(NotImplementedError, match="Trying to use forward AD with add_out that doe"):
        torch.add(dual, 1, out=torch.zeros(2))
    with pytest.raises(NotImplementedError, match="it has not been implemented yet"):
        torch.heaviside(dual, one)


def test_outside_of_a_level():
    with pytest.raises(RuntimeError, match="no level exists, make sure to enter_dual_level"):
        make_dual(torch.ones(1), torch.ones(1))
    with pytest.raises(RuntimeError, match="Dual level must be a positive number"):
        forward_ad.exit_dual_level()
    assert unpack_dual(torch.ones(1)).tangent is None


# -- custom functions ------------------------------------------------------------------------------


class Product(torch.autograd.Function):
    @staticmethod
    def forward(x, y):
        return x * y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * y, grad * x

    @staticmethod
    def jvp(ctx, for_x, for_y):
        x, y = ctx.saved_tensors
        return for_x * y + x * for_y


def test_functions_with_jvp(dual):
    assert tangent(Product.apply(dual, dual)) == [6.0, 16.0]
    assert tangent(Product.apply(dual, torch.ones(2))) == [3.0, 4.0]


def test_functions_pass_both_checks():
    x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(Product.apply, (x, y), check_forward_ad=True)
    assert gradgradcheck(Product.apply, (x, y), check_fwd_over_rev=True)


def test_functions_without_jvp(dual):
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    with pytest.raises(NotImplementedError, match="You must implement the jvp function"):
        Twice.apply(dual)


@pytest.mark.parametrize(("returned", "message"), [
    (lambda g: (g, g), "invalid number of forward gradients"),
    (lambda g: torch.ones(3), "different size than that of the original"),
    (lambda g: 3, "expected Variable or None"),
])
def test_what_jvp_must_return(dual, returned, message):
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def jvp(ctx, g):
            return returned(g)

    with pytest.raises(RuntimeError, match=message):
        Wrong.apply(dual)


def test_nothing_is_left_of_a_closed_level():
    x = torch.ones(2, requires_grad=True)
    with dual_level():
        y = make_dual(x, torch.ones(2)).exp()  # keeps its result, tangent included
        z = y * 3
        seen = []
        torch.func.jvp(lambda t: (seen.append(t), t * z)[1], (torch.ones(2),), (torch.ones(2),))
    assert "tangent" not in repr((y, z, *seen))
    with dual_level():
        (gradient,) = torch.autograd.grad(z.sum(), x, retain_graph=True)
        assert tangent(gradient) is None
        assert unpack_dual(y.grad_fn(torch.ones(2))).tangent is None
