"""Runs a module or function on stand-ins, and keeps what they were asked in a graph."""

from __future__ import annotations

import builtins
import inspect
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import taper
from taper import Tensor
from taper.fx.graph import Graph
from taper.fx.graph_module import GraphModule
from taper.fx.node import Node, map_aggregate
from taper.fx.proxy import ParameterProxy, Proxy, TraceError
from taper.nn import Module, Parameter, Sequential

__all__ = ["GraphAppendingTracer", "Tracer", "first_proxy", "symbolic_trace", "wrap"]

_PLAIN = (
    str, int, float, bool, complex, type(None), type(...), range, taper.dtype, taper.device,
    taper.layout, taper.memory_format, taper.Size,
)
_wrapped: list[tuple[dict[str, Any], str]] = []  # names in modules whose calls are to be recorded
_ABSENT = object()
_STARS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**",
}


def wrap(fn_or_name: Any) -> Any:
    """Says, at the top of a module, that calls of a function are to be recorded as one step.

    Args:     fn_or_name: a function of the module, or its name, such as "len"; also a decorator.
    Raises:   NotImplementedError: when it is called within a function.
    """
    frame = sys._getframe(1)
    if frame.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError(
            "Unsupported type for global function! Must be either a callable or string name"
        )
    name = fn_or_name if isinstance(fn_or_name, str) else fn_or_name.__name__
    _wrapped.append((frame.f_globals, name))
    return fn_or_name


def first_proxy(value: Any) -> Any:
    """The first stand-in among arguments; None if there is none."""
    found: list[Proxy] = []

    def look(x: Any) -> Any:
        if isinstance(x, Proxy):
            found.append(x)
        return x

    map_aggregate(value, look)
    return found[0] if found else None


