"""Scripting and tracing change nothing; what needs TorchScript says so."""

import pytest

import taper as torch
from taper import jit


def test_functions_and_modules_are_returned() -> None:
    model = torch.nn.Linear(2, 1)
    assert jit.script(model) is model and jit.freeze(model) is model
    assert jit.trace(model, torch.ones(1, 2), strict=False) is model
    assert jit.trace_module(model, {"forward": torch.ones(1, 2)}) is model
    assert jit.optimize_for_inference(model) is model


def test_decorators() -> None:
    @jit.script
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @jit.script
    class Pair:
        pass

    class Model(jit.ScriptModule):
        @jit.script_method
        def forward(self, x):
            return self.helper(twice(x))

        @jit.ignore
        def helper(self, x):
            return self.other(x) if not jit.is_scripting() and not jit.is_tracing() else x

        @jit.ignore(drop=True)
        @jit.unused
        @jit.export
        def other(self, x):
            return x + jit.annotate(float, 1)

    assert isinstance(Model(), torch.nn.Module) and isinstance(Pair(), Pair)
    assert Model()(torch.ones(1)).item() == 3
    assert jit.script_if_tracing(twice) is twice


def test_asking_for_types() -> None:
    assert jit.isinstance([1], list[int]) and not jit.isinstance([1], dict[str, int])
    assert jit.isinstance(1.0, (int, float))


def test_forks_run_at_once() -> None:
    future = jit.fork(torch.add, torch.ones(1), 1)
    assert future.done() and jit.wait(future).item() == 2


def test_programs_are_neither_saved_nor_loaded() -> None:
    with pytest.raises(NotImplementedError, match=r"torch\.save"):
        jit.save(torch.nn.Linear(1, 1), "model.pt")
    with pytest.raises(NotImplementedError, match="load_state_dict"):
        jit.load("model.pt")
    with pytest.raises(NotImplementedError, match="TorchScript"):
        jit.ScriptFunction()
