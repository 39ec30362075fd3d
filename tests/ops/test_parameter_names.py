"""Generated functions find what they use beside their parameters, and by name."""

import importlib
import pkgutil
from collections.abc import Iterator

import taper.ops
from taper.ops.declare import Operator


def operators() -> Iterator[Operator]:
    """Those without a public name, too."""
    for module in pkgutil.iter_modules(taper.ops.__path__):
        found = vars(importlib.import_module(f"taper.ops.{module.name}"))
        yield from (value for value in found.values() if isinstance(value, Operator))


def test_no_parameter_hides_what_generated_code_uses() -> None:
    # It would still give results: the call fails, and goes through ops/slow.py each time.
    hidden = {}
    for operator in operators():
        function = operator.function
        code = function.__code__
        if code.co_filename.startswith("<taper operator"):
            parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            others = {*function.__globals__} - {code.co_name}
            hidden[operator.name] = others.intersection(parameters)
    assert len(hidden) > 500
    assert {name: found for name, found in hidden.items() if found} == {}