class TracerBase:
    """What a stand-in asks of the tracer that made it."""

    graph: Graph

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, name: str | None = None,
        type_expr: Any = None, proxy_factory_fn: Callable[[Node], Proxy] | None = None,
    ) -> Any:
        """Adds a node, and returns a stand-in for its result."""
        node = self.create_node(
            kind, target, self.create_arg(tuple(args)), self.create_arg(dict(kwargs)), name,
            type_expr,
        )
        return proxy_factory_fn(node) if proxy_factory_fn else self.proxy(node)

    def create_node(
        self, kind: str, target: Any, args: Any, kwargs: Any, name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Adds a node."""
        return self.graph.create_node(kind, target, args, kwargs, name, type_expr)

    def proxy(self, node: Node) -> Proxy:
        """A stand-in for the result of a node."""
        return Proxy(node, self)

    def create_arg(self, a: Any) -> Any:
        """What stands in a node for an argument: nodes for stand-ins, plain values as they are.

        Raises: NotImplementedError: for objects that no node could hold.
        """
        return map_aggregate(a, self._leaf)

    def _leaf(self, a: Any) -> Any:
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, (*_PLAIN, Node, type)) or callable(a):
            return a
        raise NotImplementedError(f"argument of type: {type(a)}")

    def to_bool(self, obj: Proxy) -> bool:
        """Called for a branch on a stand-in."""
        raise TraceError("symbolically traced variables cannot be used as inputs to control flow")

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """Called for a loop over a stand-in."""
        raise TraceError(
            "Proxy object cannot be iterated. This can be attempted when the Proxy is used in a "
            "loop or as a *args or **kwargs function argument. See the torch.fx docs on "
            "pytorch.org for a more detailed explanation of what types of control flow can be "
            "traced, and check out the Proxy docstring for help troubleshooting Proxy iteration "
            "errors"
        )

    def keys(self, obj: Proxy) -> Any:
        """Called for ``**`` of a stand-in."""
        return self.create_proxy("call_method", "keys", (obj,), {})


class GraphAppendingTracer(TracerBase):
    """Adds nodes to a graph that is there."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph


class Tracer(TracerBase):
    """Traces modules and functions; derived classes may decide otherwise about leaves, say.

    Args:
        autowrap_modules: modules whose functions are recorded when they get a stand-in.
        autowrap_functions: functions for which the same holds.
        param_shapes_constant: whether the shapes of parameters are numbers, not steps.
    """

    __module__ = "torch.fx._symbolic_trace"

    def __init__(
        self, autowrap_modules: tuple[ModuleType, ...] = (math,),
        autowrap_functions: tuple[Callable[..., Any], ...] = (),
        param_shapes_constant: bool = False,
    ) -> None:
        self._modules_to_wrap = autowrap_modules
        self._functions_to_wrap = autowrap_functions
        self.param_shapes_constant = param_shapes_constant
        self.root: Module = Module()
        self.tensor_attrs: dict[int, str] = {}

    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Whether a module is one step: those of torch.nn are, but for Sequential."""
        home = type(m).__module__
        return home.startswith(("torch.nn", "taper.nn")) and not isinstance(m, Sequential)

    def path_of_module(self, mod: Module) -> str:
        """The name of a submodule of the root.

        Raises: NameError: if it is not below the root.
        """
        for name, module in self.root.named_modules():
            if module is mod:
                return name
        raise NameError("module is not installed as a submodule")

    def call_module(
        self, m: Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Called for each module that is called: records leaves, and goes into others."""
        name = self.path_of_module(m)
        if not self.is_leaf_module(m, name):
            return forward(*args, **kwargs)
        return self.create_proxy("call_module", name, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Proxy]) -> Any:
        """What a traced module reads as its attribute: a stand-in for a parameter of the root.

        Without it, what is computed of parameters alone (``self.scale.exp()``) would be a constant.
        """
        if not isinstance(attr_val, Parameter):
            return attr_val
        for name, parameter in self.root.named_parameters():
            if parameter is attr_val:
                if name not in parameter_proxy_cache:
                    parameter_proxy_cache[name] = self._parameter_proxy(name, parameter)
                return parameter_proxy_cache[name]
        return attr_val

    def _parameter_proxy(self, name: str, parameter: Parameter) -> Proxy:
        node = self.create_node("get_attr", name, (), {})
        if self.param_shapes_constant:
            return ParameterProxy(self, node, name, parameter)
        return self.proxy(node)

    def _leaf(self, a: Any) -> Any:
        if isinstance(a, Parameter):
            for name, parameter in self.root.named_parameters():
                if parameter is a:
                    return self.create_node("get_attr", name, (), {})
            raise NameError("parameter is not a member of this module")
        if isinstance(a, Tensor):
            for name, buffer in self.root.named_buffers():
                if buffer is a:
                    return self.create_node("get_attr", name, (), {})
            return self.create_node("get_attr", self._constant(a), (), {})
        if isinstance(a, Module):
            return self.create_node("get_attr", self.path_of_module(a), (), {})
        return super()._leaf(a)

    def _constant(self, tensor: Tensor) -> str:
        """The name under which a tensor that belongs to no module is kept in the root."""
        name = self.tensor_attrs.get(id(tensor))
        if name is None:
            number = 0
            while hasattr(self.root, f"_tensor_constant{number}"):
                number += 1
            name = self.tensor_attrs[id(tensor)] = f"_tensor_constant{number}"
            setattr(self.root, name, tensor)
        return name

    # -- tracing -------------------------------------------------------------------------------

    def trace(
        self, root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None
    ) -> Graph:
        """The graph of a module or function.

        Args:     concrete_args: values of arguments that are no inputs of the graph.
        """
        if isinstance(root, Module):
            self.root = root
            function: Callable[..., Any] = type(root).forward
        else:
            self.root = Module()
            function = root
        self.graph = Graph(tracer_cls=type(self))
        self.tensor_attrs = {
            id(value): f"{prefix}.{key}".lstrip(".")
            for prefix, module in self.root.named_modules()
            for key, value in vars(module).items() if isinstance(value, Tensor)
        }
        args = self._inputs(function, isinstance(root, Module), concrete_args or {})
        with self._recording():
            result = _all_positional(function)(*args)
        annotation = _annotations(function).get("return")
        self.create_node("output", "output", (self.create_arg(result),), {}, None, annotation)
        return self.graph

    def _inputs(
        self, function: Callable[..., Any], is_method: bool, concrete: dict[str, Any]
    ) -> list[Any]:
        """What the function is called with: a stand-in for each parameter, also for ``*args``."""
        args: list[Any] = [self.root] if is_method else []
        parameters = list(inspect.signature(function).parameters.values())
        annotations = _annotations(function)
        # As in the function's variables: what can't be given by position last, ** after *.
        parameters.sort(key=lambda p: (p.kind in _STARS, p.kind == p.VAR_KEYWORD,
                                       p.kind == p.KEYWORD_ONLY))
        for p in parameters[1:] if is_method else parameters:
            default = () if p.default is p.empty else (p.default,)
            if p.name in concrete:
                args.append(self._specialized(p.name, concrete[p.name], default))
                continue
            name = _STARS.get(p.kind, "") + p.name
            args.append(self.create_proxy(
                "placeholder", name, default, {}, type_expr=annotations.get(p.name)
            ))
        return args

    def _specialized(self, name: str, value: Any, default: tuple[Any, ...]) -> Any:
        """The value of a fixed argument. It stays an input, and the graph checks what it gets."""
        if isinstance(value, (tuple, list, dict)):
            return value  # PyTorch takes these apart
        given = self.create_proxy("placeholder", f"{name}_1", default, {})
        change = f"{name} has been specialized to have value {value} but got another value"
        if value is None:
            self.create_proxy("call_function", _assert_is_none, (given, change), {})
        elif isinstance(value, (bool, *_PLAIN)):
            taper._assert(given == value, change)
        elif not isinstance(value, Tensor):
            warnings.warn(
                f"Was not able to add assertion to guarantee correct input {name} to specialized "
                "function. It is up to the user to make sure that your inputs match the inputs you "
                "specialized the function with.", stacklevel=2,
            )
        return value

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Within: calls of modules, and of functions that were wrapped, come here."""
        call = Module.__call__
        stand_ins: dict[str, Proxy] = {}

        def read(m: Module, name: str) -> Any:  # modules find parameters without a __getattr__
            value = object.__getattribute__(m, name)
            return self.getattr(name, value, stand_ins) if isinstance(value, Parameter) else value

        def call_module(m: Module, *args: Any, **kwargs: Any) -> Any:
            return self.call_module(m, partial(call, m), args, kwargs)

        with ExitStack() as changes:
            changes.enter_context(_replaced(vars(Module), "__call__", call_module, Module))
            changes.enter_context(_replaced(vars(Module), "__getattribute__", read, Module))
            for names, name in _wrapped:
                function = names.get(name, getattr(builtins, name, None))
                changes.enter_context(_replaced(names, name, self._recorder(function, True)))
            for module in self._modules_to_wrap:
                for name, function in list(vars(module).items()):
                    if callable(function) and not name.startswith("_"):
                        changes.enter_context(
                            _replaced(vars(module), name, self._recorder(function))
                        )
            for function in self._functions_to_wrap:
                names = sys.modules[function.__module__].__dict__
                changes.enter_context(_replaced(names, function.__name__, self._recorder(function)))
            yield

    def _recorder(self, function: Any, is_wrapped: bool = False) -> Callable[..., Any]:
        """The function, recorded if a stand-in is among its arguments."""

        def record(*args: Any, **kwargs: Any) -> Any:
            if first_proxy((args, kwargs)) is None:
                return function(*args, **kwargs)
            result = self.create_proxy("call_function", function, args, kwargs)
            if is_wrapped:
                result.node.meta["is_wrapped"] = True
            return result

        return record


def _assert_is_none(value: Any, msg: str) -> None:
    assert value is None, msg


_assert_is_none.__module__ = "torch.fx._symbolic_trace"


def _annotations(function: Any) -> dict[str, Any]:
    """What a function says of its arguments; Sequential's, which PyTorch's doesn't, left out."""
    if (getattr(function, "__module__", None) or "").startswith("taper.nn."):
        return {}
    return getattr(inspect.unwrap(function), "__annotations__", {})


