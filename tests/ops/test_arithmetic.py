"""taper/ops/arithmetic.py: sums, products and their fused forms; values worked out by hand."""

import operator

import pytest

import taper as torch


def grads(function, *values):
    inputs = [torch.tensor(v, requires_grad=True) for v in values]
    function(*inputs).sum().backward()
    return [x.grad.tolist() for x in inputs]


def test_numbers_take_the_tensor_s_dtype_unless_their_category_is_higher():
    integers = torch.tensor([1, 2], dtype=torch.int8)
    assert (integers + 3).dtype is torch.int8
    assert (integers + 0.5).dtype is torch.float32
    assert (integers * 1j).dtype is torch.complex64
    assert (torch.ones(2, dtype=torch.float16) * 2.5).dtype is torch.float16


def test_0d_tensors_do_not_widen():
    assert (torch.ones(2) * torch.tensor(2.0, dtype=torch.float64)).dtype is torch.float32
    assert (torch.ones(()) * torch.tensor(2.0, dtype=torch.float64)).dtype is torch.float64


def test_alpha_scales_the_second_operand():
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0])
    assert torch.add(x, y, alpha=2).tolist() == [21, 42]
    assert torch.sub(x, y, alpha=0.5).tolist() == [-4, -8]
    assert torch.rsub(x, y, alpha=2).tolist() == [8, 16]
    assert grads(lambda a, b: torch.sub(a, b, alpha=3), [1.0], [2.0]) == [[1], [-3]]


def test_alpha_must_fit_the_dtype():
    with pytest.raises(RuntimeError, match="For integral input tensors, argument alpha must not"):
        torch.add(torch.tensor([1]), torch.tensor([1]), alpha=0.5)


def test_bools_can_not_be_subtracted_or_negated():
    yes = torch.tensor([True])
    with pytest.raises(RuntimeError, match="Subtraction, the `-` operator, with two bool"):
        yes - yes
    with pytest.raises(RuntimeError, match="Subtraction, the `-` operator, with a bool"):
        1 - yes
    with pytest.raises(RuntimeError, match="Negation, the `-` operator, on a bool"):
        -yes
    assert (yes + yes).tolist() == [True]


def test_reflected_and_in_place_operators():
    x = torch.tensor([1.0, 2.0])
    assert (5 - x).tolist() == [4, 3]
    alias = x
    x += 1
    x *= 2
    x -= torch.tensor([1.0, 1.0])
    assert alias is x
    assert x.tolist() == [3, 5]
    assert x._version == 3


def test_unknown_operands_are_python_s_type_errors():
    for function in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
        with pytest.raises(TypeError):
            function(torch.ones(2), "a")


def test_in_place_results_must_fit():
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output"):
        torch.tensor([1]).add_(1.5)
    with pytest.raises(RuntimeError, match=r"output with shape \[1\] doesn't match the broadcast"):
        torch.ones(1).add_(torch.ones(2))


def test_gradients_of_broadcast_operands_are_summed():
    assert grads(lambda a, b: a * b, [[1.0], [2.0]], [3.0, 4.0]) == [[[7], [7]], [3, 3]]


def test_complex_gradients_are_conjugated():
    assert grads(lambda a: (a * (2 + 1j)).real, [1j]) == [[2 - 1j]]


def test_fused_forms():
    x, a, b = torch.tensor([1.0]), torch.tensor([6.0]), torch.tensor([3.0])
    assert torch.addcmul(x, a, b, value=0.5).tolist() == [10]
    assert torch.addcdiv(x, a, b, value=0.5).tolist() == [2]
    assert torch.lerp(x, a, 0.2).tolist() == [2]
    assert torch.lerp(x, a, 1.0).tolist() == [6]
    assert grads(torch.lerp, [1.0], [6.0], [0.25]) == [[0.75], [0.25], [5]]


def test_fused_forms_refuse_what_pytorch_refuses():
    with pytest.raises(RuntimeError, match="Integer division with addcdiv is no longer supported"):
        torch.addcdiv(torch.ones(1), torch.tensor([1]), torch.tensor([2]))
    with pytest.raises(RuntimeError, match="expected dtype float for `end` but got dtype double"):
        torch.lerp(torch.ones(1), torch.ones(1, dtype=torch.float64), 0.5)


def test_node_names():
    x = torch.ones(2, requires_grad=True)
    names = [y.grad_fn.name() for y in (x + 1, x - x, 1 - x, torch.rsub(x, x), x * 2, -x)]
    assert names == ["AddBackward0", "SubBackward0", "RsubBackward1", "RsubBackward0",
                     "MulBackward0", "NegBackward0"]
