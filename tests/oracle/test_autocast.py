"""autocast and GradScaler against PyTorch: the precision of every operator, training loops."""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "ops"))

import operator_samples  # noqa: E402


def in_torch(value, dtype):
    if isinstance(value, taper.Tensor):
        array = torch.from_numpy(value.detach().numpy().copy())
        if array.is_floating_point():
            return array.to(getattr(torch, dtype))
        return array.to(torch.complex64) if array.is_complex() else array
    if isinstance(value, (list, tuple)):
        return type(value)(in_torch(item, dtype) for item in value)
    return value


def in_taper(value, dtype):
    if isinstance(value, taper.Tensor):
        if value.is_floating_point():
            return value.to(getattr(taper, dtype))
        return value.to(taper.complex64) if value.is_complex() else value
    if isinstance(value, (list, tuple)):
        return type(value)(in_taper(item, dtype) for item in value)
    return value


def public(library, path):
    found = library
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def dtypes(result):
    if isinstance(result, (torch.Tensor, taper.Tensor)):
        return [str(result.dtype)]
    if isinstance(result, (list, tuple)):
        return [name for item in result for name in dtypes(item)]
    return []


def outcome(library, convert, path, dtype, lower):
    """The dtypes of an operator's results under autocast, or None if it refuses."""
    args, kwargs = operator_samples.sample(path)
    args = convert(args, dtype)
    kwargs = {name: convert(value, dtype) for name, value in kwargs.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with library.autocast("cpu", dtype=getattr(library, lower)):
                return dtypes(public(library, path)(*args, **kwargs))
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return None


PATHS = [
    path for path, op in operator_samples.unique_operators().items()
    if op.path == path and not operator_samples.missing_sample(path)
    and public(torch, path) is not None
]

MADE_DIFFERENTLY = {"linalg.pinv": "PyTorch ends with a product, in bfloat16"}


@pytest.mark.parametrize("path", PATHS)
def test_precision_of_operators(path):
    if path in MADE_DIFFERENTLY:
        pytest.skip(MADE_DIFFERENTLY[path])
    for dtype, lower in (
        ("float32", "bfloat16"), ("bfloat16", "bfloat16"), ("float32", "float16"),
        ("float64", "bfloat16"),
    ):
        theirs = outcome(torch, in_torch, path, dtype, lower)
        if theirs is not None:
            assert outcome(taper, in_taper, path, dtype, lower) == theirs, (dtype, lower)


# Blocks -----------------------------------------------------------------------------------


def as_array(tensor):
    return tensor.detach().float().numpy()


def both(program):
    """What a program returns with PyTorch and with taper, as comparable values."""
    found = []
    for library in (torch, taper):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                result = program(library)
            except Exception as problem:
                result = type(problem).__name__, str(problem)
        text = [(w.category.__name__, str(w.message).split(" (Triggered")[0]) for w in said]
        found.append((repr(result).replace("taper.", "torch."), text))
    return found


PROGRAMS = """
x.autocast("cpu").fast_dtype
x.autocast("cpu")._enabled
x.autocast("cuda")._enabled
x.autocast("foo")
x.autocast(3)
x.autocast("cpu", dtype=x.float32)._enabled
x.autocast("cpu", dtype=x.float16).fast_dtype
x.autocast("cpu", enabled=False)._enabled
x.is_autocast_enabled()
x.is_autocast_enabled("cpu")
x.is_autocast_enabled("foo")
x.get_autocast_dtype("cpu"), x.get_autocast_dtype("cuda")
x.get_autocast_cpu_dtype()
x.get_autocast_gpu_dtype()
x.is_autocast_cpu_enabled()
x.set_autocast_cpu_enabled(False)
x.set_autocast_cpu_dtype(x.bfloat16)
x.is_autocast_cache_enabled()
x.autocast_increment_nesting(), x.autocast_decrement_nesting()
x.clear_autocast_cache()
x.amp.is_autocast_available("cpu"), x.amp.is_autocast_available("meta")
x.amp.is_autocast_available("foo")
x.set_autocast_enabled("cpu", True), x.set_autocast_enabled("cpu", False)
x.set_autocast_dtype("cpu", x.half), x.get_autocast_dtype("cpu"), x.set_autocast_dtype("cpu", bf(x))
x.cuda.amp.autocast()._enabled
x.cpu.amp.autocast()._enabled
x.cuda.amp.GradScaler().is_enabled()
x.cpu.amp.GradScaler().is_enabled()
x.amp.GradScaler().is_enabled()
x.cuda.amp.custom_fwd(len).__name__
x.cuda.amp.custom_bwd(len).__name__
x.amp.custom_fwd(len)
x.amp.custom_fwd(len, device_type=3)
x.amp.GradScaler("cpu").state_dict()
x.amp.GradScaler("cpu", enabled=False).state_dict()
x.amp.GradScaler("cpu", enabled=False).get_scale()
x.amp.GradScaler("cpu", growth_factor=0.5)
x.amp.GradScaler("cpu", backoff_factor=1.5)
x.amp.GradScaler("cpu").update()
x.amp.GradScaler("cpu").scale([x.ones(1), (x.ones(1),)])
x.amp.GradScaler("cpu").scale(3)
x.amp.GradScaler("cpu").load_state_dict({})
x.amp.GradScaler("cpu").unscale_(None)
"""


@pytest.mark.parametrize("line", [line for line in PROGRAMS.splitlines() if line])
def test_settings(line):
    theirs, ours = both(lambda library: eval(line, {"x": library, "bf": lambda x: x.bfloat16}))
    assert ours == theirs


def test_nested_blocks():
    def program(library):
        seen = []
        x = library.ones(2, 2)

        def look():
            seen.append((
                library.is_autocast_enabled("cpu"), library.get_autocast_dtype("cpu"),
                library.is_autocast_cache_enabled(), (x @ x).dtype, (x + x).dtype,
                library.mm(x, x, out=library.empty(2, 2)).dtype, x.clone().addmm_(x, x).dtype,
                library.softmax(x @ x, -1).dtype, library.cat([x @ x, x]).dtype,
                library.stack([x @ x, x @ x]).dtype, library.prod(x @ x).dtype,
                library.dot(x[0], x[0]).dtype, (x[0] @ x[0]).dtype, (x @ x[0]).dtype,
                library.mv(x, x[0]).dtype, library.einsum("ij,jk", x, x).dtype,
                library.einsum("ii->i", x).dtype, library.einsum("i,i->i", x[0], x[0]).dtype,
            ))

        look()
        with library.autocast("cpu"):
            look()
            with library.autocast("cpu", enabled=False):
                look()
                with library.autocast("cpu", dtype=library.float16, cache_enabled=False):
                    look()
            look()
            with library.no_grad():
                look()
        look()
        library.autocast("cpu", dtype=library.float16)(look)()
        return seen

    theirs, ours = both(program)
    assert ours == theirs


def parameters(library):
    numbers = np.random.RandomState(0)
    given = {}

    def tensor(*shape):
        return library.tensor(numbers.randn(*shape).astype("f") * 0.5)

    nn = library.nn
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU(), nn.Flatten(), nn.Linear(64, 8),
        nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3),
    )
    with library.no_grad():
        for parameter in model.parameters():
            parameter.copy_(tensor(*parameter.shape))
    given["model"] = model
    given["x"] = tensor(5, 1, 6, 6)
    given["y"] = library.tensor([0, 1, 2, 1, 0])
    return given