def _all_positional(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with all of its parameters by position, and stand-ins for ``*`` and ``**``."""
    inner: Any = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    starred = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
    if code is None or not (code.co_flags & starred or code.co_kwonlyargcount):
        return function
    count = code.co_argcount + code.co_kwonlyargcount
    count += sum([bool(code.co_flags & f) for f in (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS)])
    changed = code.replace(
        co_flags=code.co_flags & ~starred, co_argcount=count, co_posonlyargcount=0,
        co_kwonlyargcount=0,
    )
    return FunctionType(changed, inner.__globals__, inner.__name__, None, inner.__closure__)


@contextmanager
def _replaced(names: Any, name: str, value: Any, owner: Any = None) -> Iterator[None]:
    before = names.get(name, _ABSENT)
    if owner is not None:
        setattr(owner, name, value)
    else:
        names[name] = value
    try:
        yield
    finally:
        if owner is None and before is not _ABSENT:
            names[name] = before
        elif owner is None:
            del names[name]
        elif before is _ABSENT:  # inherited
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def symbolic_trace(
    root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None
) -> GraphModule:
    """A module that does what `root` does, by a graph that can be read and changed.

    The function runs once, on stand-ins: branches on values can't be traced.

    Raises: TraceError: for a branch on, or a loop over, a stand-in.
    Example:
        >>> import taper as torch
        >>> traced = torch.fx.symbolic_trace(lambda x: -torch.relu(x))
        >>> print(traced.graph)
        graph():
            %x : [num_users=1] = placeholder[target=x]
            %relu : [num_users=1] = call_function[target=torch.relu](args = (%x,), kwargs = {})
            %neg : [num_users=1] = call_function[target=operator.neg](args = (%relu,), kwargs = {})
            return neg
    """
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = type(root).__name__ if isinstance(root, Module) else root.__name__
    return GraphModule(tracer.root, graph, name)

