"""Calls recorded for any batch size give what the function gives, at every size, or aren't.

Each function is called with sizes one after another, compiled and as it is: values, shapes,
strides, dtypes, random numbers, gradients and errors have to be the same. `opened` functions are
recorded for all sizes; `closed` ones look at a size's value, so each is recorded by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from captured import captured_in

import taper as torch
import taper.nn.functional as F
from taper import nn

pytestmark = [
    pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:taper couldn't make"),
]

SIZES = (4, 4, 5, 5, 7, 13, 2, 40, 1, 0)
FROM_LARGE = (8, 8, 7, 7, 4, 9, 2, 3, 13, 1)

Make = Callable[[int], Any]


@pytest.fixture(autouse=True, params=["off", "now"])
def native(request: Any) -> Any:
    """Programs run by NumPy, or all their kernels are compiled at once."""
    before, torch.settings.native = torch.settings.native, request.param
    with np.errstate(all="ignore"):
        yield request.param
    torch.settings.native = before


def rows(n: int) -> Any:
    return torch.randn(n, 4)


def sequences(n: int) -> Any:
    return torch.randn(n, 5, 4)


def images(n: int) -> Any:
    return torch.randn(n, 2, 8, 8)


def square(n: int) -> Any:
    return torch.randn(n, n)


def middle(n: int) -> Any:
    return torch.randn(2, n, 8)


def classes(n: int) -> Any:
    return torch.randint(0, 4, (n,))


def numbers(n: int) -> Any:
    return torch.arange(n)


def parts_of(result: Any) -> list[Any]:
    if isinstance(result, (list, tuple)) and not isinstance(result, torch.Size):
        return [part for item in result for part in parts_of(item)]
    if isinstance(result, dict):
        return [part for pair in result.items() for part in parts_of(pair)]
    return [result]


def outcome(function: Any, makers: Any, size: int, seed: int, leaves: bool, weights: Any) -> Any:
    torch.manual_seed(seed)
    args = [make(size) for make in makers]
    floats = [a for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()]
    if leaves:
        for t in floats:
            t.requires_grad_()
    for t in weights:
        t.grad = None
    try:
        found = parts_of(function(*args))
    except (RuntimeError, IndexError, ValueError, ZeroDivisionError) as error:
        return type(error), str(error)
    open_ones = [t for t in found if isinstance(t, torch.Tensor) and t.requires_grad]
    if open_ones:
        sum([(t * torch.arange(1.0, t.numel() + 1).view(t.shape)).sum() for t in open_ones]
            ).backward()
    gradients = [t.grad for t in (*floats, *weights) if t.grad is not None]
    return [*found, *gradients, *[a for a in args if isinstance(a, torch.Tensor)],
            torch.get_rng_state()]


def check_same(found: Any, expected: Any, size: int) -> None:
    if type(expected) is tuple:  # an error
        assert found == expected, size
        return
    assert type(found) is list and len(found) == len(expected), (size, found)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert type(a) is type(b), (size, i)
        if not isinstance(b, torch.Tensor):
            assert a == b, (size, i)
            continue
        assert a.shape == b.shape and a.dtype is b.dtype, (size, i)
        x, y = [(torch.view_as_real(t) if t.is_complex() else t).detach().double().numpy()
                for t in (a, b)]
        largest = max(1.0, np.abs(y[np.isfinite(y)]).max(initial=0.0))
        np.testing.assert_allclose(x, y, 2e-5, 2e-5 * largest, err_msg=f"{size} {i}")


def check(
    function: Any, *makers: Make, sizes: Any = SIZES, leaves: bool = False, weights: Any = (),
    dynamic: bool | None = None,
) -> Any:
    """Compares at all sizes; returns what stands behind the compiled function."""
    compiled = torch.compile(function, dynamic=dynamic)
    for seed, size in enumerate(sizes):
        expected = outcome(function, makers, size, seed, leaves, weights)
        found = outcome(compiled, makers, size, seed, leaves, weights)
        check_same(found, expected, size)
    return captured_in(compiled)


# -- what is recorded for all sizes ----------------------------------------------------------------

eye, shared = torch.eye(4), torch.randn(1, 64, 8)
OPENED: dict[str, tuple[Any, ...]] = {
    "branch": (lambda x: x * 2 if x.shape[0] > 20 else x - 1, rows),
    "parity": (lambda x: x * 2 if x.shape[0] % 2 == 0 else x - 1, rows),
    "chain": (lambda x: x * 1 if 6 < x.shape[0] <= 12 else x * 2, rows),
    "one of": (lambda x: x * 2 if x.shape[0] in (7, 9) else x, rows),
    "whole shape": (lambda x: x * 2 if x.shape == (7, 4) else x, rows),
    "truth": (lambda x: x * (x.shape[0] == 7) + (not x.shape[0]), rows),
    "isinstance": (lambda x: x * 1 if isinstance(x.shape[0], int) else x * 2, rows),
    "class": (lambda x: x * 1 if x.shape[0].__class__ is int else x * 2, rows),
    "hasattr": (lambda x: x * 1 if hasattr(x.shape[0], "bit_length") else x * 2, rows),
    "prefix": (lambda x: x[:32] * 2, rows), "first three": (lambda x: x[:3] * 2, rows),
    "ends": (lambda x: (x[-1] * 2, x[-2:], x[1:] - x[:-1]), rows),
    "element": (lambda x: x[x.shape[0] - 1] * x[0], rows),
    "rest": (lambda x: (x[3:].sum(0), x[3:].mean(0), x[:-3] * 1), rows),
    "squeezed": (lambda x: (x[1:].squeeze(), x[2:].squeeze(0), x[:, :1].squeeze()), rows),
    "broadcast one": (lambda x: (x[3:] + torch.ones(1, 4), x[2:] * x[:1], x[:-2] + x[2:]), rows),
    "means": (lambda x: (x.mean(), x.mean(0), x.sum() / x.shape[0], x.sum() / x.numel(), x.var(0),
                         x.std(), x.max(0), x.argmax(0), x.norm(), x.logsumexp(0)), rows),
    "arithmetic": (lambda x: [x * m for n in [x.shape[0]] for m in (
        (n + 3) // 2, n // 3, n % 3, -n // 2, 7 % n, 100 // n, n**0.5, n**-1, n * (n - 1) / 2,
        n**5, abs(-n), n + True, round(n / 3), math.floor(n / 2), max(n, 3), min(n, 8))], rows),
    "with numbers": (lambda x: (
        x + x.shape[0], x.shape[0] / x, x // x.shape[0], torch.add(x, x, alpha=x.shape[0]),
        torch.clamp(x, max=1 / x.shape[0]), x > x.shape[0], torch.where(x > 0, x, x.shape[0]),
        x.masked_fill(x > 0, x.shape[0]), torch.lerp(x, x * 2, 1 / x.shape[0])), rows),
    "with integers": (lambda x: (
        x // x.shape[0], x * x.shape[0] ** 5, x % x.shape[0], x + x.shape[0] / 2, x < x.shape[0],
        x / x.shape[0], x * x.shape[0] ** True, x.bool() * x.shape[0]), numbers),
    "bytes": (lambda x: (x * x.shape[0], x + x.shape[0]),
              lambda n: (torch.arange(n) % 250).to(torch.uint8)),
    "zeros": (lambda x: (torch.zeros(x.shape[0], 3) + x[:, :3], torch.zeros(x.shape),
                         torch.ones(x.shape[0]), torch.full((x.shape[0], 2), 3.5),
                         torch.zeros(*x.shape), x.new_zeros(x.shape[0], 2)), rows),
    "like": (lambda x: (torch.zeros_like(x), torch.full_like(x, 3), x.new_ones(x.shape)), rows),
    "ranges": (lambda x: (torch.arange(x.shape[0]), torch.arange(1, x.shape[0] + 1),
                          torch.arange(x.shape[0] - 1, -1, -1),
                          torch.arange(x.shape[0], dtype=torch.float32) * x[:, 0]), rows),
    "eye": (lambda x: (torch.eye(x.shape[0]) @ x, torch.eye(x.shape[0], dtype=torch.bool)), rows),
    "random": (lambda x: (torch.rand(x.shape[0]) + x[:, 0], torch.randn_like(x), torch.randint(
        0, 10, (x.shape[0],)), torch.randn(x.shape[0], 3), F.dropout(x, 0.3)), rows),
    "bernoulli": (lambda x: (torch.bernoulli(torch.full((x.shape[0],), 0.3)), x.bernoulli(0.5),
                             torch.bernoulli(x.sigmoid())), rows),
    "views": (lambda x: (x.view(-1), x.view(x.shape[0], 2, 2), x.reshape(-1, 2), x.t(),
                         x.unsqueeze(0), x.view(2, -1), x.t().contiguous()), rows),
    "flattened": (lambda x: (x.flatten(1), x.flatten(0, 1), x.view(x.size(0), -1), x.permute(
        1, 0, 2), x.reshape(-1, 4).view(x.shape), x.reshape(-1, 4).view(-1, 5, 4)), sequences),
    "as_strided": (lambda x: (x.as_strided((x.shape[0], 2), (4, 1)), x.as_strided(
        (x.shape[0] * 2,), (2,)), x * x.stride(0)), rows),
    "expanded": (lambda x: (x[:1].expand(x.shape[0], 4) * x, x.unsqueeze(1).expand(-1, 3, -1) * 1),
                 rows),
    "cat": (lambda x, y: (torch.cat([x, y]), torch.stack([x, y]), torch.cat([x, x.new_zeros(1, 4)])
                          ), rows, rows),
    "pairs": (lambda x, y: (x @ y.T, (x @ y.T).softmax(1), (x @ y.T).diag(), (x @ y.T).argmax(1),
                            torch.triu(x @ y.T), x[:, None] - y[None]), rows, rows),
    "causal": (lambda x: (x @ x.T).masked_fill(
        torch.tril(torch.ones(x.shape[0], x.shape[0])) == 0, -math.inf).softmax(-1), rows),
    "three times": (lambda x, y: x + y.view(x.shape[0], 3, 4).sum(1), rows, lambda n: rows(3 * n)),
    "one more": (lambda x, y: (y[:-1].view(2, -1, 4) + x, y[1::2] + x), rows,
                 lambda n: rows(2 * n + 1)),
    "less": (lambda x, y: (y + x[:1], y * x[2:], y.mean(0), y.max() if len(y.shape) else y), rows,
             lambda n: rows(max(n - 2, 0))),
    "independent": (lambda x, y: torch.cat([x, y]), rows, lambda n: rows(20 - n if n < 20 else 7)),
    "once one": (lambda x, y: x + y, rows, lambda n: rows(n if n != 9 else 1)),
    "mask": (lambda x, m: (x.masked_fill(m[:, None], 0), (x * m[:, None]).sum() / m.sum()), rows,
             lambda n: torch.arange(n) % 3 == 0),
    "picked": (lambda x, i: (x.gather(1, i[:, None]), x[torch.arange(x.size(0)), i], torch.zeros(
        4).index_add_(0, i, x[:, 0]), torch.zeros(4, 4).index_add(0, i, x)), rows, classes),
    "in place": (lambda x: (x.add_(1), x[1:].mul_(2), x[:, 0].fill_(3))[0].sum(), rows),
    "in place, fixed": (lambda x: x[:3].zero_().sum() + x.sum(), rows),
    "made and filled": (lambda x: torch.empty(x.shape[0], 4).copy_(x).add_(1), rows),
    "square": (lambda x: (x @ x, x.diagonal(), x.trace(), x.t() + x, x.triu(), x.sum(0) @ x),
               square),
    "length": (lambda x: (x + shared[:, : x.shape[1]], F.scaled_dot_product_attention(
        x, x, x, is_causal=True), x.cumsum(1), x.softmax(1)), middle),
    "cut": (lambda x: (x.narrow(0, 0, 2), x.narrow(0, 1, x.shape[0] - 1), torch.diff(x, dim=0)),
            rows),
    "transposed": (lambda x: (x + 1, x.contiguous(), x.sum(1), x @ x.T), lambda n: rows(n).t()),
    "strided": (lambda x: (x + 1, x.contiguous(), x.sum(0)), lambda n: torch.randn(n, 8)[:, ::2]),
    "expanded argument": (lambda x: (x + 1, x.sum(0)), lambda n: torch.randn(1, 4).expand(n, 4)),
    "list": (lambda x: torch.cat(x, 1).sum(0), lambda n: [rows(n), rows(n)]),
    "sorted": (lambda x: (x.sort(0), x.topk(2, 1), x.flip(0), x.roll(1, 0), x.cummax(0)), rows),
    "division": (lambda x: x * 2 if x.shape[0] != 9 and 1 / (x.shape[0] - 9) > 0.3 else x, rows),
    "division by zero": (lambda x: x * (1 / (x.shape[0] - 40)), rows),
    "vmap": (torch.vmap(lambda row: row.sum() * row), rows),
    "no gradients": (torch.no_grad()(lambda x: x.mean(0)), rows),
    "linear algebra": (lambda x: (torch.linalg.inv(x.T @ x + eye), torch.linalg.norm(x, dim=1)),
                       rows),
}


@pytest.mark.parametrize("name", OPENED)
@pytest.mark.parametrize(
    ("native", "sizes"), [("off", SIZES), ("now", SIZES), ("now", FROM_LARGE)],
    ids=["off", "now", "now from large"], indirect=["native"])
def test_opened(name: str, sizes: Any) -> None:
    function, *makers = OPENED[name]
    assert check(function, *makers, sizes=sizes).symbolic


# -- what depends on a size's value ----------------------------------------------------------------


def caught(x: Any) -> Any:
    try:
        factor = int(x.shape[0])
    except Exception:
        factor = 99
    return x * factor


def caught_within(x: Any) -> Any:
    try:
        made = torch.zeros([x.shape[0]] * int(x.shape[1] / 2)).sum() + int(x.shape[0])
    except Exception:
        made = torch.ones(3).sum()
    return x * made


def caught_shape(x: Any) -> Any:
    try:
        return x.view(2, -1, 4).sum(1)
    except RuntimeError:
        return x.sum(0)


def caught_index(x: Any) -> Any:
    try:
        return x[6] * 2
    except IndexError:
        return x[0]


CLOSED: dict[str, tuple[Any, ...]] = {
    "len": (lambda x: x * len(x), rows),
    "range": (lambda x: sum([x[i] * i for i in range(x.size(0))]) + x, rows),
    "iteration": (lambda x: sum([row * 0.5 for row in x]) + x, rows),
    "int": (lambda x: x * int(x.shape[0]), rows), "float": (lambda x: x * float(x.shape[0]), rows),
    "root": (lambda x: x / math.sqrt(x.shape[0] + 1), rows),
    "dict": (lambda x: x * {4: 2.0, 5: 3.0, 6: 7.0}.get(x.shape[0], 1.0), rows),
    "set": (lambda x: x * 2 if x.shape[0] in {7, 12} else x, rows),
    "shapes as keys": (lambda x: x * 2 if x.shape in {torch.Size((7, 4)): 1} else x, rows),
    "text": (lambda x: x * len(f"{x.shape[0]}"), rows),
    "text of shapes": (lambda x: x * len(str(x.shape)), rows),
    "type": (lambda x: x * 1 if type(x.shape[0]) is int else x * 2, rows),
    "same type": (lambda x: x * 1 if type(x.shape[0]) is type(x.dim()) else x * 2, rows),
    "table of types": (lambda x: x * {int: 1, float: 2}.get(type(x.shape[0]), 3), rows),
    "bits": (lambda x: x * (x.shape[0] & 1), rows),
    "power": (lambda x: x * 2 ** x.shape[0], rows),
    "NumPy": (lambda x: x * np.int64(x.shape[0]), rows),
    "half": (lambda x: x[: x.shape[0] // 2] * 2, rows),
    "every other": (lambda x: x[::2] * 2, rows),
    "repeated list": (lambda x: torch.tensor([1.0] * x.shape[0]) * x[:, 0], rows),
    "chunks": (lambda x: torch.cat([part.sum(0) for part in x.split(2)]), rows),
    "sizes out": (lambda x: (x.shape[0], x.size(), x.numel(), x * 2), rows),
    "ratios out": (lambda x: {"n": x.shape[0] / 2, "large": x.shape[0] > 5, "x": x * 1}, rows),
    "caught": (caught, rows), "caught within": (caught_within, rows),
    "caught shape": (caught_shape, rows),
}


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize(
    ("native", "sizes"), [("off", SIZES), ("now", FROM_LARGE)], ids=["off", "now from large"],
    indirect=["native"])
def test_closed(name: str, sizes: Any) -> None:
    function, *makers = CLOSED[name]
    assert not check(function, *makers, sizes=sizes).symbolic


def test_errors_at_some_sizes() -> None:
    check(caught_index, rows)
    assert check(caught_index, rows, sizes=FROM_LARGE).symbolic  # with a guard
    check(lambda x: x[5] * 2, rows, sizes=FROM_LARGE)
    check(lambda x: x.view(2, -1, 2).sum(0) + x.view(4, -1)[:1].sum(), rows, sizes=FROM_LARGE)
    check(lambda x: x.view(20) * 2, rows)
    check(lambda x: x + torch.ones(5, 4), rows)
    check(lambda x, y: x + y, rows, lambda n: rows(5))
    check(lambda x: x.view(x.shape[0] // 2, 2, 4) * 2, rows, sizes=FROM_LARGE)


# -- gradients, modules, optimizers ----------------------------------------------------------------


def modules() -> dict[str, tuple[Any, Make]]:
    torch.manual_seed(0)
    return {
        "linear": (nn.Linear(4, 3), sequences),
        "norms": (nn.Sequential(nn.LayerNorm(4), nn.GELU(), nn.Softmax(0)), rows),
        "batch norm": (nn.BatchNorm1d(4), rows),
        "batch norm in eval": (nn.BatchNorm1d(4).eval(), rows),
        "convolutions": (nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(),
            nn.MaxPool2d(2), nn.ConvTranspose2d(3, 2, 2, stride=2), nn.AvgPool2d(2),
            nn.Flatten()), images),
        "dropout": (nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)), rows),
        "LSTM": (nn.LSTM(4, 6, batch_first=True), sequences),
        "GRU": (nn.GRU(4, 6, 2, bidirectional=True), lambda n: torch.randn(5, n, 4)),
        "RNN": (nn.RNN(4, 5), lambda n: torch.randn(5, n, 4)),
        "encoder": (nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True), sequences),
        "embedding": (nn.Embedding(10, 4), lambda n: torch.randint(0, 10, (n, 5))),
    }


@pytest.mark.parametrize("name", modules())
def test_modules_and_gradients(name: str) -> None:
    module, make = modules()[name]
    buffers = [b.clone() for b in module.buffers()]

    def step(x: Any) -> Any:
        return module(x)

    def both(compiled: Any) -> Any:
        for b, was in zip(module.buffers(), buffers, strict=True):
            b.copy_(was)
        return [outcome(compiled, (make,), n, n, make is not modules()["embedding"][1],
                        list(module.parameters())) + [b.clone() for b in module.buffers()]
                for n in (4, 4, 5, 5, 7, 13, 2, 4, 9)]

    compiled = torch.compile(step)
    expected = both(step)
    for size, (a, b) in enumerate(zip(both(compiled), expected, strict=True)):
        check_same(a, b, size)
    assert captured_in(compiled).symbolic


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses(reduction: str) -> None:
    def losses(x: Any, y: Any, t: Any) -> Any:
        how = {"reduction": reduction}
        chances, inputs = y.detach().softmax(1), x.sigmoid()
        return [
            F.mse_loss(x, y, **how), F.l1_loss(x, y, **how), F.smooth_l1_loss(x, y, **how),
            F.huber_loss(x, y, **how), F.cross_entropy(x, t, **how),
            F.cross_entropy(x, t, label_smoothing=0.1, **how),
            F.cross_entropy(x, t, weight=torch.arange(1.0, 5.0), **how),
            F.cross_entropy(x, t, ignore_index=2, **how), F.cross_entropy(x, chances, **how),
            F.nll_loss(x.log_softmax(1), t, **how), F.kl_div(x.log_softmax(1), chances, **how),
            F.binary_cross_entropy(inputs, chances, **how), F.multi_margin_loss(x, t, **how),
            F.binary_cross_entropy_with_logits(x, chances, **how),
            F.gaussian_nll_loss(x, y, chances + 1, **how),
            F.triplet_margin_loss(x, y, x * y, **how),
        ]

    assert check(losses, rows, rows, classes, leaves=True,
                 sizes=(4, 4, 5, 5, 7, 13, 2, 4, 9)).symbolic


def test_training_steps_and_learning_rates() -> None:
    def train(compile: bool) -> Any:
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
        optimizer = torch.optim.AdamW(net.parameters(), 0.01)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run = torch.compile(step) if compile else step
        found = []
        for i, n in enumerate((6, 6, 6, 5, 5, 7, 13, 2, 6, 9, 13, 5, 24)):
            if i in (6, 9):
                optimizer.param_groups[0]["lr"] *= 0.5
            torch.manual_seed(i)
            found.append(run(rows(n), classes(n)).detach())
        return found, [p.detach() for p in net.parameters()], run

    (a, p, run), (b, q, _) = train(True), train(False)
    for found, expected in zip([*a, *p], [*b, *q], strict=True):
        assert torch.allclose(found, expected, 1e-4, 1e-5)
    assert captured_in(run).symbolic


def test_state_that_remembers_the_size() -> None:
    class Holder:
        size = 0

    def step(x: Any) -> Any:
        holder.size = x.shape[0]
        return x * 2

    holder = Holder()
    compiled = torch.compile(step)
    for n in (*SIZES, *FROM_LARGE):
        x = rows(n)
        assert torch.equal(compiled(x), x * 2)
        assert type(holder.size) is int and holder.size == n


def test_nested_compiled_functions() -> None:
    inner = torch.compile(lambda x: x * x.shape[0] + torch.arange(x.shape[0])[:, None])
    assert check(lambda x: inner(x) + 1, rows).symbolic


def test_dynamic() -> None:
    def double(x: Any) -> Any:
        return x * x.shape[0]

    assert not check(double, rows, dynamic=False).symbolic
    assert check(double, rows, dynamic=True).symbolic
    counted = torch.compile(double, dynamic=True)
    for n in (4, 4, 5, 6, 7, 8):
        counted(rows(n))
    captured = captured_in(counted)
    assert captured.recordings == 2 and captured.calls_eager == 1


def test_an_opened_call_is_recorded_once() -> None:
    compiled = torch.compile(lambda x: x * x.shape[0])
    for n in (4, 4, 5, 5, *range(6, 12)):
        compiled(rows(n))
    captured = captured_in(compiled)
    assert captured.recordings == 2 and captured.calls_eager == 1