@pytest.mark.parametrize("lower", ["bfloat16", "float16"])
def test_training(lower):
    found = []
    for library in (torch, taper):
        given = parameters(library)
        model = given["model"]
        optimizer = library.optim.SGD(model.parameters(), 0.05)
        scaler = library.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3)
        losses, names = [], []
        for _ in range(6):
            optimizer.zero_grad()
            with library.autocast("cpu", dtype=getattr(library, lower)):
                scores = model(given["x"])
                loss = library.nn.functional.cross_entropy(scores, given["y"])
            names.append((str(scores.dtype), str(loss.dtype)))
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
        grads = [p.grad for p in model.parameters()]
        found.append((names, losses, grads, scaler.state_dict()))
    (names, losses, grads, state), (my_names, my_losses, my_grads, my_state) = found
    assert my_names == names
    assert my_state == state
    np.testing.assert_allclose(my_losses, losses, rtol=0.03)
    for theirs, ours in zip(grads, my_grads, strict=True):
        assert str(ours.dtype) == str(theirs.dtype)
        size = np.abs(as_array(theirs)).max()
        assert np.abs(as_array(ours) - as_array(theirs)).max() < 0.08 * size + 2e-2


def test_scaler_steps():
    def program(library):
        seen = []
        p = library.ones(1, requires_grad=True)
        optimizer = library.optim.SGD([p], 1.0)
        scaler = library.amp.GradScaler("cpu", growth_interval=2)

        def attempt(method, *args, **kwargs):
            try:
                seen.append(getattr(scaler, method)(*args, **kwargs))
            except Exception as problem:
                seen.append((type(problem).__name__, str(problem)))
            seen.append((scaler.get_scale(), p.item(), None if p.grad is None else p.grad.item()))

        attempt("scale", library.ones(2))
        attempt("step", optimizer)
        attempt("update")
        for grad in (65536.0, float("inf"), 1.0, 2.0, float("nan"), 4.0):
            p.grad = library.tensor([grad])
            attempt("unscale_", optimizer)
            attempt("unscale_", optimizer)
            attempt("step", optimizer)
            attempt("step", optimizer)
            attempt("update")
        attempt("update", 4.0)
        attempt("update", library.tensor(5.0))
        attempt("step", optimizer, closure=1)
        half = library.ones(1, dtype=library.float16, requires_grad=True)
        half.grad = library.ones_like(half)
        attempt("unscale_", library.optim.SGD([half], 1.0))
        return seen

    theirs, ours = both(program)
    assert ours == theirs


