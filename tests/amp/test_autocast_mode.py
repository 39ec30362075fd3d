"""autocast: which operators it casts, blocks in blocks, gradients, weights that are cast once."""

import threading

import pytest

import taper as torch
from taper.core.state import active
from taper.ops.autocast import POLICIES

F = torch.nn.functional


@pytest.fixture
def x():
    return torch.ones(2, 2)


def test_products_are_in_the_lower_precision(x):
    with torch.autocast("cpu"):
        assert (x @ x).dtype is torch.bfloat16
        assert torch.mm(x, x).dtype is torch.bfloat16
        assert F.linear(x, x).dtype is torch.bfloat16
        assert torch.nn.Linear(2, 3)(x).dtype is torch.bfloat16
        assert torch.nn.Conv2d(1, 1, 2)(torch.ones(1, 1, 3, 3)).dtype is torch.bfloat16
        assert torch.einsum("ij,jk", x, x).dtype is torch.bfloat16
        assert torch.nn.LSTM(2, 3)(torch.ones(4, 1, 2))[0].dtype is torch.bfloat16
    with torch.autocast("cpu", dtype=torch.float16):
        assert (x @ x).dtype is torch.float16
    assert (x @ x).dtype is torch.float32


def test_what_loses_precision_is_in_float32(x):
    low = x.bfloat16()
    with torch.autocast("cpu"):
        assert F.mse_loss(low, low).dtype is torch.float32
        assert F.cross_entropy(low, torch.tensor([0, 1])).dtype is torch.float32
        assert low.prod().dtype is torch.float32
        assert torch.linalg.inv(low + torch.eye(2).bfloat16()).dtype is torch.float32
    assert low.prod().dtype is torch.bfloat16


def test_the_rest_stays_as_it_is(x):
    with torch.autocast("cpu"):
        assert (x + x).dtype is torch.float32
        assert x.bfloat16().exp().dtype is torch.bfloat16
        assert x.softmax(-1).dtype is torch.float32
        assert torch.dot(x[0], x[0]).dtype is torch.float32
        assert (x.double() @ x.double()).dtype is torch.float64
        assert (x.long() @ x.long()).dtype is torch.int64
        assert torch.mm(x, x, out=torch.empty(2, 2)).dtype is torch.float32
        assert x.clone().addmm_(x, x).dtype is torch.float32


def test_joined_tensors_take_the_widest(x):
    with torch.autocast("cpu"):
        assert torch.cat([x, x @ x]).dtype is torch.float32
        assert torch.stack([x @ x, x @ x]).dtype is torch.bfloat16
        assert torch.cat([x.half(), x.bfloat16()]).dtype is not torch.float64


def test_values_are_those_of_the_lower_precision():
    a, b = torch.randn(5, 7), torch.randn(7, 3)
    with torch.autocast("cpu"):
        product = a @ b
    assert torch.equal(product, a.bfloat16() @ b.bfloat16())


def test_every_listed_operator_exists():
    hidden = {"lstm_layer", "rnn_layer"}
    for path in POLICIES.keys() - hidden:
        found = torch
        for part in path.split("."):
            found = getattr(found, part)


def test_blocks_in_blocks(x):
    def precision():
        return (x @ x).dtype

    with torch.autocast("cpu"):
        with torch.autocast("cpu", enabled=False):
            assert precision() is torch.float32
            with torch.autocast("cpu", dtype=torch.float16):
                assert precision() is torch.float16
            assert precision() is torch.float32
        assert precision() is torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
    assert active.modes == 0


def test_a_block_ends_with_an_error(x):
    with pytest.raises(ZeroDivisionError), torch.autocast("cpu"):
        raise ZeroDivisionError
    assert (x @ x).dtype is torch.float32
    assert active.modes == 0
    assert torch.autocast_increment_nesting() == 1
    assert torch.autocast_decrement_nesting() == 0


def test_as_a_decorator(x):
    @torch.autocast("cpu", dtype=torch.float16)
    def product(a, b):
        """Multiplies."""
        return a @ b

    assert product(x, b=x).dtype is torch.float16
    assert product.__doc__ == "Multiplies."
    assert (x @ x).dtype is torch.float32


