"""What a compiled call does is what the call does: results, changes in place, and side effects."""

from __future__ import annotations

import dataclasses
import gc
import threading
import weakref
from collections import OrderedDict, namedtuple
from typing import Any

import pytest

import taper as torch
from taper import nn
from taper.nn import functional as F


def compiled_calls(compiled: Any) -> int:
    return compiled.explain().calls["compiled"]


def assert_captured(function: Any, *args: Any, times: int = 4) -> Any:
    """Compiles a function and compares its calls with the function's own; all but one run as
    programs."""
    compiled = torch.compile(function)
    for _ in range(times):
        state = torch.get_rng_state()
        expected = function(*args)
        after = torch.get_rng_state()
        torch.set_rng_state(state)
        found = compiled(*args)
        assert torch.equal(torch.get_rng_state(), after)
        compare(found, expected)
    assert compiled_calls(compiled) == times - 1, compiled.explain()
    return found


def compare(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert found.dtype is expected.dtype and found.shape == expected.shape
        assert found.requires_grad == expected.requires_grad
        torch.testing.assert_close(found, expected, equal_nan=True)
    elif isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            compare(a, b)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            compare(found[key], expected[key])
    elif dataclasses.is_dataclass(expected):
        compare(vars(found), vars(expected))
    else:
        assert found == expected


Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Output:
    loss: Any
    name: str
    parts: list[Any]


def test_results_of_many_kinds() -> None:
    x = torch.arange(6.0).view(2, 3)
    for result in (
        lambda y: (y, y.t(), y[0]), lambda y: [y, None, 3, 2.5, "a", True],
        lambda y: {"a": y, 1: ()},
        lambda y: Point(y, y.shape), lambda y: Output(y.sum(), "n", [y, y + 1]), lambda y: None,
        lambda y: y.max(0), lambda y: y.dtype, lambda y: torch.zeros(2),
        lambda y: (torch.arange(3), y.int(), y > 2, y.size(0)),
    ):
        assert_captured(lambda x, result=result: result(x.exp()), x)


def test_results_share_memory_as_they_should() -> None:
    x = torch.arange(6.0)
    compiled = torch.compile(lambda x: (x, x.view(2, 3), x.detach(), (x + 1), torch.ones(2)))
    for _ in range(3):
        same, view, detached, fresh, ones = compiled(x)
    assert same is x and view._base is x and detached.data_ptr() == x.data_ptr()
    view[0, 0] = 7
    assert x[0] == 7 and x._version == view._version
    fresh.zero_()
    ones.zero_()
    again = compiled(x)
    assert again[3].sum() != 0 and again[4].sum() == 2

    def three(x: Any) -> Any:
        y = x * 2
        return y, y[1:], y.view(3, 2)

    compiled = torch.compile(three)
    for _ in range(3):
        whole, part, matrix = compiled(x)
    part.zero_()
    assert whole[1:].sum() == 0 and matrix[1:].sum() == 0 and part.storage_offset() == 1


def test_changes_of_arguments_and_closures() -> None:
    buffer = torch.zeros(3)

    def function(x: Any) -> Any:
        x.add_(1)
        x[0] = 5
        buffer.mul_(2).add_(x.sum())
        return x * buffer

    twin, values = torch.zeros(3), []
    for call in (function, torch.compile(function)):
        buffer = twin.clone()
        x = torch.arange(3.0)
        pointer, version = x.data_ptr(), x._version
        values.append([call(x) for _ in range(5)])
        values[-1] += [x.clone(), buffer.clone(), torch.tensor(x._version - version)]
        assert x.data_ptr() == pointer
    compare(values[1], values[0])


def test_arguments_that_share_memory() -> None:
    def function(x: Any, y: Any) -> Any:
        x.add_(y)
        y.mul_(2)
        return x + y

    def overlapping() -> Any:
        b = torch.arange(4.0)
        return b[:3], b[1:]

    compiled = torch.compile(function)
    for make in (
        lambda: (torch.ones(3), torch.ones(3)), overlapping, lambda: (torch.ones(3),) * 2,
        lambda: (torch.ones(3), torch.ones(3)),
    ):
        for _ in range(4):
            (a, b), (c, d) = make(), make()
            compare([compiled(a, b), a, b], [function(c, d), c, d])
    weight = torch.arange(3.0)
    update = torch.compile(lambda x: weight.add_(x).clone())
    for x in (torch.ones(3), torch.ones(3), torch.ones(3), weight, weight[:], torch.ones(3)):
        expected = weight + x
        compare(update(x), expected)
        compare(weight, expected)


def test_random_numbers() -> None:
    layer = nn.Dropout(0.3)
    x = torch.ones(20)
    assert_captured(lambda x: F.dropout(x, 0.5), x)
    assert_captured(lambda x: layer(x) + torch.randn(20) * torch.rand(1) + torch.randn_like(x), x)
    assert_captured(lambda x: (torch.bernoulli(x * 0.3), torch.normal(x, 1.0)), x)
    generator = torch.Generator().manual_seed(3)
    compiled = torch.compile(lambda x: x + torch.randn(20, generator=generator))
    found = [compiled(x) for _ in range(4)]
    generator.manual_seed(3)
    compare(found, [x + torch.randn(20, generator=generator) for _ in range(4)])


def test_reseeding_before_each_call() -> None:
    """A checkpoint puts the generator back where it was, so its numbers are not drawn twice."""
    from taper.utils.checkpoint import checkpoint

    layer = nn.Dropout(0.5)
    x = torch.ones(6, requires_grad=True)

    def function(x: Any) -> Any:
        return torch.autograd.grad(checkpoint(layer, x * 2, use_reentrant=False).sum(), x)[0]

    compiled = torch.compile(function)
    for seed in range(5):
        torch.manual_seed(seed)
        expected = function(x)
        torch.manual_seed(seed)
        assert torch.equal(compiled(x), expected)


def test_seeds_are_effects() -> None:
    def function(x: Any) -> Any:
        torch.manual_seed(3)
        return x + torch.rand(2)

    compiled = torch.compile(function)
    found = [compiled(torch.zeros(2)) for _ in range(4)]
    assert all(torch.equal(f, found[0]) for f in found) and compiled_calls(compiled) == 0


def test_modes_inside() -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)

    def function(x: Any) -> Any:
        with torch.no_grad():
            y = x * w
        with torch.enable_grad():
            (grad,) = torch.autograd.grad((x * w * w).sum(), w)
        return y, grad

    assert_captured(function, torch.ones(2))
    assert_captured(torch.no_grad()(lambda x: (x * w).sum()), torch.ones(2))


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x ** 3

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * 3 * x * x * 10  # not the derivative: to be recognized


