"""The data behind the page of a compiled function, and that making it disturbs nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needed_kernels import needs_kernels

import taper as torch
from taper.capture import record
from taper.compilation.passes import simplified
from taper.compilation.program import make_program
from taper.compilation.reports.graphs import items_of
from taper.compilation.reports.kernels import kernels_of, with_times
from taper.compilation.reports.machine_speed import MachineSpeed, machine_speed
from taper.compiler import background, machine
from taper.viewer.programs import KernelView


def kernels_for(function: Any, *tensors: torch.Tensor) -> list[KernelView]:
    program = make_program(simplified(record(function, *tensors)), {})
    background.wait_until_idle(60)
    kernels = kernels_of(program)
    speed = MachineSpeed({1 << 14: 100e9, 1 << 24: 50e9}, {4: 200e9, 8: 100e9})
    with_times(kernels, program, [t._array for t in tensors], speed)
    return kernels


def test_boxes_of_a_graph() -> None:
    graph = record(lambda x: (x.exp(), -x), torch.ones(2, 3))
    x, exp, negative, first, second = items_of(graph, {1: [0, 2]})
    assert (x.kind, x.title, x.shape, x.dtype, x.inputs) == ("leaf", "x0", (2, 3), "float32", [])
    assert (exp.kind, exp.title, exp.inputs, exp.notes) == (
        "operation", "exp", [0], ["kernel 0, 2"])
    assert negative.inputs == [0] and negative.notes == []
    assert first.kind == second.kind == "result"
    assert (first.inputs, second.inputs) == ([1], [2])
    assert exp.source == "%1 = exp(%0)  : float32[2, 3]"


@needs_kernels
def test_an_elementwise_kernel() -> None:
    (kernel,) = kernels_for(lambda x, b: (x + b) * b - 1, torch.ones(50, 40), torch.ones(40))
    assert kernel.title == "add multiply subtract 1.0"
    assert len(kernel.operations) == 3 and kernel.operations[0].endswith(": float32[50, 40]")
    assert kernel.read == 4 * (2000 + 40)  # the row counts once
    assert kernel.written == 4 * 2000
    assert kernel.flops == 3 * 2000
    assert "mul" in kernel.source
    assert len(kernel.nodes) == 3
    assert kernel.seconds is not None and kernel.seconds > 0
    assert kernel.bound == pytest.approx(4 * 4040 / 100e9)


@needs_kernels
def test_a_product_and_a_sum() -> None:
    product, total = kernels_for(
        lambda x, w: (x @ w).sum(1), torch.ones(64, 48), torch.ones(48, 80))
    assert product.kind == "product" and "[64, 48] @ [48, 80]" in product.title
    assert product.flops == 2 * 64 * 48 * 80
    assert (product.read, product.written) == (4 * (64 * 48 + 48 * 80), 4 * 64 * 80)
    assert product.bound == pytest.approx(product.flops / 200e9)
    assert product.gigaflops is not None
    assert (total.read, total.written) == (4 * 64 * 80, 4 * 64)
    assert total.flops == 64 * 80


@needs_kernels
def test_rows_that_are_picked() -> None:
    kernels = kernels_for(
        lambda table, index: torch.nn.functional.embedding(index, table),
        torch.ones(1000, 512), torch.tensor([1, 2, 3]))
    picked = next(k for k in kernels if k.kind == "rows picked")
    assert picked.read == 3 * 512 * 4 + 3 * 8  # not all of the table


@needs_kernels
def test_calls_of_functions() -> None:
    (call,) = kernels_for(torch.linalg.inv, torch.eye(3))
    assert (call.kind, call.read, call.written, call.flops) == ("call", 36, 36, None)
    assert call.seconds is not None and call.seconds > 0


def test_the_bound_of_a_speed() -> None:
    speed = MachineSpeed({1000: 50.0, 4000: 100.0, 16000: 10.0}, {4: 7.0, 8: 3.0})
    assert speed.seconds_to_move(500) == 5.0  # the best of as many or more
    assert speed.seconds_to_move(4001) == pytest.approx(400.1)
    assert speed.seconds_to_move(10**6) == 10**5
    assert speed.seconds_to_compute(21, 4) == 3.0 and speed.seconds_to_compute(21, 8) == 7.0


@needs_kernels
def test_the_speed_of_this_machine() -> None:
    speed = machine_speed()
    assert speed is not None
    assert all(1e8 < s < 1e13 for s in speed.bytes_per_second.values())
    assert all(1e8 < s < 1e14 for s in speed.flops_per_second.values())
    assert len(speed.lines()) == 3


# -- whole pages -------------------------------------------------------------------------------


def data_of(page: Path) -> Any:
    found = re.search(r"const data = (.*);\n", page.read_text(encoding="utf-8"))
    assert found is not None
    return json.loads(found[1])


@needs_kernels
def test_a_training_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 3)
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(5, 8), torch.tensor([0, 1, 2, 0, 1])

    @torch.compile
    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    for _ in range(4):
        step(x, y)
    before = [t.detach().clone() for t in model.parameters()]
    moments = [{k: v.clone() for k, v in s.items()} for s in optimizer.state.values()]
    page = step.explain(html=tmp_path / "step.html")
    assert page == tmp_path / "step.html"
    for now, then in zip(model.parameters(), before, strict=True):
        assert torch.equal(now, then)
    for state, was in zip(optimizer.state.values(), moments, strict=True):
        assert all(torch.equal(state[name], was[name]) for name in was)
    data = data_of(page)
    (program,) = data["programs"]
    assert len(program["before"]) > len(program["after"])
    assert any("model" in place and holds == "yes" for place, _, _, holds in program["guards"])
    assert any("writes to" in note for note in program["notes"])
    assert data["fallbacks"] == []
    if machine.is_available():
        assert program["unmeasured"] == ""
        assert sum(k["seconds"] for k in program["kernels"]) > 0
        titles = [program["after"][n]["title"] for k in program["kernels"] for n in k["nodes"]]
        assert "matmul" in titles or "dot" in titles
        assert program["seconds"] > 0
    assert torch.isfinite(step(x, y))  # goes on


def test_a_guard_that_holds_no_more_and_a_backward(tmp_path: Path) -> None:
    model = torch.nn.Linear(4, 2)
    settings = {"scale": 2.0}

    @torch.compile
    def forward(x: torch.Tensor) -> torch.Tensor:
        return model(x) * settings["scale"]

    for _ in range(3):
        forward(torch.ones(3, 4)).sum().backward()
    settings["scale"] = 3.0
    data = data_of(forward.explain(html=str(tmp_path / "f.html")))
    assert [p["title"] for p in data["programs"]] == ["program 0", "program 0, backward"]
    broken = [place for place, _, _, holds in data["programs"][0]["guards"] if holds == "no"]
    assert len(broken) == 1 and "settings" in broken[0]


@needs_kernels
def test_random_numbers_stay_the_same(tmp_path: Path) -> None:
    own = torch.Generator().manual_seed(3)

    @torch.compile
    def noisy(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(x, 0.5) + torch.randn(4, generator=own)

    for _ in range(3):
        noisy(torch.ones(4))
    state, own_state = torch.get_rng_state(), own.get_state()
    (program,) = data_of(noisy.explain(html=tmp_path / "n.html"))["programs"]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(own.get_state(), own_state)
    assert not machine.is_available() or any(k["kind"] == "call" for k in program["kernels"])


def test_what_ran_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    @torch.compile
    def f(x: torch.Tensor) -> torch.Tensor:
        if x.sum().item() > 0:
            return x
        return -x

    for _ in range(4):
        f(torch.ones(2))
    page = f.explain(html=True)
    assert page == Path("compiled.html")
    data = data_of(page)
    assert data["programs"] == []
    ((reason, line),) = data["fallbacks"]
    assert reason and "test_reports.py" in line


def test_without_native_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.settings, "native", "off")
    f = torch.compile(lambda x: x.exp() + 1)
    for _ in range(3):
        f(torch.ones(2))
    page = f.explain(html=tmp_path / "f.html")
    (program,) = data_of(page)["programs"]
    assert "through NumPy" in program["unmeasured"]
    assert program["kernels"] == [] and program["seconds"] is None
    assert len(program["after"]) == 4
    assert "no speeds of this machine are known" in page.read_text(encoding="utf-8")


@needs_kernels
def test_modules_and_inputs_of_other_layouts(tmp_path: Path) -> None:
    model = torch.compile(torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU()))
    x = torch.ones(6, 5).t()
    with torch.no_grad():
        for _ in range(3):
            found = model(x)
        assert model.explain().function == "Sequential"
        (program,) = data_of(model.explain(html=tmp_path / "m.html"))["programs"]
        np.testing.assert_allclose(model(x).numpy(), found.numpy(), rtol=1e-5)
    if machine.is_available():
        assert program["unmeasured"] == "" and program["seconds"] > 0


@needs_kernels
def test_python_functions_are_named() -> None:
    compiled = torch.compile(
        lambda x: torch.linalg.eigvalsh(x @ x.T) + torch.linalg.eigvalsh(x.T @ x) + x.cummax(0)[0])
    for _ in range(4):
        compiled(torch.ones(3, 3))
    assert re.search(r"\d calls of Python functions \(2 of eigh, \w", str(compiled.explain()))


def test_values_that_are_asked_for_as_a_list() -> None:
    step = torch.compile(lambda x: x[: x.tolist()[0]])
    for _ in range(3):
        assert step(torch.tensor([2, 1, 1])).tolist() == [2, 1]
    assert step.explain().break_reasons[0].startswith("tensor.tolist() needs a value")
