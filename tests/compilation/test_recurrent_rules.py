"""Recurrent layers in programs: launches of the kernels of eager calls, no calls of Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from needed_kernels import needs_kernels

import taper as torch
from taper.capture import record
from taper.compilation.passes import simplified
from taper.compilation.program import make_program
from taper.compiler import background
from taper.kernels import recurrent_recipes

pytestmark = needs_kernels

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
random = np.random.default_rng(3)


def draw(*shape: int) -> Any:
    return torch.tensor(random.standard_normal(shape).astype("f4") * 0.3)


def check(function: Any, *tensors: Any) -> str:
    graph = record(function, *tensors)
    program = make_program(simplified(graph), {})
    background.wait_until_idle(60)
    assert program.is_ready()
    arrays = [t._array for t in tensors]
    wanted = graph.run(*arrays)
    for _ in range(2):
        for name, found in zip(program.returned, program(arrays), strict=True):
            np.testing.assert_allclose(found, wanted[name], rtol=1e-3, atol=1e-4)
    described = program.describe()
    assert "call " not in described, described
    return described


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("kind", GATES)
# batch, steps, features, units: all in one kernel; with products besides
@pytest.mark.parametrize("sizes", [(12, 30, 5, 9), (2, 4, 5, 17), (16, 20, 7, 420)], ids=str)
def test_layers_and_gradients(sizes: Any, kind: str, biased: bool) -> None:
    batch, time, features, units = sizes
    gates = GATES[kind] * units
    weights = [draw(gates, features), draw(gates, units) * 0.2]
    weights += [draw(gates), draw(gates)] if biased else []
    states = [draw(1, batch, units) for _ in range(2 if kind == "lstm" else 1)]

    def step(x: Any, grad: Any, *others: Any) -> Any:
        leaves = [t.clone().requires_grad_() for t in (x, *others)]
        x, *rest = leaves
        hx, params = rest[: len(states)], rest[len(states) :]
        y, *last = getattr(torch, kind)(
            x, tuple(hx) if kind == "lstm" else hx[0], params, biased, 1, 0.0, False, False, False)
        torch.autograd.backward([y, *last], [grad, *[torch.ones_like(s) for s in last]])
        return y.detach(), *[leaf.grad for leaf in leaves]

    described = check(step, draw(time, batch, features), draw(time, batch, units), *states,
                      *weights)
    layer = kind.removeprefix("rnn_"), "f32", (batch,) * time, features, units
    assert ("product" in described) is not (
        recurrent_recipes.sums_weights(layer) and recurrent_recipes.takes_inputs(layer))


def test_packed_sequences_in_both_directions() -> None:
    net = torch.nn.GRU(6, 20, 2, bidirectional=True)
    names = [name for name, _ in net.named_parameters()]

    def step(x: Any, *parameters: Any) -> Any:
        leaves = [p.clone().requires_grad_() for p in parameters]
        rows = torch.nn.utils.rnn.pack_padded_sequence(x, [7, 7, 5, 3, 2])
        y, last = torch.func.functional_call(net, dict(zip(names, leaves, strict=True)), (rows,))
        (y.data.square().sum() + last.sum()).backward()
        return y.data.detach(), *[leaf.grad for leaf in leaves]

    check(step, draw(7, 5, 6), *[p.detach() for p in net.parameters()])
