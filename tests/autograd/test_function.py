"""Custom functions: context, several outputs, in place, errors, second derivatives."""

import pytest

import taper as torch
from taper.autograd import Function, gradcheck, gradgradcheck


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * 3 * x * x


def test_first_and_second_derivatives():
    x = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(Cube.apply, (x,))
    assert gradgradcheck(Cube.apply, (x,))
    y = Cube.apply(x)
    assert y.grad_fn.name() == "CubeBackward"
    assert repr(y).endswith("grad_fn=<CubeBackward>)")


def test_several_inputs_and_outputs():
    class SumAndProduct(Function):
        @staticmethod
        def forward(ctx, x, y, factor):
            ctx.factor = factor
            ctx.save_for_backward(x, y)
            return x + y, factor * x * y

        @staticmethod
        def backward(ctx, grad_sum, grad_product):
            x, y = ctx.saved_tensors
            assert ctx.needs_input_grad == (True, True, False)
            scaled = ctx.factor * grad_product
            return grad_sum + scaled * y, grad_sum + scaled * x, None

    x = torch.tensor(2.0, requires_grad=True)
    y = torch.tensor(3.0, requires_grad=True)
    _, product = SumAndProduct.apply(x, y, 10.0)
    product.backward(retain_graph=True)
    assert (x.grad.item(), y.grad.item()) == (30.0, 20.0)


def test_wrong_numbers_of_gradients():
    class TwoForOne(Cube):
        @staticmethod
        def backward(ctx, grad):
            return grad, grad

    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="returned an incorrect number of gradients"):
        TwoForOne.apply(x).sum().backward()


def test_wrong_shape_of_a_gradient():
    class WrongShape(Cube):
        @staticmethod
        def backward(ctx, grad):
            return torch.ones(5)

    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="returned an invalid gradient at index 0"):
        WrongShape.apply(x).sum().backward()


def test_changing_an_input_in_place():
    class AddOne(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            x.add_(1)
            return x

        @staticmethod
        def backward(ctx, grad):
            return grad * 10

    x = torch.zeros(2, requires_grad=True)
    y = x * 1
    z = AddOne.apply(y)
    assert z is y
    z.sum().backward()
    assert x.grad.tolist() == [10.0, 10.0]


def test_non_differentiable_outputs():
    class SortWithIndices(Function):
        @staticmethod
        def forward(ctx, x):
            values, indices = x.sort()
            ctx.mark_non_differentiable(indices)
            ctx.save_for_backward(indices)
            return values, indices

        @staticmethod
        def backward(ctx, grad_values, grad_indices):
            (indices,) = ctx.saved_tensors
            return torch.zeros(3).scatter(0, indices, grad_values)

    x = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    values, indices = SortWithIndices.apply(x)
    assert not indices.requires_grad
    (values * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [3.0, 1.0, 2.0]


def test_setup_context():
    class Square(Function):
        @staticmethod
        def forward(x):
            return x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            (x,) = inputs
            ctx.save_for_backward(x)

        @staticmethod
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

    x = torch.tensor(3.0, requires_grad=True)
    Square.apply(x).backward()
    assert x.grad.item() == 6.0


def test_saved_tensors_are_checked_and_freed():
    x = torch.ones(2, requires_grad=True)
    y = x * 1
    z = Cube.apply(y)
    z.sum().backward(retain_graph=True)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    z = Cube.apply(x).sum()
    z.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        z.backward()


def test_gradcheck_finds_a_wrong_derivative():
    class Wrong(Cube):
        @staticmethod
        def backward(ctx, grad):
            return grad

    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    with pytest.raises(torch.autograd.GradcheckError, match="Jacobian mismatch for output 0 with"):
        gradcheck(Wrong.apply, (x,))
    assert not gradcheck(Wrong.apply, (x,), raise_exception=False)


def test_results_that_are_no_tensors_have_no_gradient():
    class Labelled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2, "label", None

        @staticmethod
        def backward(ctx, *grads):
            assert grads[1:] == (None, None)
            return grads[0] * 2

    x = torch.ones(2, requires_grad=True)
    y, *rest = Labelled.apply(x)
    assert rest == ["label", None]
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_only_tensors_are_saved():
    class Saves(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x, 3)
            return x

    with pytest.raises(TypeError, match="but argument 1 is of type int"):
        Saves.apply(torch.ones(2))
