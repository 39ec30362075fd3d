"""Calls are told as they were written: what by position, and what by name."""

import sys
from functools import partial
from typing import Any

from taper.core.written_calls import arguments_as_written


def written(x: Any, y: Any = 2, *more: Any, scale: float = 1.0, **others: Any) -> Any:
    return arguments_as_written(sys._getframe(0), written)


def test_by_position_and_by_name():
    assert written(1) == ((1,), {})
    assert written(1, 2) == ((1, 2), {})  # given, though it is the default
    assert written(x=1, y=3) == ((), {"x": 1, "y": 3})
    assert written(1, scale=2.0) == ((1,), {"scale": 2.0})
    assert written(1, 2, 3, 4, other=5) == ((1, 2, 3, 4), {"other": 5})


def test_what_precedes_the_dot_of_a_method_comes_first():
    class Owner:
        def method(self, y: Any = None) -> Any:
            return arguments_as_written(sys._getframe(0), Owner.method)

    owner = Owner()
    assert owner.method(1) == ((owner, 1), {})
    assert owner.method(y=1) == ((owner,), {"y": 1})
    assert Owner.method(owner, 1) == ((owner, 1), {})


def test_none_where_it_cannot_be_told():
    assert written(*(1, 2)) is None
    assert written(1, **{"y": 3}) is None
    assert partial(written, 1, y=7)() is None
