"""Operators in inference mode take their short paths, and their results are marked."""

from __future__ import annotations

from typing import Any

import pytest

import taper as torch
from taper.core.state import active
from taper.ops import slow
from taper.overrides import TorchFunctionMode


@pytest.fixture
def full_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operators that were called in full."""
    found: list[str] = []
    call_in_full = slow._call_in_full

    def call(op: Any, *args: Any) -> Any:
        found.append(op.path)
        return call_in_full(op, *args)

    monkeypatch.setattr(slow, "_call_in_full", call)
    return found


def test_results_are_inference_tensors(full_calls: list[str]) -> None:
    x = torch.tensor([[1.0, 4.0], [9.0, 16.0]], requires_grad=True)
    with torch.inference_mode():
        results = [x + 1, 2 * x, x.sqrt(), x.sum(), torch.cat([x, x]), *x.max(1),
                   *torch.topk(x, 1), torch.relu(x) @ x]
    assert not full_calls
    for result in results:
        assert result.is_inference() and not result.requires_grad and result.is_leaf
        with pytest.raises(RuntimeError, match="Inference tensors do not track version counter"):
            _ = result._version
    assert results[0].tolist() == [[2, 5], [10, 17]] and results[6].tolist() == [1, 1]


def test_views_are_what_their_bases_are(full_calls: list[str]) -> None:
    normal, tracked = torch.zeros(4, 4), torch.zeros(4, 4, requires_grad=True)
    with torch.inference_mode():
        made = normal + 1
        for base, is_inference in ((normal, False), (tracked, False), (made, True)):
            for view in (base.t(), base.transpose(0, 1), *base.unbind(), base.reshape(16)):
                assert view.is_inference() == is_inference
                assert view.requires_grad == base.requires_grad
                assert view.untyped_storage().data_ptr() == base.untyped_storage().data_ptr()
        view = (tracked * 1).t()
        of_tracked = tracked.t()
    assert not full_calls
    assert view.is_inference() and not of_tracked.is_inference()
    with pytest.raises(RuntimeError, match="created in inference mode and is being modified"):
        of_tracked.add_(1)


def test_unusual_arguments_are_dealt_with_in_full(full_calls: list[str]) -> None:
    with torch.inference_mode():
        assert (torch.ones(2) + torch.ones(2, dtype=torch.int64)).is_inference()
        with pytest.raises(RuntimeError, match="The size of tensor a"):
            torch.ones(2) + torch.ones(3)
        assert torch.add(torch.ones(2), 1, out=torch.empty(2)).is_inference()
        with pytest.raises(TypeError, match="must be Tensor"):
            torch.exp("x")  # type: ignore[arg-type]
    assert full_calls


def test_modes_within_see_every_call() -> None:
    seen: list[str] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            seen.append(function.__name__)
            return function(*args, **(kwargs or {}))

    x = torch.ones(2)
    with torch.inference_mode(), Watch():
        assert (x.exp() + 1).is_inference()
    assert seen == ["exp", "add"]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_the_mode_is_counted() -> None:
    before = active.modes, active.inference
    with torch.inference_mode():
        with torch.inference_mode(False):
            assert not (torch.ones(2) + 1).is_inference()
            x = torch.ones(2, requires_grad=True)
            (x * 3).sum().backward()
            assert x.grad is not None and x.grad.tolist() == [3, 3]
        with torch.inference_mode():
            assert (torch.ones(2) + 1).is_inference()
    assert (active.modes, active.inference) == before
