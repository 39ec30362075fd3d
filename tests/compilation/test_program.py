"""Programs give what their graphs give when NumPy runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from needed_kernels import needs_kernels
from recorded_programs import random_graph

import taper as torch
from taper.capture import record
from taper.capture.record import named_state
from taper.compilation.passes import simplified
from taper.compilation.program import Program, make_program
from taper.compiler import background
from taper.compiler.graph import Graph, Reference

pytestmark = needs_kernels

F = torch.nn.functional


def made(graph: Graph, updates: dict[str, int] | None = None) -> Program:
    """The program of a graph, when all of its kernels are there."""
    program = make_program(simplified(graph), updates or {})
    background.wait_until_idle(60)
    assert program.is_ready()
    return program


def compare(found: Any, wanted: Any, ulps: float) -> None:
    wanted = np.asarray(wanted)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    is_exact = wanted.dtype.kind not in "fc" and wanted.dtype.name != "bfloat16"
    if is_exact or not ulps:
        np.testing.assert_array_equal(found, wanted)
        return
    wide = np.result_type(wanted.dtype, np.float32)
    step = float(np.finfo(wide).eps)
    np.testing.assert_allclose(
        found.astype(wide), wanted.astype(wide), rtol=ulps * step,
        atol=ulps * step * float(np.abs(wanted.astype(wide)).max(initial=0.0)))


def check(
    function: Callable[..., Any], *tensors: torch.Tensor, ulps: float = 0, calls: int = 2,
    all_native: bool = True,
) -> Program:
    """Compares the program of a recorded function with its graph, over several calls."""
    graph = record(function, *tensors)
    program = made(graph)
    arrays = [t.detach()._array for t in tensors]
    wanted = graph.run(*arrays)
    for _ in range(calls):
        found = program(arrays)
        for name, value in zip(program.returned, found, strict=True):
            compare(value, wanted[name], ulps)
    if all_native:
        assert "call" not in program.describe().replace("called", ""), program.describe()
    return program


def numbers(*shape: int, dtype: Any = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(shape)
    if not dtype.is_floating_point:
        values = values * 10
    return torch.tensor(values).to(dtype)


SIZES = [1, 7, 64, 1000]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chain(n: int, dtype: Any) -> None:
    def chain(x: Any, y: Any) -> Any:
        z = x * y + 1.0
        z = torch.where(z > x, z, y) - y * 0.5
        return torch.maximum(z.abs(), x), z / (x * x + 1)

    check(chain, numbers(n, dtype=dtype), numbers(n, dtype=dtype, seed=1))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool])
def test_integers(dtype: Any) -> None:
    x, y = numbers(13, 5, dtype=dtype), numbers(13, 5, dtype=dtype, seed=1)
    check(lambda x, y: (x & y, x | y, x == y, torch.maximum(x, y)), x, y)
    if dtype is not torch.bool:
        check(lambda x, y: (x + y * 2 - y, (x < y).float() * 2), x, y)


def test_bfloat16() -> None:
    x, y = numbers(33, dtype=torch.bfloat16), numbers(33, dtype=torch.bfloat16, seed=1)
    check(lambda x, y: (x * y + x, (x + 1.5).float()), x, y, all_native=False)
    check(lambda x, y: (torch.minimum(x, y), x < y, x == y, x.abs(), -x, torch.where(x > 0, x, y),
                        torch.where(x > 0, x, torch.full_like(x, 1.5)), torch.relu(x),
                        x.frac(), (x * 3).trunc(), torch.maximum(x, y) + y.floor()),
          x, y, all_native=False)


@pytest.mark.filterwarnings("error:taper couldn't make")
@pytest.mark.parametrize("other", [torch.float64, torch.int64, torch.uint8])
def test_bfloat16_to_other_dtypes_and_back(other: Any) -> None:
    x, y = numbers(33, dtype=torch.bfloat16), numbers(33, dtype=other)
    check(lambda x, y: ((x * x).to(other), y.bfloat16(), y.bfloat16().double() * 1.5), x, y,
          all_native=False)
    check(lambda x: (x + x).topk(1, 0, largest=False), x, all_native=False)  # by way of float64


def test_float16() -> None:
    x, y = numbers(33, dtype=torch.float16), numbers(33, dtype=torch.float16, seed=1)
    check(lambda x, y: (x * y + x, x < y, torch.minimum(x, y), x.float(), x.t(), x.bfloat16()),
          x, y, all_native=False)
    check(lambda x, y: (x.masked_fill(x > y, -float("inf")), torch.where(x > y, x, 1.5)),
          x, y, all_native=False)


@pytest.mark.parametrize("n", SIZES)
def test_functions(n: int) -> None:
    check(lambda x: (torch.exp(x), torch.tanh(x), torch.sigmoid(x), F.gelu(x), torch.erf(x)),
          numbers(n), ulps=8)
    check(lambda x: (torch.sin(x), torch.cos(x * 1e6), x.abs() ** 2.5, 0.3 ** x, x ** x.round()),
          numbers(n), ulps=8)


def test_functions_without_a_native_form_are_called() -> None:
    program = check(lambda x: torch.nextafter(x * 2, x) + 1, numbers(20), ulps=2, all_native=False)
    assert "call nextafter" in program.describe()


@pytest.mark.parametrize("shape", [(3, 4), (40, 7), (5, 1), (1, 9), (64, 65), (100, 33)])
def test_broadcasting(shape: tuple[int, int]) -> None:
    n, m = shape
    check(lambda x, row, column, one: ((x + row) * column - one, row * column + one),
          numbers(n, m), numbers(m, seed=1), numbers(n, 1, seed=2), numbers(seed=3))


@pytest.mark.parametrize("shape", [(3, 4), (40, 7), (64, 65), (33, 100)])
def test_views(shape: tuple[int, int]) -> None:
    def views(x: Any) -> Any:
        y = x.t() * 2
        z = x[1:, ::2] + 1
        return y.reshape(-1) + 1, z, y[::2].t() * z.sum() * 0 + 1, x.flip(0) * 2

    check(views, numbers(*shape), ulps=64, all_native=False)


def test_strided_inputs() -> None:
    x = numbers(20, 30)
    check(lambda a, b: (a * b, a.sum(1)), x.t(), numbers(30, 20, seed=1), ulps=8)
    check(lambda a: a.exp() + 1, x[::2, 1::3], ulps=4)


def test_empty_arrays() -> None:
    check(lambda x: (x * 2, x.sum(), x.t() + 1), numbers(0, 3), all_native=False)


SHAPES = [(1, 5), (7, 1), (3, 2), (40, 10), (64, 16), (20, 33), (9, 300), (2000, 3), (300, 257)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows(shape: tuple[int, int], dtype: Any) -> None:
    x = numbers(*shape, dtype=dtype)
    check(lambda x: (torch.softmax(x, 1), torch.log_softmax(x, 1), torch.logsumexp(x, 1)), x,
          ulps=32, all_native=False)
    check(lambda x: (x.sum(1), x.amax(1), (x * x).mean(1, keepdim=True) * x), x, ulps=64)


@pytest.mark.parametrize("shape", SHAPES)
def test_columns(shape: tuple[int, int]) -> None:
    x = numbers(*shape)
    check(lambda x: (x.sum(0), (x * 2).amax(0), x - x.mean(0)), x, ulps=256)
    check(lambda x: (torch.softmax(x, 0), x.sum(), (x * x).sum()), x, ulps=512, all_native=False)


def test_sums_over_several_dimensions() -> None:
    x = numbers(4, 5, 6, 7)
    check(lambda x: (x.sum((0, 2, 3)), x.sum((1, 3)), x.sum((2, 3)), x.mean((0, 1))), x, ulps=256)


def test_long_sums() -> None:
    x, y = numbers(200, 1000), numbers(8192, 32)
    check(lambda x, y: (x.sum(), (y * y).sum(0), (x + 1).amax()), x, y, ulps=4096)


@pytest.mark.parametrize("shape", [
    (1, 1, 1), (5, 3, 2), (64, 64, 128), (8, 1, 9), (1, 40, 7), (40, 7, 1), (2000, 3, 1),
    (3, 2000, 1), (3, 700, 32), (33, 17, 65), (128, 600, 20),
])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products(shape: tuple[int, int, int], dtype: Any) -> None:
    m, k, n = shape
    a, b = numbers(m, k, dtype=dtype), numbers(k, n, dtype=dtype, seed=1)
    check(lambda a, b: a @ b, a, b, ulps=4 * k)
    check(lambda a, b: a.t() @ b, numbers(k, m, dtype=dtype), b, ulps=4 * k)
    check(lambda a, b: a @ b.t(), a, numbers(n, k, dtype=dtype), ulps=4 * k)
    check(lambda a, b, c: torch.relu(F.linear(a, b, c)), a, numbers(n, k, dtype=dtype),
          numbers(n, dtype=dtype), ulps=4 * k)


@pytest.mark.parametrize("thin", [1, 2, 3, 4])
def test_thin_products_share_a_walk(thin: int) -> None:
    def sums(x: Any, y: Any) -> Any:
        y = torch.relu(y)
        return x.t() @ y, y.sum(0)

    program = check(sums, numbers(640, thin), numbers(640, 20, seed=1), ulps=16)
    assert len(program.instructions) == 1, program.describe()
    check(lambda x, y: y.t() @ x, numbers(640, thin), numbers(640, 20, seed=1), ulps=16)


def test_products_of_many_terms() -> None:
    program = check(lambda x, y: x.t() @ y, numbers(2000, 20), numbers(2000, 24, seed=1), ulps=64)
    assert "@ [5, 400, 24]" in program.describe()
    check(lambda x, y: (x @ y.t() + 1, y @ x.t()), numbers(5, 3000), numbers(7, 3000, seed=1),
          ulps=64)


def test_batches_of_products() -> None:
    check(lambda a, b: a @ b, numbers(3, 4, 5), numbers(3, 5, 6), ulps=64)
    check(lambda a, b: a @ b.transpose(1, 2), numbers(3, 4, 5), numbers(1, 6, 5), ulps=64)


def test_layer_norm_and_its_gradient() -> None:
    def step(x: Any, w: Any, b: Any, g: Any) -> Any:
        x, w, b = (t.clone().requires_grad_() for t in (x, w, b))
        y = F.layer_norm(x, (33,), w, b)
        y.backward(g)
        return y.detach(), x.grad, w.grad, b.grad

    check(step, numbers(20, 33), numbers(33, seed=1), numbers(33, seed=2), numbers(20, 33, seed=3),
          ulps=512)


@pytest.mark.parametrize("shape", [(64, 10), (7, 300), (300, 2)])
def test_cross_entropy_and_its_gradient(shape: tuple[int, int]) -> None:
    n, classes = shape

    def step(x: Any, y: Any) -> Any:
        x = x.clone().requires_grad_()
        loss = F.cross_entropy(x, y)
        loss.backward()
        return loss.detach(), x.grad

    y = torch.tensor(np.random.default_rng(0).integers(0, classes, n))
    check(step, numbers(n, classes), y, ulps=64, all_native=False)


def test_gather_and_its_gradient() -> None:
    def step(x: Any, i: Any) -> Any:
        x = x.clone().requires_grad_()
        y = x.gather(1, i)
        (y * y).sum().backward()
        return y.detach(), x.grad

    check(step, numbers(50, 4), torch.tensor(np.random.default_rng(0).integers(0, 4, (50, 1))),
          ulps=4, all_native=False)


def test_an_index_out_of_range_is_told_before_anything_changes() -> None:
    w = torch.ones(3, 4, requires_grad=True)
    y = torch.tensor([0, 1, 3])

    def step() -> Any:
        loss = F.cross_entropy(w * 1.0, y)
        loss.backward()
        with torch.no_grad():
            w.sub_(w.grad)
        w.grad = None
        return loss.detach()

    graph = record(step, state=[w, y])
    names = [n.label for n in graph.inputs]
    updates = {name: names.index(name) for name in graph.outputs if name in names}
    program = made(graph, updates)
    arrays = [np.ones((3, 4), np.float32), np.array([0, 1, 3])]
    program(arrays)
    assert (arrays[0] != 1).any()
    arrays = [np.ones((3, 4), np.float32), np.array([0, 1, 4])]
    with pytest.raises(IndexError, match="index 4 is out of bounds for axis 1 with size 4"):
        program(arrays)
    assert (arrays[0] == 1).all()
    assert program([np.ones((3, 4), np.float32), np.array([0, 1, 3])])


def training(
    optimizer: Callable[..., Any], net: Any = None, x: Any = None, steps: int = 10,
) -> Program:
    """Steps by a program, and the same by its graph."""
    torch.manual_seed(0)
    if net is None:
        net = torch.nn.Sequential(torch.nn.Linear(5, 17), torch.nn.ReLU(), torch.nn.Linear(17, 3))
        x = numbers(20, 5)
    y = torch.tensor(np.arange(len(x)) % 3)
    opt = optimizer(net.parameters())

    def step() -> Any:
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    step()
    graph = record(step, state=[net, opt, x, y])
    names = [n.label for n in graph.inputs]
    updates = {name: names.index(name) for name in graph.outputs if name in names}
    state = [t.detach()._array.copy() for t in named_state((net, opt, x, y)).values()]
    mine, theirs = [a.copy() for a in state], [a.copy() for a in state]
    program = made(graph, updates)
    for _ in range(steps):
        results = dict(zip(program.returned, program(mine), strict=True))
        wanted = graph.run(*theirs)
        for name, place in updates.items():
            theirs[place] = np.array(wanted[name])
        for name, found in results.items():
            compare(found, wanted[name], 4096)
    for found, value in zip(mine, theirs, strict=True):
        compare(found, value, 4096)
    return program


@pytest.mark.parametrize("optimizer", [
    lambda p: torch.optim.SGD(p, lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: torch.optim.Adam(p, lr=0.01), lambda p: torch.optim.AdamW(p, lr=0.01),
    lambda p: torch.optim.RMSprop(p, lr=0.01), lambda p: torch.optim.Adagrad(p, lr=0.01),
])
def test_training(optimizer: Callable[..., Any]) -> None:
    training(optimizer)


def swap_graph() -> Graph:
    graph = Graph()
    a, b = (graph.add_input(name, (4,), np.dtype(np.float32)) for name in "ab")
    c = graph.add("add", np.add, (Reference(b), np.float32(1)), {}, [((4,), np.dtype(np.float32))])
    d = graph.add("add", np.add, (Reference(a), np.float32(2)), {}, [((4,), np.dtype(np.float32))])
    graph.outputs = {"a": Reference(c), "b": Reference(d)}
    return graph


def test_updates_that_read_each_other() -> None:
    program = made(swap_graph(), {"a": 0, "b": 1})
    a, b = np.zeros(4, np.float32), np.full(4, 10, np.float32)
    program([a, b])
    assert a.tolist() == [11] * 4
    assert b.tolist() == [2] * 4


def test_updates_of_strided_arrays() -> None:
    program = made(swap_graph(), {"a": 0, "b": 1})
    a, b = np.zeros(8, np.float32)[::2], np.full(4, 10, np.float32)
    program([a, b])
    assert a.tolist() == [11] * 4
    assert b.tolist() == [2] * 4


def test_arrays_that_are_expected_and_others() -> None:
    x, y = numbers(4, 5), numbers(4, 5, seed=1)
    graph = record(lambda x, y: x * y - x, x, y)
    program = made(graph)
    first, second = x._array, y._array
    other = np.asfortranarray(second + 1)
    program.expect([first, None])
    for arrays in ([first, second], [first, other], [other, first], [first, first]):
        np.testing.assert_array_equal(program(arrays)[0], arrays[0] * arrays[1] - arrays[0])
        program.measure(arrays, times=1)
    program.expect([None, other])
    for arrays in ([first, other], [first, second]):
        np.testing.assert_array_equal(program(arrays)[0], arrays[0] * arrays[1] - arrays[0])


def test_logsumexp_is_native() -> None:
    check(lambda x: torch.logsumexp(x, 1), numbers(50, 7), ulps=4)
    check(lambda x: torch.logsumexp(x, -2, True), numbers(5, 7, 3, dtype=torch.float64), ulps=4)


def test_results_go_where_they_are_wanted() -> None:
    graph = record(lambda x: (x + 1, x * 2), numbers(6))
    program = made(graph)
    x, into = np.ones(6, np.float32), np.zeros(6, np.float32)
    first, second = program([x], [into, None])
    assert first is into
    assert into.tolist() == [2] * 6
    assert second.tolist() == [2] * 6
    again = program([x], [np.zeros(12, np.float32)[::2], None])[0]
    assert again.tolist() == [2] * 6


def test_results_are_apart_from_inputs_and_from_each_other() -> None:
    graph = record(lambda x: (x, x.t(), x + 1, (x + 1).t()), numbers(3, 4))
    program = made(graph)
    x = np.ones((3, 4), np.float32)
    found = program([x])
    for i, a in enumerate(found):
        assert not np.shares_memory(a, x)
        assert not any(np.shares_memory(a, b) for b in found[:i])
    before = [a.copy() for a in found]
    program([x * 2])
    for a, b in zip(found, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_threads_give_the_same_bits() -> None:
    x = numbers(700, 300)
    graph = record(lambda x: (torch.softmax(x, 1), (x * 2).sum(0), x @ x.t(), x.exp().sum()), x)
    program = made(graph)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = program([x._array])
        torch.set_num_threads(2)
        two = program([x._array])
    finally:
        torch.set_num_threads(before)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_measurements_name_all_steps() -> None:
    x = numbers(30, 40)
    program = made(record(lambda x: torch.relu(x @ x.t()).sum(), x))
    steps = program.measure([x._array], 2)
    assert all(seconds >= 0 for seconds, _ in steps)
    assert any("product" in text and seconds > 0 for seconds, text in steps)


def test_measuring_changes_nothing() -> None:
    w, x = numbers(40), numbers(40)
    graph = record(lambda x, w: w.sub_(x), x, w)
    program = made(graph, {"x1": 1})
    before = w.clone()
    program.measure([x._array, w._array])
    assert torch.equal(w, before)
    program([x._array, w._array])
    assert torch.equal(w, before - x)


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed: int) -> None:
    graph, arrays = random_graph(seed)
    with np.errstate(all="ignore"):
        wanted = graph.run(*[a.copy() for a in arrays])
        for given in (graph.without_dead_code(), simplified(graph)):
            program = make_program(given, {})
            background.wait_until_idle(60)
            assert program.is_ready()
            for _ in range(2):
                for name, found in zip(program.returned, program(arrays), strict=True):
                    compare(found, np.asarray(wanted[name]), 2048)


@pytest.mark.parametrize("width", [1, 5, 64, 200])
def test_rows_of_a_table_and_their_gradient(width: int) -> None:
    def step(table: Any, index: Any) -> Any:
        table = table.clone().requires_grad_()
        y = F.embedding(index, table)
        (y * y).sum().backward()
        return y.detach(), table.grad

    index = torch.tensor(np.random.default_rng(0).integers(0, 9, (30, 2)))
    check(step, numbers(9, width), index, ulps=64, all_native=False)


def test_rows_out_of_range_are_told() -> None:
    graph = record(lambda t, i: F.embedding(i, t) + 1, numbers(4, 3), torch.tensor([0, 1]))
    program = made(graph)
    assert program([np.ones((4, 3), np.float32), np.array([3, 1])])
    with pytest.raises(IndexError, match="index 4 is out of bounds for axis 0 with size 4"):
        program([np.ones((4, 3), np.float32), np.array([1, 4])])


@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (8, 32, 16, 16), (2, 1, 3, 3)])
def test_batch_norm_and_its_gradient(shape: tuple[int, ...]) -> None:
    channels = shape[1]

    def step(x: Any, w: Any, b: Any, g: Any) -> Any:
        x, w, b = (t.clone().requires_grad_() for t in (x, w, b))
        y = torch.relu(F.batch_norm(x, None, None, w, b, training=True))
        y.backward(g)
        return y.detach(), x.grad, w.grad, b.grad

    check(step, numbers(*shape), numbers(channels, seed=1), numbers(channels, seed=2),
          numbers(*shape, seed=3), ulps=2048)


def test_activations_are_computed_again_and_memory_is_used_again() -> None:
    nn = torch.nn
    net = nn.Sequential(*[
        nn.Sequential(nn.Linear(48, 160), nn.GELU(), nn.Linear(160, 48), nn.LayerNorm(48))
        for _ in range(4)
    ], nn.Linear(48, 3))
    program = training(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), net, numbers(600, 48), 2)
    each = 600 * 160 * 4  # bytes of one hidden layer; four of them wait for the backward pass
    assert program.arena_bytes < 8 * each


def test_shallow_products_are_computed_again() -> None:
    nn = torch.nn
    net = nn.Sequential(*[
        nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 160), nn.GELU(), nn.Linear(160, 32))
        for _ in range(8)
    ], nn.Linear(32, 3))
    program = training(lambda p: torch.optim.SGD(p, lr=0.1), net, numbers(600, 32), 2)
    again = [line for line in program.describe().splitlines()
             if line.startswith("product ") and "' =" in line]
    assert len(again) == 4  # of 49, which all take about as long


def test_the_order_that_needs_less_memory() -> None:
    """Sums of large arrays that wait for a number which is computed last."""

    def step(x: Any, y: Any) -> Any:
        large = [x * float(i) + y for i in range(2, 8)]
        late = torch.linalg.det(x[:2, :2])  # a call
        return [(a.abs() * late).sum() for a in large]

    program = check(step, numbers(200, 200), numbers(200, 200, seed=1), all_native=False, ulps=64)
    assert program.arena_bytes < 200 * 200 * 4


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_and_its_gradient(causal: bool, masked: bool) -> None:
    def step(x: Any, g: Any, mask: Any) -> Any:
        x = x.clone().requires_grad_()
        q, k, v = (t.reshape(2, 33, 3, 8).transpose(1, 2) for t in x.split(24, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask if masked else None,
                                           is_causal=causal and not masked)
        y = y.transpose(1, 2).reshape(2, 33, 24)
        y.backward(g)
        return y.detach(), x.grad

    mask = numbers(33, 33, seed=2)
    mask[3] = -torch.inf
    check(step, numbers(2, 33, 72), numbers(2, 33, 24, seed=1), mask, ulps=2048, all_native=False)


def test_arrays_in_any_order_of_axes() -> None:
    x, y = numbers(4, 6, 5).permute(2, 0, 1), numbers(6, 7).t()

    def step(x: Any, y: Any) -> Any:
        x.mul_(2)
        y.add_(y.sum())
        return x + 1, y.sum(0)

    graph = record(step, x, y)
    names = [n.label for n in graph.inputs]
    updates = {name: names.index(name) for name in graph.outputs if name in names}
    assert len(updates) == 2
    program = make_program(simplified(graph), updates)
    background.wait_until_idle(60)
    assert program.is_ready()
    for change in (lambda a: a.copy("K"), np.ascontiguousarray):
        mine = [change(t._array) for t in (x, y)]
        wanted = graph.run(*[a.copy() for a in mine])
        found = program(mine)
        compare(found[0], wanted["result.0"], 0)
        compare(found[1], wanted["result.1"], 64)
        for name, place in updates.items():
            compare(mine[place], wanted[name], 64)
    assert found[0].strides == wanted["result.0"].strides


def test_a_graph_that_cannot_be_planned_runs_by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("not today")

    monkeypatch.setattr("taper.compilation.program.memory.plan", fail)
    monkeypatch.setattr(torch.settings, "native", "background")  # "now" raises
    graph = record(lambda x: x.exp() + 1, numbers(5))
    with pytest.warns(RuntimeWarning, match="NumPy computes instead.*not today"):
        program = make_program(graph, {})
    x = np.zeros(5, np.float32)
    assert program([x])[0].tolist() == [2] * 5
    assert "NumPy" in program.describe()


def test_views_that_python_functions_return_are_copied() -> None:
    def step(x: Any) -> Any:
        z = torch.view_as_complex(x * 2)
        y = x + 1
        return z, z.real + 0, torch.view_as_real(z * z), y.exp()

    check(step, numbers(30, 2), ulps=4, calls=3, all_native=False)


def test_updates_of_numbers_without_kernels() -> None:
    graph = Graph()
    kind = np.dtype(np.complex64)
    a = graph.add_input("a", (2, 3), kind)
    b = graph.add("negative", np.negative, (Reference(a),), {}, [((2, 3), kind)])
    c = graph.add("multiply", np.multiply, (Reference(b), np.complex64(2j)), {}, [((2, 3), kind)])
    graph.outputs = {"a": Reference(b), "c": Reference(c)}
    program = made(graph, {"a": 0})
    x = np.full((2, 3), 1 + 2j, np.complex64)
    for sign in (1, -1):
        found = program([x])[0]
        assert (found == sign * (4 - 2j)).all()
        assert (x == -sign * (1 + 2j)).all()


def test_parts_of_joined_values_beside_sums() -> None:
    def step(x: Any, y: Any) -> Any:
        z = torch.cat([x * 2, y], 1)
        return z, (x * 2).sum(), (x * 2).sum(0), z.sum((0, 1))

    check(step, numbers(5, 3), numbers(5, 4, seed=1), ulps=64)
    check(lambda x, y: (torch.cat([x, y], 2), x.sum((1, 2)), y.sum((0, 2))), numbers(3, 4, 5),
          numbers(3, 4, 6), ulps=64)


def test_powers() -> None:
    z = torch.tensor([1 + 2j, 0.5j])
    check(lambda x, z: (0.9 ** x, 2.0 ** z, (-2.0) ** x.floor(), 0.0 ** x.abs()), numbers(9), z,
          ulps=4, all_native=False)


def test_a_number_to_the_power_of_a_number() -> None:
    graph = Graph()
    kind = np.dtype(np.float64)
    a, b = (graph.add_input(name, (), kind) for name in "ab")
    graph.outputs = {"c": Reference(graph.add(
        "power", np.power, (Reference(a), Reference(b)), {}, [((), kind)]))}
    program = made(graph)
    assert "call" not in program.describe()
    for base in (0.9, 0.999, 1.0, 0.0, -2.0, -0.5, 3.0, np.inf, np.nan):
        for exponent in (0.0, 1.0, 2.0, 3.0, 100.0, -1.0, -2.0, 0.5):
            with np.errstate(all="ignore"):
                wanted = np.power(base, exponent)
                found = program([np.array(base), np.array(exponent)])[0]
            np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=0)


def test_parts_of_a_joined_value_have_one_home() -> None:
    """Two parts, written by one kernel, could each take the place of another operand."""
    def join(w: torch.Tensor, x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        u, v = w @ x, w @ s
        return w @ torch.cat([u[:1] * s[1:], v[1:] * s[1:]])

    check(join, torch.randn(2, 2), torch.randn(2), torch.randn(2), ulps=2)
    check(lambda w, x, s: join(w, x, s) + torch.cat([(w @ x)[:1], (w @ s)[1:] + s[1:]]),
          torch.randn(2, 2), torch.randn(2), torch.randn(2), ulps=2)
