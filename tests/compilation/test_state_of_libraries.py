"""What code asks the interpreter and the standard library for: modules that it imports when it
runs, abstract classes, copies, lists of names, frames of the callers."""

from __future__ import annotations

import abc
import copy
import dataclasses
import inspect
import numbers
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from state_changes import check_change, check_refused

import taper as torch

rate = [2.0]


def module(name: str, **names: Any) -> Any:
    made = types.ModuleType(name)
    made.__dict__.update(names)
    return made


class Abstract(abc.ABC):  # noqa: B024
    pass


class Concrete:
    pass


class Counted:
    pass


class WithState:
    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def __getstate__(self) -> dict[str, float]:
        return {"value": rate[0]}


class Reduced(WithState):
    def __reduce__(self) -> Any:
        return Reduced, (rate[0],)


class Listed:
    def __dir__(self) -> list[str]:
        return ["a"] * int(rate[0])


class Signed:
    pass


@dataclasses.dataclass(eq=False, repr=False)
class Fields:
    first: int = 1
    second: float = 2.0


concrete, counted, with_state, reduced, listed, fields, bare = (
    Concrete(), Counted(), WithState(), Reduced(), Listed(), Fields(), Signed())
zeros = {0.0}


def imports_module(x: Any) -> Any:
    import user_top  # type: ignore[import-not-found]

    return x * user_top.value


def imports_below(x: Any) -> Any:
    import user_top.below  # type: ignore[import-not-found]

    return x * user_top.below.value


RELATIVE = """
def imports_relative(x):
    from .below import value
    return x * value
"""
package: dict[str, Any] = {"__name__": "user_top.code", "__package__": "user_top"}
exec(compile(RELATIVE, "user_code.py", "exec"), package)


def other_fields() -> None:
    kept = dict(Fields.__dataclass_fields__)
    del kept["second"]
    Fields.__dataclass_fields__ = kept


def other_zero() -> None:
    zeros.clear()
    zeros.add(-0.0)


def later() -> None:
    rate[0] += 1


CASES: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "a module that is imported": (
        imports_module, lambda: sys.modules.update(user_top=module("user_top", value=3.0))),
    "one in another": (
        imports_below, lambda: setattr(
            sys.modules["user_top"], "below", module("user_top.below", value=3.0))),
    "one by its place": (
        package["imports_relative"],
        lambda: sys.modules.update({"user_top.below": module("user_top.below", value=3.0)})),
    "a class that is registered": (
        lambda x: x * 2 if isinstance(concrete, Abstract) else x * 3,
        lambda: Abstract.register(Concrete)),
    "one of the library's classes": (
        lambda x: x * 2 if isinstance(counted, numbers.Real) else x * 3,
        lambda: numbers.Integral.register(Counted)),
    "a state that is copied": (lambda x: x * copy.copy(with_state).value, later),
    "a copy that is made anew": (lambda x: x * copy.deepcopy(reduced).value, later),
    "a list of names": (lambda x: x * len(dir(bare)), lambda: setattr(bare, "extra", 1)),
    "what a class lists": (lambda x: x * len(dir(listed)), later),
    "fields": (lambda x: x * len(dataclasses.fields(fields)), other_fields),
    "the sign of a zero": (
        lambda x: x * len(next(map(str, zeros))), other_zero),
}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    rate[0] = 2.0
    below = module("user_top.below", value=2.0)
    sys.modules.update({
        "user_top": module("user_top", value=2.0, below=below, __path__=[]),
        "user_top.below": below})
    yield
    del sys.modules["user_top"], sys.modules["user_top.below"]


@pytest.mark.parametrize("case", CASES)
def test_changes(case: str) -> None:
    function, change = CASES[case]
    check_change(function, change, torch.arange(1.0, 4.0))


def test_imports_elsewhere_change_nothing() -> None:
    compiled = torch.compile(imports_module)
    x = torch.ones(2)
    for i in range(6):
        assert torch.equal(compiled(x), x * 2)
        sys.modules[f"user_other_{i}"] = module("user_other")
    for i in range(6):
        del sys.modules[f"user_other_{i}"]
    assert compiled.explain().calls["compiled"] >= 4
    sys.modules["user_top"] = module("user_top", value=3.0)
    assert torch.equal(compiled(x), x * 3)


record = np.zeros((), dtype=[("value", "f8")])[()]
FRAMES: dict[str, Callable[[Any], Any]] = {
    "a record, which can change": lambda x: x * (2 + float(record["value"])),
    "traceback.extract_stack": lambda x: x * len(traceback.extract_stack()[-1].name),
    "inspect.currentframe": lambda x: x * inspect.currentframe().f_lineno,  # type: ignore[union-attr]
}


@pytest.mark.parametrize("case", FRAMES)
def test_what_is_refused(case: str) -> None:
    check_refused(FRAMES[case])
