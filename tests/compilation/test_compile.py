"""`taper.compile` takes what PyTorch's takes; what it returns computes the same."""

from __future__ import annotations

import pytest

import taper as torch
from taper.compilation import OptimizedModule


def test_functions_and_decorators() -> None:
    def double(x: torch.Tensor, *, times: int = 1) -> torch.Tensor:
        """Doubles."""
        return x * 2 * times

    for compiled in (
        torch.compile(double), torch.compile(backend="eager")(double),
        torch.compile(mode="max-autotune", fullgraph=True, dynamic=True)(double),
    ):
        assert compiled.__name__ == "double" and compiled.__doc__ == "Doubles."
        assert compiled(torch.ones(2), times=3).tolist() == [6, 6]
    assert torch.compile(double, disable=True) is double


def test_modules() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout(0.5))
    compiled = torch.compile(model)
    assert isinstance(compiled, OptimizedModule) and isinstance(compiled, torch.nn.Module)
    assert list(compiled.state_dict()) == ["_orig_mod.0.weight", "_orig_mod.0.bias"]
    assert [p is q for p, q in zip(compiled.parameters(), model.parameters(), strict=True)] == [
        True, True]
    compiled.eval()
    assert not model.training and not compiled.training and not model[1].training
    x = torch.ones(1, 2)
    assert torch.equal(compiled(x), model(x))
    compiled(x).sum().backward()
    assert model[0].weight.grad is not None
    compiled.note = 3
    assert model.note == 3 and compiled.note == 3
    assert compiled[0] is model[0] if hasattr(OptimizedModule, "__getitem__") else True
    assert repr(compiled).startswith("OptimizedModule(\n  (_orig_mod): Sequential(")
    model.compile()
    assert torch.equal(model(x), compiled(x))


def test_a_training_step() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @torch.compile
    def step(x: torch.Tensor) -> float:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    losses = [step(torch.ones(4, 2)) for _ in range(5)]
    assert losses == sorted(losses, reverse=True)


def test_errors() -> None:
    with pytest.raises(RuntimeError, match="Either mode or options"):
        torch.compile(abs, mode="default", options={})
    with pytest.raises(RuntimeError, match="Unrecognized mode=fast"):
        torch.compile(abs, mode="fast")
    with pytest.raises(RuntimeError, match="Invalid backend: 'fast'"):
        torch.compile(abs, backend="fast")
    with pytest.raises(NotImplementedError, match="no FX graph"):
        torch.compile(abs, backend=lambda graph, inputs: graph)
    with pytest.raises(AssertionError, match="callable function is expected"):
        torch.compile(3)  # type: ignore[arg-type]


def test_directives() -> None:
    assert not torch.compiler.is_compiling()
    assert torch.compiler.disable(abs) is abs and torch.compiler.disable()(abs) is abs
    assert "eager" in torch.compiler.list_backends()
    with torch.compiler.set_stance("force_eager"):
        torch.compiler.reset()
    with pytest.raises(RuntimeError, match="stance 'sitting'"):
        torch.compiler.set_stance("sitting")