def test_custom_functions_and_nested_compiled_ones() -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    inner = torch.compile(lambda x: Cube.apply(x) + x)

    def function(x: Any) -> Any:
        (grad,) = torch.autograd.grad(inner(x * w).sum(), w)
        return grad

    assert_captured(function, torch.ones(2))


def test_results_that_require_grad() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    compiled = torch.compile(model)
    x = torch.randn(5, 3, requires_grad=True)

    def gradients(call: Any) -> list[Any]:
        y = call(x * 2)
        assert y.requires_grad
        return list(torch.autograd.grad((y ** 2).sum(), [x, *model.parameters()]))

    for _ in range(4):
        kept = {name: t.clone() for name, t in model.state_dict().items()}
        expected = gradients(model)
        after = {name: t.clone() for name, t in model.state_dict().items()}
        model.load_state_dict(kept)
        found = gradients(compiled)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        compare(dict(model.state_dict()), after)
    assert compiled.explain().calls["compiled"] == 3
    y = compiled(x)
    assert y.grad_fn.name() == "CompiledFunctionBackward"
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
    y = compiled(x)
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.sum().backward()
    y = compiled(x)
    with torch.no_grad():
        model[0].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    with torch.no_grad():
        assert not compiled(x).requires_grad


def test_several_results_that_require_grad() -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    compiled = torch.compile(lambda x: (x * w, (x * w).sum(), x + 1, w.detach() * 2))
    for _ in range(4):
        a, b, c, d = compiled(torch.ones(2))
        assert [t.requires_grad for t in (a, b, c, d)] == [True, True, False, False]
        w.grad = None
        (a.sum() * 3).backward(retain_graph=True)
        assert w.grad.tolist() == [3, 3]
        b.backward()
        assert w.grad.tolist() == [4, 4]