def test_scaler_is_saved():
    for library in (torch, taper):
        scaler = library.amp.GradScaler("cpu")
        scaler.scale(library.ones(1))
        scaler.update(8.0)
        again = pickle.loads(pickle.dumps(scaler))
        assert again.get_scale() == 8.0
        fresh = library.amp.GradScaler("cpu")
        fresh.load_state_dict(scaler.state_dict())
        assert fresh.state_dict() == scaler.state_dict()


def test_functions_of_ones_own():
    def program(library):
        seen = []

        class Product(library.autograd.Function):
            @staticmethod
            @library.amp.custom_fwd(device_type="cpu", cast_inputs=library.float32)
            def forward(ctx, a, b):
                ctx.save_for_backward(a, b)
                seen.append((a.dtype, library.is_autocast_enabled("cpu"), (a @ b).dtype))
                return a @ b

            @staticmethod
            @library.amp.custom_bwd(device_type="cpu")
            def backward(ctx, grad):
                a, b = ctx.saved_tensors
                seen.append((grad.dtype, library.is_autocast_enabled("cpu")))
                return grad @ b.T, a.T @ grad

        class Plain(Product):
            @staticmethod
            @library.amp.custom_fwd(device_type="cpu")
            def forward(ctx, a, b):
                ctx.save_for_backward(a, b)
                seen.append((a.dtype, library.is_autocast_enabled("cpu"), (a @ b).dtype))
                return a @ b

        for kind in (Product, Plain):
            for on in (True, False):
                a = library.ones(2, 2, requires_grad=True)
                with library.autocast("cpu", enabled=on):
                    result = kind.apply(a.bfloat16() if kind is Product else a, a)
                result.sum().backward()
                seen.append((result.dtype, a.grad.dtype, a.grad.sum().item()))
        return seen

    theirs, ours = both(program)
    assert ours == theirs
