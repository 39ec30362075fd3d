"""Native recurrent layers against their definitions in NumPy."""

from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import native_recurrent, recurrent

from .definitions import definition_of
from .guarded_memory import guarded

pytestmark = [
    pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite"),
    pytest.mark.usefixtures("at_once"),
]

random = np.random.default_rng(5)
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
# inputs, units, sizes by time
CASES = [
    (1, 1, (1,)), (3, 16, (5, 5, 5)), (7, 33, (9, 9, 4, 1)), (20, 50, (13, 2)), (4, 70, (3,) * 6),
    (5, 18, (16,) * 20), (40, 9, (37,) * 5 + (30,) * 4 + (2,) * 9),
]


def draw(*shape: int, dtype: Any = "f4") -> Any:
    return (random.standard_normal(shape) * 0.5).astype(dtype)


def layer(kind: str, case: Any, dtype: Any, biased: bool = True) -> tuple[Any, ...]:
    inputs, units, sizes = case
    gates, sequences = GATES[kind] * units, sizes[0]
    states = [draw(sequences, units, dtype=dtype) for _ in range(2 if kind == "lstm" else 1)]
    biases = [draw(gates, dtype=dtype) if biased else None for _ in range(2)]
    # So large that states neither vanish nor, in layers with ReLU, grow from step to step.
    w_hh = draw(gates, units, dtype=dtype) / np.sqrt(units, dtype=dtype)
    return (draw(sum(sizes), inputs, dtype=dtype), *states, draw(gates, inputs, dtype=dtype),
            w_hh, *biases)


def compare(found: Any, wanted: Any) -> None:
    assert found is not None
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        error = {4: 3e-4, 8: 1e-10}[other.itemsize]
        np.testing.assert_allclose(one, other, rtol=error, atol=error)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_layers_and_gradients(case: Any, kind: str, reverse: bool, dtype: Any) -> None:
    for biased in (True, False):
        arguments = layer(kind, case, dtype, biased)
        tail = (case[2], reverse, *([biased] if kind == "rnn" else []))
        wanted = definition_of(getattr(recurrent, kind))(*arguments, *tail)
        compare(getattr(native_recurrent, kind)(*arguments, *tail), wanted)
        states = len(arguments) - 5  # LSTM: 2
        grads = tuple(draw(*part.shape, dtype=dtype) for part in wanted[: 1 + states])
        kept = (wanted[0], wanted[2]) if kind == "rnn" else wanted[1 + states :]
        rest = (grads, arguments[0], *arguments[-4:-2], *kept, *tail)
        compare(getattr(native_recurrent, f"{kind}_gradient")(*rest),
                definition_of(getattr(recurrent, f"{kind}_gradient"))(*rest))


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_beyond_the_operands_is_touched(kind: str, at_end: bool) -> None:
    for case in CASES:
        arguments = layer(kind, case, "f4")
        tail = (case[2], False, *([True] if kind == "rnn" else []))
        wanted = definition_of(getattr(recurrent, kind))(*arguments, *tail)
        placed = [guarded(a, at_end) for a in arguments]
        compare(getattr(native_recurrent, kind)(*placed, *tail), wanted)


def test_strided_operands() -> None:
    data, hidden, cell, w_ih, w_hh, b_ih, b_hh = layer("lstm", CASES[2], "f4")
    strided = (np.repeat(data, 2, 1)[:, ::2], np.asfortranarray(hidden), np.repeat(cell, 2, 0)[::2],
               np.asfortranarray(w_ih), np.asfortranarray(w_hh), b_ih, np.repeat(b_hh, 3)[::3])
    tail = (CASES[2][2], False)
    compare(native_recurrent.lstm(*strided, *tail),
            definition_of(recurrent.lstm)(data, hidden, cell, w_ih, w_hh, b_ih, b_hh, *tail))


def test_the_modules_take_the_kernels() -> None:
    for module in (taper.nn.LSTM(20, 40, 2, bidirectional=True), taper.nn.GRU(20, 40)):
        x = taper.randn(12, 8, 20, requires_grad=True)
        settings.native = "now"
        native = module(x)[0]
        native.square().sum().backward()
        grad, x.grad = x.grad, None
        settings.native = "off"
        plain = module(x)[0]
        plain.square().sum().backward()
        assert (native - plain).abs().max().item() < 1e-5
        assert (grad - x.grad).abs().max().item() < 1e-4


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("kind", GATES)
def test_passes_that_are_launched_again(kind: str, biased: bool) -> None:
    for _ in range(5):  # other numbers, the same plan
        for case in CASES:
            for given in (case[2], list(case[2])):
                operands = layer(kind, case, "f4", biased)
                tail = (given, False, *([False] if kind == "rnn" else []))
                compare(getattr(native_recurrent, kind)(*operands, *tail),
                        definition_of(getattr(recurrent, kind))(*operands, *tail))


@pytest.mark.parametrize("kind", GATES)
def test_threads_give_the_same_bits(kind: str) -> None:
    case = 12, 40, (70,) * 8 + (33,) * 9
    operands = layer(kind, case, "f4")
    tail = (case[2], False, *([False] if kind == "rnn" else []))
    kept = definition_of(getattr(recurrent, kind))(*operands, *tail)
    states = len(operands) - 5
    grads = tuple(draw(*part.shape) for part in kept[: 1 + states])
    kept = (kept[0], kept[2]) if kind == "rnn" else kept[1 + states :]
    before = taper.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            taper.set_num_threads(threads)
            found.append((
                *getattr(native_recurrent, kind)(*operands, *tail),
                *getattr(native_recurrent, f"{kind}_gradient")(
                    grads, operands[0], *operands[-4:-2], *kept, *tail)))
    finally:
        taper.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