def test_gradients_have_the_dtype_of_the_weights():
    layer = torch.nn.Linear(3, 2)
    data = torch.randn(4, 3)
    with torch.autocast("cpu"):
        loss = layer(data).square().mean()
    loss.backward()
    low = layer.weight.grad
    layer.zero_grad()
    layer(data).square().mean().backward()
    assert low.dtype is torch.float32
    assert torch.allclose(low, layer.weight.grad, atol=0.05, rtol=0.05)


def casts_of(result):
    """The node that cast the weight of ``F.linear(x, weight)``."""
    return result.grad_fn.next_functions[1][0].next_functions[0][0]


def test_weights_are_cast_once_a_block():
    layer = torch.nn.Linear(3, 2, bias=False)
    data = torch.randn(4, 3)
    with torch.autocast("cpu"):
        first, second = layer(data), layer(data)
        assert casts_of(first) is casts_of(second)
        torch.clear_autocast_cache()
        assert casts_of(layer(data)) is not casts_of(first)
        with torch.autocast("cpu", cache_enabled=False):
            assert casts_of(layer(data)) is not casts_of(layer(data))
    with torch.no_grad():
        layer.weight.fill_(2.0)
    with torch.autocast("cpu"):
        assert torch.allclose(layer(data).float(), 2 * data.sum(1, True).expand(4, 2), atol=0.1)


def test_threads_have_their_own():
    seen = []
    with torch.autocast("cpu"):
        thread = threading.Thread(target=lambda: seen.append(torch.is_autocast_enabled("cpu")))
        thread.start()
        thread.join()
    assert seen == [False]


def test_functions_that_set(x):
    torch.set_autocast_dtype("cpu", torch.float16)
    torch.set_autocast_enabled("cpu", True)
    try:
        assert (x @ x).dtype is torch.float16
        assert torch.get_autocast_dtype("cpu") is torch.float16
        torch.set_autocast_dtype("cpu", torch.bfloat16)
        assert (x @ x).dtype is torch.bfloat16
    finally:
        torch.set_autocast_enabled("cpu", False)
        torch.set_autocast_dtype("cpu", torch.bfloat16)
    assert active.modes == 0
    with pytest.warns(DeprecationWarning, match="is_autocast_cpu_enabled"):
        assert not torch.is_autocast_cpu_enabled()


def test_what_is_refused():
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
        torch.autocast(3)
    with pytest.raises(RuntimeError, match="device type at start of device string: foo"):
        torch.autocast("foo")
    with pytest.warns(UserWarning, match="target dtype is not supported"):
        assert not torch.autocast("cpu", dtype=torch.float32)._enabled
    with pytest.warns(UserWarning, match="CUDA is not available"):
        assert not torch.autocast("cuda")._enabled


def test_old_names():
    from taper.cpu import amp as of_cpu
    from taper.cuda import amp as of_cuda

    with pytest.warns(FutureWarning, match=r"torch.amp.autocast\('cpu', args...\)"):
        assert isinstance(of_cpu.autocast(), torch.amp.autocast)
    with pytest.warns(FutureWarning, match="device_type='cuda'"):
        of_cuda.custom_fwd(len)


def test_checkpoints_run_again_in_the_same_precision():
    layer = torch.nn.Linear(3, 3)
    data = torch.randn(2, 3, requires_grad=True)
    for reentrant in (True, False):
        seen = []

        def run(x, seen=seen):
            seen.append(layer(x).dtype)
            return layer(layer(x))

        with torch.autocast("cpu"):
            result = torch.utils.checkpoint.checkpoint(run, data, use_reentrant=reentrant)
        result.sum().backward()
        assert seen == [torch.bfloat16, torch.bfloat16]


class Scaled(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx, x):
        ctx.seen = x.dtype, torch.is_autocast_enabled("cpu")
        Scaled.seen.append(ctx.seen)
        return x * 2

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, grad):
        Scaled.seen.append(torch.is_autocast_enabled("cpu"))
        return grad * 2


def test_own_functions():
    Scaled.seen = []
    x = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu"):
        result = Scaled.apply(x)
    result.sum().backward()
    assert result.dtype is torch.float32
    assert Scaled.seen == [(torch.float32, False), False]
    assert x.grad.tolist() == [2.0, 2.0]
    assert Scaled.apply(x).dtype is torch.bfloat16  # outside nothing is cast