def test_a_loss_that_was_differentiated() -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)

    def step(x: Any) -> Any:
        w.grad = None
        loss = (x * w).exp().sum()
        loss.backward()
        return loss

    compiled = torch.compile(step)
    for _ in range(4):
        loss = compiled(torch.ones(2))
        assert loss.requires_grad and loss.grad_fn.name() == "SumBackward0"
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward()
    assert compiled_calls(compiled) == 3


def test_gradient_clipping_and_accumulation_inside() -> None:
    models = []
    for use in (lambda f: f, torch.compile):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)

        @use
        def step(x: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            for part in x.chunk(2):
                (model(part) ** 2).sum().backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            return norm

        torch.manual_seed(1)
        x = torch.randn(4, 3)
        models.append((model, [step(x) for _ in range(6)]))
    compare(models[1][1], models[0][1])
    compare(dict(models[1][0].state_dict()), dict(models[0][0].state_dict()))
    assert all(not p.grad.any() for p in models[1][0].parameters())
    assert compiled_calls(step) >= 3


# -- what can't be captured ------------------------------------------------------------------------


def line_of(compiled: Any) -> str:
    (_, line), *_ = compiled.explain().fallbacks
    return line or ""


def test_values_that_are_asked_for() -> None:
    def branches(x: Any) -> Any:
        if x.sum() > 0:  # the line
            return x * 2
        return -x

    compiled = torch.compile(branches)
    for sign in (1, 1, 1, -1, 1, -1):
        assert compiled(sign * torch.ones(2)).tolist() == ([2, 2] if sign > 0 else [1, 1])
    assert compiled_calls(compiled) == 0 and "if x.sum() > 0:  # the line" in line_of(compiled)
    assert len(compiled.explain().fallbacks) == 1
    for function in (
        lambda x: x * x.sum().item(), lambda x: x[: int(x[0])], lambda x: x.nonzero(),
        lambda x: torch.tensor(x.tolist()), lambda x: torch.tensor(x.numpy() * 2),
    ):
        compiled = torch.compile(function)
        for start in (1.0, 2.0, 3.0, 1.0):
            x = torch.arange(start, start + 3)
            assert torch.equal(compiled(x), function(x))
        assert compiled_calls(compiled) == 0 and compiled.explain().fallbacks


def test_fullgraph_raises() -> None:
    compiled = torch.compile(lambda x: x * x.sum().item(), fullgraph=True)
    compiled(torch.ones(2))
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"(?s)needs a value.*test_capture.py"):
        compiled(torch.ones(2))
    model = torch.compile(nn.Linear(2, 2), fullgraph=True)
    for _ in range(3):
        model(torch.ones(1, 2))


def test_effects_happen_at_every_call() -> None:
    losses: list[float] = []
    count = 0
    seen: dict[str, Any] = {}
    names: set[str] = set()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return x * 2

    model = Model()

    def counted(x: Any) -> Any:
        nonlocal count
        count += 1
        return x + 1

    def noted(x: Any) -> Any:
        seen["last"] = x.shape[0] + len(seen)
        return x

    functions = {
        "losses": lambda x: losses.append(1.0) or x, "count": counted, "seen": noted,
        "names": lambda x: names.add(f"{len(names)}") or x, "calls": model,
    }
    for name, function in functions.items():
        compiled = torch.compile(function)
        for _ in range(6):
            compiled(torch.ones(2))
        assert compiled.explain().calls["compiled"] in (0, 4), name
    assert len(losses) == 6 and count == 6 and len(names) == 6 and model.calls == 6
    assert "last" in seen
    reasons = torch._dynamo.explain(functions["losses"])(torch.ones(2)).break_reasons
    assert "closure variable `losses` grew from" in reasons[0]


