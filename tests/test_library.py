"""Custom operators: calling them, gradients, shapes without data, vmap, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import taper as torch
from taper.core.custom_operators import NAMESPACES

_numbers = itertools.count()


@pytest.fixture
def namespace():
    """The name of a namespace of this test's own."""
    name = f"test{next(_numbers)}"
    yield name
    NAMESPACES.pop(name, None)


@pytest.fixture
def sine(namespace):
    @torch.library.custom_op(f"{namespace}::sine", mutates_args=())
    def sine(x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        """Computes with NumPy."""
        return torch.from_numpy(np.sin(x.numpy(force=True)) * scale).float()

    return sine


def with_gradient(sine):
    def setup(ctx, inputs, output):
        x, ctx.scale = inputs
        ctx.save_for_backward(x)

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x.cos() * ctx.scale, None

    sine.register_autograd(backward, setup_context=setup)
    return sine


def test_calls(sine, namespace):
    x = torch.tensor([0.5])
    assert torch.equal(sine(x), x.sin())
    assert torch.equal(sine(x, scale=2.0), 2 * x.sin())
    found = getattr(torch.ops, namespace).sine
    assert torch.equal(found(x), x.sin()) and torch.equal(found.default(x, 1.0), x.sin())
    assert str(found._schema) == f"{namespace}::sine(Tensor x, float scale=1.) -> Tensor"


def test_gradients(sine):
    x = torch.tensor([0.5], requires_grad=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        sine(x).backward()
    with_gradient(sine)(x, 2.0).backward()
    assert x.grad.item() == pytest.approx(2 * np.cos(0.5))


def test_without_data(sine):
    x = torch.ones(3, device="meta")
    with pytest.raises(RuntimeError, match="There was no fake impl registered for"):
        sine(x)

    @sine.register_fake
    def _(x, scale=1.0):
        return torch.empty_like(x)

    assert sine(x).shape == (3,) and sine(x).device.type == "meta"


def test_vmap(sine):
    x = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(torch.vmap(sine)(x), x.sin())
    seen = []

    @sine.register_vmap
    def _(info, in_dims, x, scale):
        seen.append((info.batch_size, in_dims))
        return sine(x, scale), in_dims[0]

    assert torch.equal(torch.vmap(sine, in_dims=1, out_dims=1)(x), x.sin())
    assert seen == [(2, (0, None))]


def test_in_place(namespace):
    @torch.library.custom_op(f"{namespace}::double_", mutates_args={"x"})
    def double_(x: torch.Tensor) -> None:
        x.numpy()[...] *= 2

    x = torch.ones(2)
    assert double_(x) is None
    assert x.tolist() == [2.0, 2.0] and x._version == 1
    assert str(double_._schema).endswith("(Tensor(a0!) x) -> ()")


def test_libraries(namespace):
    library = torch.library.Library(namespace, "DEF")
    library.define("power(Tensor x, int k=2, *, bool negative=False) -> Tensor")
    power = getattr(torch.ops, namespace).power
    x = torch.tensor([3.0], requires_grad=True)
    with pytest.raises(NotImplementedError, match=f"Could not run '{namespace}::power'"):
        power(x)
    library.impl("power", lambda x, k=2, *, negative=False: -(x**k) if negative else x**k, "CPU")
    assert power(x).item() == 9 and power(x, 3, negative=True).item() == -27
    power(x).backward()  # its parts are recorded
    assert x.grad.item() == 6
    torch.library.register_autograd(
        f"{namespace}::power", lambda ctx, grad: (grad * 100, None, None))
    assert torch.autograd.grad(power(x), x)[0].item() == 100


def test_define_and_impl(namespace):
    torch.library.define(f"{namespace}::one_more", "(Tensor x) -> Tensor")

    @torch.library.impl(f"{namespace}::one_more", "cpu")
    def _(x):
        return x + 1

    @torch.library.register_fake(f"{namespace}::one_more")
    def _(x):
        return torch.empty_like(x)

    assert getattr(torch.ops, namespace).one_more(torch.ones(1)).item() == 2
    assert getattr(torch.ops, namespace).one_more(torch.ones(1, device="meta")).is_meta


def test_what_calls_refuse(sine, namespace):
    with pytest.raises(RuntimeError, match="Expected a value of type 'Tensor' for argument 'x'"):
        sine(3)
    with pytest.raises(RuntimeError, match="is missing value for argument 'x'"):
        sine()
    with pytest.raises(RuntimeError, match=r"expected at most 2 argument\(s\) but received 3"):
        sine(torch.ones(1), 1.0, 2)
    with pytest.raises(AttributeError, match="has no attribute 'cosine'"):
        getattr(torch.ops, namespace).cosine
    with pytest.raises(RuntimeError, match="with the same name and overload name multiple times"):
        torch.library.define(f"{namespace}::sine", "(Tensor x) -> Tensor")

    @torch.library.custom_op(f"{namespace}::same", mutates_args=())
    def same(x: torch.Tensor) -> torch.Tensor:
        return x

    with pytest.raises(RuntimeError, match="may not alias any inputs"):
        same(torch.ones(1))


def test_schemas():
    def function(x: torch.Tensor, n: int | None, dims: list[int], *, s: str = "a"
                 ) -> tuple[torch.Tensor, torch.Tensor]: ...

    assert torch.library.infer_schema(function, mutates_args=()) == (
        '(Tensor x, SymInt? n, SymInt[] dims, *, str s="a") -> (Tensor, Tensor)'
    )
    with pytest.raises(ValueError, match="Parameter x must have a type annotation"):
        torch.library.infer_schema(lambda x: x, mutates_args=())

    def silent(x: torch.Tensor): ...

    with pytest.raises(ValueError, match="No return type annotation was provided"):
        torch.library.infer_schema(silent, mutates_args=())

    def foreign(x: np.ndarray) -> torch.Tensor: ...

    with pytest.raises(ValueError, match="Parameter x has unsupported type"):
        torch.library.infer_schema(foreign, mutates_args=())


def test_checks(sine, namespace):
    x = torch.ones(2, requires_grad=True)
    with_gradient(sine).register_fake(lambda x, scale=1.0: torch.empty_like(x))
    assert set(torch.library.opcheck(sine, (x,)).values()) == {"SUCCESS"}
    sine.register_fake(lambda x, scale=1.0: torch.empty(7, device="meta"))
    with pytest.raises(RuntimeError, match="the fake results"):
        torch.library.opcheck(sine, (x,))

    @torch.library.custom_op(f"{namespace}::secret", mutates_args=())
    def secret(x: torch.Tensor) -> torch.Tensor:
        x.numpy()[...] = 0
        return x.clone()

    with pytest.raises(RuntimeError, match="changed its argument 'x' in place"):
        torch.library.opcheck(secret, (torch.ones(2),), test_utils="test_schema")


# -- functions in vmap -----------------------------------------------------------------------------


def test_functions_with_a_rule_for_vmap():
    seen = []

    class Times(torch.autograd.Function):
        @staticmethod
        def forward(x, y):
            return x * y

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            x, y = ctx.saved_tensors
            return grad * y, grad * x

        @staticmethod
        def vmap(info, in_dims, x, y):
            seen.append((info.batch_size, info.randomness, in_dims, x.shape, y.shape))
            return Times.apply(x, y), 0

    x, y = torch.arange(6.0).reshape(3, 2), torch.tensor([1.0, 2.0])
    assert torch.equal(torch.vmap(Times.apply, in_dims=(0, None))(x, y), x * y)
    assert seen == [(3, "error", (0, None), (3, 2), (2,))]
    found = torch.func.grad(lambda y: torch.vmap(Times.apply, in_dims=(0, None))(x, y).sum())(y)
    assert torch.equal(found, x.sum(0))
