"""Names that code may read and that aren't there yet: when they come, results are right."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import taper as torch

module = types.ModuleType("module_of_a_user")


class Base:
    scale = 2.0

    def factor(self) -> float:
        return self.scale


class Sub(Base):
    pass


def check(
    function: Callable[..., Any], change: Callable[[], None], undo: Callable[[], None]
) -> None:
    """Compiled calls follow a change and its end as calls that run as they are do."""
    compiled = torch.compile(function)
    x = torch.arange(3.0)
    for then in (None, change, undo):
        if then is not None:
            then()
        for _ in range(4):
            assert torch.equal(compiled(x), function(x))


def test_attributes_and_methods_that_shadow_those_of_a_base() -> None:
    thing = Sub()

    def scaled() -> None:
        Sub.scale = 3.0

    def unscaled() -> None:
        del Sub.scale

    check(lambda x: x * thing.scale, scaled, unscaled)
    check(lambda x: x * thing.factor(), scaled, unscaled)
    check(lambda x: x * Sub.scale, scaled, unscaled)

    def own() -> None:
        thing.scale = 5.0

    def shared() -> None:
        del thing.scale

    check(lambda x: x * thing.factor(), own, shared)

    def replaced() -> None:
        Sub.factor = lambda self: 7.0  # type: ignore[method-assign]

    def inherited() -> None:
        del Sub.factor

    check(lambda x: x * thing.factor(), replaced, inherited)


def test_attributes_after_an_error() -> None:
    thing = Sub()

    def either(x: torch.Tensor) -> torch.Tensor:
        try:
            return x * thing.extra  # type: ignore[attr-defined, no-any-return]
        except AttributeError:
            return x

    def set_it() -> None:
        thing.extra = 4.0  # type: ignore[attr-defined]

    def remove_it() -> None:
        del thing.extra  # type: ignore[attr-defined]

    check(either, set_it, remove_it)
    check(lambda x: x * getattr(thing, "extra", 1.0), set_it, remove_it)
    check(lambda x: x * 2 if hasattr(thing, "extra") else x, set_it, remove_it)


def test_attributes_of_modules() -> None:
    def set_it() -> None:
        module.extra = 4.0  # type: ignore[attr-defined]

    def remove_it() -> None:
        del module.extra  # type: ignore[attr-defined]

    check(lambda x: x * 2 if hasattr(module, "extra") else x, set_it, remove_it)
    check(lambda x: x * getattr(module, "extra", 1.0), set_it, remove_it)


def test_computed_names() -> None:
    name = "".join(["sc", "ale"])

    def set_it() -> None:
        Base.scale = 3.0

    def put_back() -> None:
        Base.scale = 2.0

    check(lambda x: x * getattr(Sub, name), set_it, put_back)
    check(lambda x: x * Base.__dict__[name], set_it, put_back)


def test_setters_and_texts() -> None:
    class Point:
        value = 1.0

        @property
        def twice(self) -> float:
            return 2 * self.value

        @twice.setter
        def twice(self, value: float) -> None:
            self.value = value / factor[0]

        def __str__(self) -> str:
            return "a" * int(10 * self.value)

    factor = [2.0]
    point = Point()

    def assign(x: torch.Tensor) -> torch.Tensor:
        point.twice = 4.0
        return x * point.value

    check(assign, lambda: factor.__setitem__(0, 4.0), lambda: factor.__setitem__(0, 2.0))

    def longer() -> None:
        point.value = 3.0

    def shorter() -> None:
        point.value = 1.0

    check(lambda x: x * len(str(point)), longer, shorter)
    check(lambda x: x * len(f"{point}"), longer, shorter)


def test_equal_values_that_differ() -> None:
    steps = [range(0, 3, 2)]
    check(lambda x: x * steps[0].stop, lambda: steps.__setitem__(0, range(0, 4, 2)),
          lambda: steps.__setitem__(0, range(0, 3, 2)))