def test_output_and_clocks_are_never_captured(capsys: Any) -> None:
    import time

    def prints(x: Any) -> Any:
        print("called")
        return x

    def clocks(x: Any) -> Any:
        return x + time.perf_counter()

    compiled = torch.compile(prints)
    for _ in range(4):
        compiled(torch.ones(1))
    assert capsys.readouterr().out == "called\n" * 4
    assert "print()" in compiled.explain().break_reasons[0]
    compiled = torch.compile(clocks)
    assert len({compiled(torch.zeros(1, dtype=torch.float64)).item() for _ in range(4)}) == 4
    numbers = iter(range(10))
    compiled = torch.compile(lambda x: x + next(numbers))
    assert [compiled(torch.zeros(1)).item() for _ in range(4)] == [0, 1, 2, 3]


def test_errors_are_those_of_the_function() -> None:
    compiled = torch.compile(lambda x, y: x @ y)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
            compiled(torch.ones(2, 3), torch.ones(2, 3))
        compiled(torch.ones(2, 3), torch.ones(3, 2))

    def checks(x: Any) -> Any:
        if x.shape[0] > 2:
            raise KeyError("too long")
        return x * 2

    compiled = torch.compile(checks)
    for _ in range(3):
        with pytest.raises(KeyError, match="too long"):
            compiled(torch.ones(3))
        assert compiled(torch.ones(2)).sum() == 4


def test_tensors_made_within_may_change_after_they_were_read() -> None:
    def step(x: Any) -> Any:
        places, mask = torch.arange(3.0), torch.zeros(3)
        first = x * places
        places += 1
        second = x * places
        mask[1] = 5
        third = x + mask
        mask.view(3).fill_(2)
        return first, second, third, x + mask

    assert_captured(step, torch.tensor([1.0, 2.0, 4.0]))


def test_gradients_of_weights_lie_as_these_do() -> None:
    weight = torch.ones(4, 3, requires_grad=True)

    def step(x: Any) -> Any:
        gradient, = torch.autograd.grad(F.linear(x, weight).sum(), weight)
        return gradient, gradient.is_contiguous()

    assert assert_captured(step, torch.ones(2, 3))[1]


def test_what_reshape_had_to_copy_is_no_view() -> None:
    def step(x: Any) -> Any:
        y = (x + 0).t()
        y.reshape(-1).mul_(3)
        z = y.expand(2, 3, 3)
        z.flatten()[...] = 1.5
        return torch.autograd.grad(y.sum() + z.sum(), x)[0]

    found = assert_captured(step, torch.ones(3, 3, requires_grad=True))
    assert found.tolist() == [[3.0] * 3] * 3


def test_random_numbers_like_a_tensor_lie_as_it_does() -> None:
    like, *_ = assert_captured(
        lambda x: [make(x.cos()) for make in (
            torch.rand_like, torch.randn_like, lambda like: torch.randint_like(like, 9))],
        torch.ones(3, 2).t())
    assert like.stride() == (1, 2)


def test_random_numbers_like_an_expanded_tensor() -> None:
    like = assert_captured(
        lambda x: torch.rand_like(x.unsqueeze(1).expand(2, 2, 2, 3)), torch.ones(2, 3))
    assert like.stride() == (12, 6, 3, 1)


def test_tensors_that_cannot_be_reached() -> None:
    hidden = OrderedDict()
    hidden["weight"] = torch.ones(2)

    class Holder:
        def get(self) -> Any:
            return globals()["HIDDEN"]

    globals()["HIDDEN"] = hidden["weight"]
    holder = Holder()
    compiled = torch.compile(lambda x: x * holder.get())
    for value in (1.0, 2.0, 3.0, 4.0):
        globals()["HIDDEN"] = torch.full((2,), value)
        assert compiled(torch.ones(2)).tolist() == [value, value]


def test_history_from_outside() -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)

    def function(x: Any) -> Any:
        (x * 3).sum().backward()
        return x.detach() + 1

    compiled = torch.compile(function)
    for i in range(4):
        y = w * (i + 1)
        w.grad = None
        compiled(y)
        assert w.grad.tolist() == [3 * (i + 1)] * 2


