"""Stand-ins for tensors: what is done with them becomes nodes of a graph."""

from __future__ import annotations

import dis
import operator
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import taper
from taper.fx.node import Node

if TYPE_CHECKING:
    from taper.fx.tracer import TracerBase

__all__ = ["Attribute", "ParameterProxy", "Proxy", "TraceError"]


class TraceError(ValueError):
    """What a program asked of a stand-in that has no value."""

    __module__ = "torch.fx.proxy"


_OF_TENSORS = frozenset(["_array", "_base", "_edge", "_grad", "_storage", "_tangents"])


class Proxy:
    """Stands for the result of a node; operators, methods and functions of torch are recorded."""

    __module__ = "torch.fx.proxy"

    tracer: TracerBase

    def __init__(self, node: Node, tracer: TracerBase | None = None) -> None:
        if tracer is None:
            from taper.fx.tracer import GraphAppendingTracer

            tracer = GraphAppendingTracer(node.graph)
        self.tracer = tracer
        self.node = node

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, name: str) -> Attribute:
        # Python and taper ask what kind of object it is.
        if name in _OF_TENSORS or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        return Attribute(self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator[Any]:
        caller = sys._getframe(1)
        instructions = {i.offset: i for i in dis.get_instructions(caller.f_code)}
        found = instructions.get(caller.f_lasti)
        if found is not None and found.opname == "UNPACK_SEQUENCE":
            return iter([operator.getitem(self, i) for i in range(found.argval)])
        return self.tracer.iter(self)

    def __bool__(self) -> bool:
        return self.tracer.to_bool(self)

    def keys(self) -> Any:
        """The keys, for ``**`` of a stand-in."""
        return self.tracer.keys(self)

    def __len__(self) -> int:
        raise RuntimeError(
            "'len' is not supported in symbolic tracing by default. If you want this call to be "
            "recorded, please call torch.fx.wrap('len') at module scope"
        )

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        from taper.fx.tracer import first_proxy

        tracer = first_proxy((args, kwargs)).tracer
        name = getattr(function, "__name__", "")
        kind = "call_method" if getattr(taper.Tensor, name, None) is function else "call_function"
        target = name if kind == "call_method" else function
        return tracer.create_proxy(kind, target, args, kwargs or {})


class Attribute(Proxy):
    """An attribute of a stand-in: a node only if it is used as a value, and not called."""

    __module__ = "torch.fx.proxy"

    def __init__(self, root: Proxy, attr: str) -> None:
        self.root = root
        self.attr = attr
        self.tracer = root.tracer
        self._node: Node | None = None

    @property
    def node(self) -> Node:  # type: ignore[override]
        if self._node is None:
            self._node = self.tracer.create_proxy(
                "call_function", getattr, (self.root, self.attr), {}
            ).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


class ParameterProxy(Proxy):
    """Stands for a parameter whose shape is known."""

    __module__ = "torch.fx.proxy"

    def __init__(
        self, tracer: TracerBase, node: Node, name: str, param: taper.nn.Parameter
    ) -> None:
        super().__init__(node, tracer)
        self.param = param
        self.name = name

    def __repr__(self) -> str:
        return f"ParameterProxy({self.name})"

    @property
    def shape(self) -> taper.Size:
        return self.param.shape

    def size(self, *dim: int) -> Any:
        return self.param.size(*dim)

    @property
    def ndim(self) -> int:
        return self.param.ndim

    def dim(self) -> int:
        return self.param.ndim

    def numel(self) -> int:
        return self.param.numel()

    nelement = numel


_OPERATORS = {
    **{name: name for name in """add sub mul truediv floordiv mod pow matmul lshift rshift xor eq ne
        lt le gt ge getitem neg pos invert abs""".split()},
    "and": "and_", "or": "or_",
}
_REFLECTED = """add sub mul truediv floordiv mod pow matmul lshift rshift and or xor""".split()


def _define(method: str, name: str, is_reflected: bool) -> None:
    function = getattr(operator, name)

    def record(self: Proxy, *args: Any) -> Any:
        operands = (*args, self) if is_reflected else (self, *args)
        return self.tracer.create_proxy("call_function", function, operands, {})

    record.__name__ = method
    setattr(Proxy, method, record)


for _name, _function in _OPERATORS.items():
    _define(f"__{_name}__", _function, False)
for _name in _REFLECTED:
    _define(f"__r{_name}__", _OPERATORS[_name], True)
Proxy.__hash__ = object.__hash__  # type: ignore[method-assign]


def __getattr__(name: str) -> Any:
    """PyTorch keeps the base classes of tracers here."""
    if name in ("GraphAppendingTracer", "TracerBase"):
        from taper.fx import tracer

        return getattr(tracer, name)
    raise AttributeError(f"module 'torch.fx.proxy' has no attribute {name!r}")
