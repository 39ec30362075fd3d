"""A module whose forward is the code of a graph."""

from __future__ import annotations

import copy
import linecache
from collections.abc import Callable
from typing import Any

import taper
from taper.fx.code import PythonCode
from taper.fx.graph import Graph
from taper.nn import Module

__all__ = ["GraphModule"]

_USER_PRESERVED_ATTRIBUTES_KEY = "_user_preserved_attributes"  # torchvision looks it up in `meta`
_count = 0


def _compiled(code: PythonCode, name: str) -> Callable[..., Any]:
    """The function; tracebacks show its lines."""
    global _count  # noqa: PLW0603 - one name for each piece of code
    _count += 1
    file = f"<eval_with_key>.{_count}"
    linecache.cache[file] = (len(code.src), None, code.src.splitlines(True), file)
    names = dict(code.globals)
    exec(compile(code.src, file, "exec"), names)
    function: Callable[..., Any] = names[name]
    return function


def _copy_attr(source: Module, target: Module, path: str) -> None:
    """Gives `target` the attribute at `path` of `source`; modules on the way are made."""
    *prefix, last = path.split(".")
    for part in prefix:
        source = getattr(source, part)
        if not hasattr(target, part):
            setattr(target, part, Module())
        target = getattr(target, part)
    value = getattr(source, last)
    if isinstance(value, taper.Tensor) and not isinstance(value, taper.nn.Parameter):
        target.register_buffer(last, value)
    else:
        setattr(target, last, value)


def _dots(path: str) -> list[int]:
    return [i for i, letter in enumerate(path) if letter == "."]


class GraphModule(Module):
    """Runs a graph. It has those parameters, buffers and modules of `root` that the graph uses.

    Args:
        root: a module, or a dict from names to what they mean.
        graph: what to run. After a change of it call `recompile()`.
        class_name: shown by `print`.
    Attributes:
        graph: the graph.   code: its Python.
    """

    __module__ = "torch.fx.graph_module"

    def __new__(cls, *args: Any, **kwargs: Any) -> GraphModule:
        # forward is a method of the class, as in other modules: each instance has its own.
        own = type("GraphModuleImpl", (cls,), {"__module__": "torch.fx.graph_module"})
        return super().__new__(own)

    def __init__(
        self, root: Module | dict[str, Any], graph: Graph, class_name: str = "GraphModule"
    ) -> None:
        super().__init__()
        type(self).__name__ = class_name
        self._class_name = class_name
        wanted = [n.target for n in graph.nodes if n.op in ("get_attr", "call_module")]
        if isinstance(root, Module):
            self.training = getattr(root, "training", True)
            for path in wanted:
                _copy_attr(root, self, path)
        else:
            for path in sorted(set(wanted), key=lambda p: p.count(".")):
                if path not in root:
                    raise RuntimeError(
                        f"Node referenced target {path} but that target was not provided in root!"
                    )
                holder = Module()
                *prefix, last = path.split(".")
                place = holder
                for part in prefix:
                    setattr(place, part, Module())
                    place = getattr(place, part)
                setattr(place, last, root[path])
                _copy_attr(holder, self, path)
        self.graph = graph

    @property
    def graph(self) -> Graph:
        """What it runs."""
        return self._graph

    @graph.setter
    def graph(self, graph: Graph) -> None:
        owned = graph if graph.owning_module in (None, self) else copy.deepcopy(graph)
        object.__setattr__(self, "_graph", owned)
        owned.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The Python that it runs."""
        return self._code

    def recompile(self) -> PythonCode:
        """Makes the code anew, after the graph was changed."""
        code = self._graph.python_code("self")
        object.__setattr__(self, "_code", code.src)
        setattr(type(self), "forward", _compiled(code, self._graph._codegen._func_name))  # noqa: B010
        return code

    def add_submodule(self, target: str, m: Module) -> bool:
        """Puts a module at a path; says whether it could."""
        place: Any = self
        *prefix, last = target.split(".")
        for part in prefix:
            if not hasattr(place, part):
                setattr(place, part, Module())
            place = getattr(place, part)
            if not isinstance(place, Module):
                return False
        place.add_module(last, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Removes the module at a path; says whether there was one."""
        prefix, _, last = target.rpartition(".")
        try:
            place = self.get_submodule(prefix)
        except AttributeError:
            return False
        if not isinstance(getattr(place, last, None), Module):
            return False
        delattr(place, last)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Removes the modules that the graph doesn't call or read."""
        used = [n.target for n in self.graph.nodes if n.op in ("call_module", "get_attr")]
        kept = {path[:i] for path in used for i in [*_dots(path), len(path)]}
        whole = [n.target for n in self.graph.nodes if n.op == "call_module"]
        for name in [name for name, _ in self.named_modules() if name]:
            if name not in kept and not any(name.startswith(f"{path}.") for path in whole):
                self.delete_submodule(name)

    def print_readable(self, print_output: bool = True, **options: Any) -> str:
        """Prints and returns the code, as a class."""
        body = "\n".join([f"    {line}" if line.strip() else "" for line in self.code.splitlines()])
        text = f"class {self._class_name}(torch.nn.Module):{body.rstrip()}\n"
        if print_output:
            print(text)
        return text

    def __str__(self) -> str:
        return "\n".join([
            super().__repr__(), self._code,
            "# To see more debug info, please use `graph_module.print_readable()`",
        ])

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphModule:
        parts = Module()
        parts.__dict__ = copy.deepcopy(
            {k: v for k, v in self.__dict__.items() if k not in ("_graph", "_code")}, memo
        )
        found = GraphModule(parts, copy.deepcopy(self._graph), self._class_name)
        found.training = self.training
        return found

    def __copy__(self) -> GraphModule:
        return GraphModule(self, copy.deepcopy(self._graph), self._class_name)

    def __reduce__(self) -> Any:
        state = {k: v for k, v in self.__dict__.items() if k not in ("_graph", "_code")}
        return _rebuilt, (state, self._code, self._class_name)


class _CodeOnlyModule(Module):
    """Has the parts and the code of a graph that was pickled."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__()
        self.__dict__ = body


def _rebuilt(state: dict[str, Any], code: str, class_name: str) -> GraphModule:
    """A pickled module: its code is traced again."""
    from taper.fx.tracer import Tracer

    root = _CodeOnlyModule(dict(state))
    own = type(class_name, (_CodeOnlyModule,), {})
    root.__class__ = own
    setattr(own, "forward", _compiled(PythonCode(code, {"torch": taper}), "forward"))  # noqa: B010

    class KeepsModules(Tracer):
        def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
            return True

    return GraphModule(root, KeepsModules().trace(root), class_name)