def test_transforms_and_modes_around() -> None:
    compiled = torch.compile(lambda x: x.sin() * 2)
    x = torch.randn(3, 2)
    for _ in range(3):
        compiled(x[0])
    assert torch.equal(torch.vmap(compiled)(x), x.sin() * 2)
    torch.testing.assert_close(torch.func.jacrev(compiled)(x[0]).diagonal(), x[0].cos() * 2)
    with torch.autocast("cpu"):
        compiled(x[0])
    with torch.inference_mode():
        assert compiled(x[0]).is_inference()
    assert compiled(x[0].to("meta")).is_meta


def test_threads() -> None:
    torch.manual_seed(0)
    model = nn.Linear(8, 8)
    compiled = torch.compile(lambda x: model(x).tanh())
    inputs = [torch.randn(4, 8) for _ in range(8)]
    expected = [model(x).tanh() for x in inputs]
    failures: list[Any] = []

    def work(x: Any, y: Any) -> None:
        for _ in range(50):
            if not torch.allclose(compiled(x), y, atol=1e-6):
                failures.append(x)

    threads = [threading.Thread(target=work, args=pair)
               for pair in zip(inputs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_stances() -> None:
    compiled = torch.compile(lambda x: x + 1)
    x = torch.ones(2)
    for _ in range(3):
        compiled(x)
    with torch.compiler.set_stance("force_eager"):
        compiled(x)
    assert compiled.explain().calls == {"compiled": 2, "eager": 2}
    compiled(x)
    assert compiled.explain().calls["compiled"] == 3


def test_whether_code_is_being_captured() -> None:
    seen = []

    def function(x: Any) -> Any:
        return x + 1 if torch.compiler.is_compiling() else x + 1.0

    compiled = torch.compile(function)
    for _ in range(3):
        seen.append(compiled(torch.ones(1)).item())
    assert seen == [2, 2, 2] and not torch.compiler.is_compiling()


def test_nothing_is_kept_of_arguments_and_results() -> None:
    model = nn.Linear(4, 4)
    optimizer = torch.optim.Adam(model.parameters())

    @torch.compile
    def step(x: Any, *, more: Any = None) -> Any:
        optimizer.zero_grad()
        loss = model(x).square().mean() + (0 if more is None else more[0].sum())
        loss.backward()
        optimizer.step()
        return loss

    for more in (None, True):
        alive = []
        for _ in range(6):
            x = torch.randn(3, 4)
            loss = step(x) if more is None else step(x, more=[torch.ones(2)])
            alive += [weakref.ref(x), weakref.ref(x._array), weakref.ref(loss)]
        del x, loss
        gc.collect()
        assert not [reference() for reference in alive if reference() is not None]


def test_programs_are_bounded() -> None:
    compiled = torch.compile(lambda x: x + 1)
    for size in range(1, 40):
        for _ in range(3):
            assert compiled(torch.ones(size)).sum() == 2 * size
    (captured,) = [c.cell_contents for c in compiled.__closure__
                   if type(c.cell_contents).__name__ == "CapturedFunction"]
    assert len(captured.variants) == 16


def test_a_forward_recorded_as_a_whole_that_is_called_like_one_of_numpys():
    def step(x):
        filled = torch.empty((1,)).fill_(2)
        product = torch.matmul(filled, x)  # the method of an array, which NumPy doesn't hand over
        return product.flatten() * 2, product.sum()

    compiled = torch.compile(step)
    for _ in range(3):
        doubled, total = compiled(torch.tensor([1.5]))
        assert doubled.tolist() == [6] and total.item() == 3


def test_windows_beyond_a_view_run_as_they_are() -> None:
    def windows(x: Any) -> Any:
        second = (x + 1)[1]
        return second.as_strided((2,), (1,), 0).clone()  # of the first row: offsets are absolute

    x = torch.arange(6.0).reshape(2, 3)
    compiled = torch.compile(windows)
    assert [compiled(x).tolist() for _ in range(3)] == [[1, 2]] * 3
